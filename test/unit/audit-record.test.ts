// Holds the form of a record: canonical bytes, the hash, what is cleaned, what is cut, and what is refused.
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalJson } from "../../src/audit/canonical.ts";
import { decodeLine } from "../../src/audit/decode.ts";
import { cleanText, prepareEntry, sealRecord } from "../../src/audit/entry.ts";
import { type AuditEntry, auditOutcomes } from "../../src/audit/index.ts";
import { emptyChain, recordBytesMax } from "../../src/audit/record.ts";
import { PenstockError } from "../../src/base/index.ts";
import { anyEntry, hostileText, sampleEntry } from "./audit-support.ts";

const seal = (entry: AuditEntry) => sealRecord(prepareEntry(entry), emptyChain, 0);
const textOf = (line: Uint8Array) => Buffer.from(line).toString("utf8");

describe("canonical JSON", () => {
  test.each([
    {
      name: "keys in order of code units",
      value: { b: 1, a: 2, B: 3, é: 4, "": 5 },
      text: '{"":5,"B":3,"a":2,"b":1,"é":4}',
    },
    {
      name: "nested",
      value: { z: [{ y: null, x: true }], a: {} },
      text: '{"a":{},"z":[{"x":true,"y":null}]}',
    },
    {
      name: "numbers as ECMAScript writes them",
      value: [1e21, 1e-7, -0, 0.1, 333333333.3333333],
      text: "[1e+21,1e-7,0,0.1,333333333.3333333]",
    },
    { name: "only the needed escapes", value: '\u0001\n"\\/€', text: '"\\u0001\\n\\"\\\\/€"' },
    { name: "undefined fields left out", value: { a: undefined, b: 1 }, text: '{"b":1}' },
    {
      name: "a key called __proto__",
      value: JSON.parse('{"__proto__":{"a":1}}'),
      text: '{"__proto__":{"a":1}}',
    },
  ])("$name", ({ value, text }) => {
    expect(canonicalJson(value)).toBe(text);
  });

  test.each([
    ["NaN", Number.NaN],
    ["infinity", { a: Number.POSITIVE_INFINITY }],
    ["a bigint", [1n]],
    ["a date", { at: new Date(0) }],
    ["a map", new Map()],
    ["undefined in an array", [undefined]],
  ])("refuses %s as a bug", (_name, value) => {
    expect(() => canonicalJson(value)).toThrow(expect.objectContaining({ disposition: "bug" }));
  });

  test("keeps the value and does not depend on the order of fields", () => {
    const reversed = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(reversed);
      if (typeof value !== "object" || value === null) return value;
      return Object.fromEntries(
        Object.entries(value)
          .reverse()
          .map(([key, item]) => [key, reversed(item)]),
      );
    };
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: "binary" }), (value) => {
        const text = canonicalJson(value);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(canonicalJson(reversed(value))).toBe(text);
      }),
    );
  });
});

describe("sealing", () => {
  test("the hash is SHA-256 over the line without its hash", () => {
    const { record, line } = seal(sampleEntry());
    const text = textOf(line);
    const withoutHash = text.trimEnd().replace(`"hash":"${record.hash}",`, "");
    expect(withoutHash.length).toBe(text.length - 1 - 64 - '"hash":"",'.length);
    expect(record.hash).toBe(createHash("sha256").update(withoutHash).digest("hex"));
    expect(record).toMatchObject({ sequence: 1, previous: "0".repeat(64), time: "1970-01-01T00:00:00.000Z" });
  });

  test("a known record keeps its bytes: the format is a promise", () => {
    const { line } = seal(sampleEntry({ diagnostics: ["policies/edge.yaml:1:2 error x y"] }));
    expect(textOf(line)).toBe(
      `{"agentVersion":"0.1.0","diagnostics":["policies/edge.yaml:1:2 error x y"],"diagnosticsTotal":1,"digests":{"after":{"firewall_rules":"11ee"},"before":{"firewall_rules":"00ff"}},"generation":{"after":7,"before":6},"hash":"9d6c1773bb8e545eba07ee7f044ff2e5be28246dcb3d4cd62f7d578a8dd43573","host":"edge-1","message":"Applied main@sha1:0123456789ab","outcome":"applied","plan":{"digest":"${"ab".repeat(32)}","summary":{"add":2,"change":1,"remove":0},"tables":[{"add":2,"change":1,"remove":0,"table":"firewall_rules"}]},"previous":"${"0".repeat(64)}","reason":"Succeeded","revision":{"author":{"email":"ada@example.org","name":"Ada Lovelace","timestampS":1769000000},"commit":"0123456789abcdef0123456789abcdef01234567","committer":{"email":"ada@example.org","name":"Ada Lovelace","timestampS":1769000000},"ref":"main","subject":"Open port 22 for the office","tree":"89abcdef0123456789abcdef0123456789abcdef"},"sequence":1,"time":"1970-01-01T00:00:00.000Z","timingsMs":{"commit":0.25,"fetch":12.5},"trigger":"push"}\n`,
    );
  });

  test("any entry gives one line that decodes to the record, with nothing that steers a terminal", () => {
    fc.assert(
      fc.property(anyEntry, (entry) => {
        const { record, line } = seal(entry);
        expect(line.indexOf(0x0a)).toBe(line.length - 1);
        expect(decodeLine(line.subarray(0, -1))).toEqual({ ok: true, record });
        const texts: string[] = [];
        JSON.parse(textOf(line), (key, value) => {
          texts.push(key, ...(typeof value === "string" ? [value] : []));
          return value;
        });
        for (const text of texts)
          expect(text).not.toMatch(/[\p{Cc}\p{Surrogate}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u);
      }),
    );
  });

  test("a revision with its files is recorded without them", () => {
    const revision = { ...sampleEntry().revision!, files: [{ path: "a.yaml", content: new Uint8Array(3) }] };
    expect(seal(sampleEntry({ revision })).record).toEqual(seal(sampleEntry()).record);
  });

  test("the record cannot be changed", () => {
    const { record } = seal(sampleEntry());
    expect(() => Object.assign(record.plan?.summary ?? {}, { add: 0 })).toThrow(TypeError);
  });
});

describe("cleaning", () => {
  test.each([
    { name: "an escape sequence", text: "\u001b[2Jgone", cleaned: "\ufffd[2Jgone" },
    { name: "line ends become spaces", text: "a\r\nb\nc\td\u2028e", cleaned: "a b c d e" },
    { name: "C1 controls and DEL", text: "\u009b31m\u007f", cleaned: "\ufffd31m\ufffd" },
    { name: "a direction override", text: "user\u202etxt", cleaned: "user\ufffdtxt" },
    { name: "a lone surrogate", text: "a\ud83db", cleaned: "a\ufffdb" },
    { name: "what is harmless stays", text: "Grüße 😀 \"'\\", cleaned: "Grüße 😀 \"'\\" },
  ])("$name", ({ text, cleaned }) => {
    expect(cleanText(text)).toBe(cleaned);
  });

  test("cleaning twice changes nothing more", () => {
    fc.assert(fc.property(hostileText, (text) => cleanText(cleanText(text)) === cleanText(text)));
  });
});

describe("limits", () => {
  test("the first 100 findings and the count of all are kept", () => {
    const diagnostics = Array.from({ length: 250 }, (_, i) => `finding ${i}`);
    const { record } = seal(sampleEntry({ diagnostics }));
    expect(record.diagnostics).toEqual(diagnostics.slice(0, 100));
    expect(record.diagnosticsTotal).toBe(250);
  });

  test("long text from outside is cut, not refused", () => {
    const long = "x".repeat(10_000);
    const person = { name: long, email: long, timestampS: 0 };
    const revision = {
      ...sampleEntry().revision!,
      ref: long,
      subject: long,
      author: person,
      committer: person,
    };
    const { record } = seal(sampleEntry({ message: long, host: long, revision, diagnostics: [long] }));
    expect(record.revision?.subject).toBe(`${"x".repeat(199)}…`);
    expect(record.message.length).toBe(4000);
  });

  test("a cut through a surrogate pair leaves valid text", () => {
    const { record } = seal(sampleEntry({ message: "😀".repeat(3000) }));
    expect(Buffer.from(record.message, "utf8").toString("utf8")).toBe(record.message);
  });

  test("the longest possible record fits the space that is set aside for it", () => {
    const wide = (length: number) => "\u{10ffff}".repeat(length);
    const name = (i: number) => `${wide(124)}${String(i).padStart(4, "0")}`;
    const count = Number.MAX_SAFE_INTEGER;
    const counts = { add: count, change: count, remove: count };
    const digests = Object.fromEntries(Array.from({ length: 256 }, (_, i) => [name(i), '"'.repeat(128)]));
    const person = { name: wide(300), email: wide(300), timestampS: count };
    const { line } = seal({
      outcome: "rolled-back",
      reason: `R${"x".repeat(63)}`,
      message: wide(4000),
      revision: {
        commit: "a".repeat(64),
        ref: wide(500),
        tree: "b".repeat(64),
        subject: wide(200),
        author: person,
        committer: person,
      },
      generation: { before: count, after: count },
      plan: {
        summary: counts,
        digest: '"'.repeat(128),
        tables: Array.from({ length: 256 }, (_, i) => ({ table: name(i), ...counts })),
      },
      digests: { before: digests, after: digests },
      timingsMs: Object.fromEntries(Array.from({ length: 64 }, (_, i) => [name(i), 1.2345678901234568e-300])),
      diagnostics: Array.from({ length: 1000 }, () => wide(500)),
      host: wide(255),
      agentVersion: wide(64),
      trigger: "schedule",
    });
    expect(line.length).toBeGreaterThan(recordBytesMax / 2);
    expect(line.length).toBeLessThan(recordBytesMax);
  });
});

describe("an entry that is none is a bug", () => {
  const broken = (changes: Record<string, unknown>) =>
    ({ ...sampleEntry(), ...changes }) as unknown as AuditEntry;
  test.each([
    { name: "unknown outcome", entry: broken({ outcome: "done" }), field: "/outcome" },
    { name: "missing outcome", entry: broken({ outcome: undefined }), field: "/outcome" },
    { name: "unknown trigger", entry: broken({ trigger: "cron" }), field: "/trigger" },
    { name: "reason not in CamelCase", entry: broken({ reason: "invalid-policy" }), field: "/reason" },
    { name: "foreign field", entry: broken({ colour: "red" }), field: "/colour" },
    {
      name: "foreign nested field",
      entry: broken({ generation: { before: 1, after: 2, during: 3 } }),
      field: "/generation/during",
    },
    { name: "a count of its own", entry: broken({ diagnosticsTotal: 3 }), field: "/diagnostics" },
    {
      name: "negative count",
      entry: broken({ generation: { before: -1, after: 0 } }),
      field: "/generation/before",
    },
    { name: "NaN", entry: broken({ timingsMs: { fetch: Number.NaN } }), field: "/timingsMs/fetch" },
    { name: "text for a number", entry: broken({ timingsMs: { fetch: "1" } }), field: "/timingsMs/fetch" },
    {
      name: "a short commit id",
      entry: broken({ revision: { ...sampleEntry().revision, commit: "0123" } }),
      field: "/revision/commit",
    },
    {
      name: "too many tables",
      entry: broken({
        plan: {
          ...sampleEntry().plan,
          tables: Array(257).fill({ table: "t", add: 0, change: 0, remove: 0 }),
        },
      }),
      field: "/plan/tables",
    },
    { name: "undefined for null", entry: broken({ revision: undefined }), field: "/revision" },
  ])("$name", ({ entry, field }) => {
    expect(() => prepareEntry(entry)).toThrow(
      expect.objectContaining({
        disposition: "bug",
        data: { field },
        message: expect.stringContaining(field),
      }),
    );
  });

  test("names that differ only in control characters", () => {
    const entry = sampleEntry({ timingsMs: { "a\u0001": 1, "a\u0002": 2 } });
    expect(() => prepareEntry(entry)).toThrow(PenstockError);
  });

  test("a record given as an entry", () => {
    expect(() => prepareEntry(seal(sampleEntry()).record)).toThrow(/sequence|hash/);
  });

  test("every outcome is taken", () => {
    for (const outcome of auditOutcomes) expect(seal(sampleEntry({ outcome })).record.outcome).toBe(outcome);
  });
});
