// Policy that is prepared in a thread: the same in every byte as what this thread makes of it, and a clear error
// whatever the thread dies of.
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PenstockError, type PolicyFile } from "../../src/base/index.ts";
import { prepareElsewhere } from "../../src/cli/prepare-elsewhere.ts";
import { idRangesFor } from "../../src/compile/index.ts";
import { kinds } from "../../src/kinds/index.ts";
import { type PolicyInput, type PreparedPolicy, preparePolicy } from "../../src/reconcile/index.ts";
import { damagedDocument, validDocument } from "../fixtures/policy/arbitraries.ts";
import { policyFile, readFolder } from "../fixtures/policy/support.ts";

const timeout = 60_000;

/** A file that is no policy, and large enough for a thread. */
const ballast = policyFile("ballast.txt", new Uint8Array(1024 * 1024));

function inputOf(files: readonly PolicyFile[]): PolicyInput {
  return {
    files: [...files, ballast],
    labels: { role: "edge" },
    kinds,
    interfaces: [
      { name: "eth0", index: 7 },
      { name: "veth1", index: 9 },
    ],
    knownIds: [{ space: "address-set", id: 5, name: "office" }],
    idRanges: idRangesFor(256),
    now: Date.parse("2027-01-01T00:00:00Z"),
  };
}

/** A list in one line of YAML: a kilobyte of heap for each entry. */
const costly = policyFile(
  "costly.yaml",
  `apiVersion: penstock/v1\nkind: AddressSet\nmetadata: { name: big }\nspec: { prefixes: [${"10.0.0.1, ".repeat(300_000)}] }\n`,
);

/** What this thread makes of it, without the documents, which stay where they are parsed. */
function preparedHere(input: PolicyInput): PreparedPolicy {
  const prepared = preparePolicy(input);
  if (!prepared.ok) return prepared;
  const { policy: _, ...rest } = prepared;
  return rest;
}

async function errorOf(promise: Promise<unknown>): Promise<PenstockError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof PenstockError)) throw new Error(`not refused in our words: ${String(error)}`);
  expect(error.remedy).toBeDefined();
  return error;
}

describe("a thread makes the same", () => {
  test("of the example policies, in buffers of the tables' size, and leaves the files alone", {
    timeout,
  }, async () => {
    const input = inputOf(readFolder("policies"));
    const before = digestOf(input.files);
    const prepared = await prepareElsewhere()(input);
    expect(prepared).toEqual(preparedHere(input));
    if (!prepared.ok) throw new Error("the example policies are refused");
    const tables = [...prepared.desired.tables.values()];
    expect(tables.some(({ count }) => count > 0)).toBe(true);
    for (const { keys, payloads, origins } of tables)
      for (const part of [keys, payloads, origins]) expect(part.buffer.byteLength).toBe(part.byteLength);
    expect(digestOf(input.files)).toBe(before);
  });

  test("of a long list, from JSON and from YAML", { timeout }, async () => {
    const prefixes = Array.from({ length: 70_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
    const head = { apiVersion: "penstock/v1", kind: "AddressSet" };
    const json = JSON.stringify({ ...head, metadata: { name: "a" }, spec: { prefixes } });
    const lines = prefixes.map((prefix) => `  - ${prefix}\n`).join("");
    const yaml = `apiVersion: penstock/v1\nkind: AddressSet\nmetadata: { name: b }\nspec:\n  prefixes:\n${lines}`;
    const input = inputOf([policyFile("a.json", json), policyFile("b.yaml", yaml)]);
    const [there, here] = [await prepareElsewhere()(input), preparedHere(input)];
    if (!there.ok || !here.ok) throw new Error("refused");
    expect(there.desired.tables.get("address_set_v4")?.count).toBe(140_000);
    // Buffers compare as one memory; toEqual would look at every byte by itself.
    for (const [name, table] of here.desired.tables) {
      const other = there.desired.tables.get(name);
      for (const part of ["keys", "payloads", "origins"] as const)
        expect(Buffer.compare(bytesOf(table[part]), bytesOf(other?.[part])), `${name} ${part}`).toBe(0);
    }
    const { tables: _, ...rest } = here.desired;
    expect(there.desired).toMatchObject(rest);
  });

  test("of any documents, good and bad", { timeout }, async () => {
    const documents = fc.array(fc.oneof({ weight: 9, arbitrary: validDocument }, damagedDocument), {
      minLength: 1,
      maxLength: 8,
    });
    const prepare = prepareElsewhere();
    const property = fc.asyncProperty(documents, async (all) => {
      const files = all.map((document, i) => policyFile(`${i}.json`, JSON.stringify(document)));
      const input = inputOf(files);
      expect(await prepare(input)).toEqual(preparedHere(input));
    });
    await fc.assert(property, { numRuns: 6 });
  });

  test("of bad files: the findings", { timeout }, async () => {
    const input = inputOf(
      readFolder("test/fixtures/policy/bad").filter(({ path }) => !path.endsWith(".txt")),
    );
    const prepared = await prepareElsewhere()(input);
    expect(prepared.ok).toBe(false);
    expect(prepared.diagnostics.length).toBeGreaterThan(50);
    expect(prepared).toEqual(preparedHere(input));
  });
});

describe("an error in our words comes back", () => {
  test("from a thread that runs out of memory", { timeout }, async () => {
    const prepare = prepareElsewhere({ limits: { heapMaxMib: 64 } });
    expect(await errorOf(prepare(inputOf([costly])))).toMatchObject({
      code: "policy-too-costly",
      disposition: "stalled",
      message: "Cannot prepare the policy: it takes more than 64 MiB of memory",
    });
  });

  test("from a thread that takes too long", { timeout }, async () => {
    const prepare = prepareElsewhere({ limits: { timeMaxMs: 1 } });
    expect(await errorOf(prepare(inputOf([costly])))).toMatchObject({
      code: "policy-too-costly",
      disposition: "stalled",
      message: "Cannot prepare the policy: it takes more than 0.001 seconds",
    });
  });

  test("from a thread that is told to stop, before it starts and at work", { timeout }, async () => {
    const interrupt = new AbortController();
    const prepare = prepareElsewhere({ signal: interrupt.signal });
    const running = errorOf(prepare(inputOf([costly])));
    setTimeout(() => interrupt.abort(), 50);
    expect(await running).toMatchObject({ code: "aborted", disposition: "transient" });
    expect(await errorOf(prepare(inputOf([costly])))).toMatchObject({ code: "aborted" });
  });

  test("from a thread that dies of an exception", { timeout }, async () => {
    const input = { ...inputOf([]), knownIds: 1 as never };
    expect(await errorOf(prepareElsewhere()(input))).toMatchObject({
      code: "policy-thread-ended",
      disposition: "bug",
      message: expect.stringContaining("its thread ended without a result"),
    });
  });
});

test("what is small is prepared here, and keeps to the same", async () => {
  const input = { ...inputOf([]), files: readFolder("policies") };
  expect(await prepareElsewhere({ limits: { timeMaxMs: 1 } })(input)).toMatchObject(preparedHere(input));
});

function digestOf(files: readonly PolicyFile[]): string {
  const hash = createHash("sha256");
  for (const { content } of files) hash.update(content);
  return hash.digest("hex");
}

function bytesOf(part: Uint8Array | Uint32Array | undefined): Uint8Array {
  return part === undefined
    ? new Uint8Array()
    : new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
}
