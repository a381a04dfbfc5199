// The generator: what it writes depends on the objects alone, shares what they share, refuses what would be two
// truths, and is what the repository holds.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, it, vi } from "vitest";
import { generateSources } from "../../scripts/generate-abi.ts";
import type { MapLayout, ObjectAbi, StructLayout } from "../../src/abi/index.ts";
import { makeTemporaryFolder } from "../fixtures/abi/clang.ts";

// Bounds a hang, and is far above what a busy machine needs.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const root = fileURLToPath(new URL("../..", import.meta.url));

const uint32 = { kind: "uint", bits: 32, bigEndian: false } as const;
const counter: StructLayout = {
  name: "counter",
  size: 16,
  fields: [
    { name: "packets", offset: 0, size: 8, type: { kind: "uint", bits: 64, bigEndian: false } },
    { name: "bytes", offset: 8, size: 8, type: { kind: "uint", bits: 64, bigEndian: false } },
  ],
};
/** Comes after the struct that contains it by name, and must come before it in the file. */
const zone: StructLayout = {
  name: "zone",
  size: 4,
  fields: [{ name: "id", offset: 0, size: 4, type: uint32 }],
};
const entry: StructLayout = {
  name: "rate_entry",
  size: 48,
  fields: [
    { name: "port", offset: 0, size: 2, type: { kind: "uint", bits: 16, bigEndian: true } },
    { name: "pad", offset: 2, size: 2, type: { kind: "bytes", length: 2 }, padding: true },
    {
      name: "counters",
      offset: 4,
      size: 32,
      type: { kind: "array", element: { kind: "struct", layout: counter }, count: 2 },
    },
    { name: "mood", offset: 36, size: 4, type: { kind: "enum", name: "mood", bits: 32, signed: true } },
    { name: "hash", offset: 40, size: 4, type: { kind: "bytes", length: 4 } },
    { name: "zone", offset: 44, size: 4, type: { kind: "struct", layout: zone } },
  ],
};
const mood = { name: "mood", values: { good: 0, "very-bad": 1 } };
const sparse = { name: "rate_flag", values: { low: 1, high: 4, top: 4, below: -1 } };

const drops: MapLayout = {
  name: "drops",
  type: 2,
  keySize: 4,
  valueSize: 16,
  maxEntries: 4,
  flags: 0,
  keyType: uint32,
  value: counter,
};

const alone: ObjectAbi = {
  object: "tc_rate",
  structs: [counter, entry, zone],
  enums: [mood, sparse],
  maps: {
    drops,
    rates: {
      name: "rates",
      type: 1,
      keySize: 4,
      valueSize: 48,
      maxEntries: 10,
      flags: 0,
      keyType: uint32,
      value: entry,
      pinning: 1,
    },
    banks: {
      name: "banks",
      type: 12,
      keySize: 4,
      valueSize: 4,
      maxEntries: 2,
      flags: 0,
      keyType: uint32,
      inner: {
        name: "banks.inner",
        type: 2,
        keySize: 4,
        valueSize: 16,
        maxEntries: 8,
        flags: 0,
        keyType: uint32,
        value: counter,
      },
    },
  },
  programs: [{ name: "tc_rate", section: "tc" }],
};
const other: ObjectAbi = {
  object: "xdp_other",
  structs: [counter],
  enums: [mood],
  maps: {
    drops,
    counts: {
      name: "counts",
      type: 2,
      keySize: 4,
      valueSize: 16,
      maxEntries: 1,
      flags: 0,
      keyType: uint32,
      value: counter,
    },
  },
  programs: [],
};

describe("generateSources", () => {
  it("writes one file for each object and an index", () => {
    expect([...generateSources([alone]).keys()].sort()).toEqual(["index.ts", "tc-rate.ts"]);
  });

  it("writes what several objects share once", () => {
    const sources = generateSources([alone, other]);
    expect([...sources.keys()].sort()).toEqual(["index.ts", "shared.ts", "tc-rate.ts", "xdp-other.ts"]);
    const owners = (text: string) =>
      [...sources].filter(([, source]) => source.includes(text)).map(([name]) => name);
    expect(owners("export interface Counter ")).toEqual(["shared.ts"]);
    expect(owners("export const Mood ")).toEqual(["shared.ts"]);
    expect(owners("export interface RateEntry ")).toEqual(["tc-rate.ts"]);
    expect(owners('name: "drops"')).toEqual(["shared.ts"]);
    expect(owners("drops: sharedMaps.drops")).toEqual(["tc-rate.ts", "xdp-other.ts"]);
    expect(owners('name: "counts"')).toEqual(["xdp-other.ts"]);
  });

  it("gives the same whatever the order of the objects", () => {
    expect(generateSources([other, alone])).toEqual(generateSources([alone, other]));
  });

  it("writes TypeScript that compiles under the project's rules and packs as the layouts say", () => {
    const folder = makeTemporaryFolder();
    mkdirSync(join(folder, "generated"));
    writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
    for (const door of ["codec", "layout"]) {
      const source = relative(folder, join(root, `src/abi/${door}.ts`));
      writeFileSync(join(folder, `${door}.ts`), `export * from "${source}";\n`);
    }
    for (const [name, text] of generateSources([alone, other]))
      writeFileSync(join(folder, "generated", name), text);
    writeFileSync(
      join(folder, "use.ts"),
      `import { offsetOf } from "./layout.ts";
import { counterCodec, Mood, moodNames, objectAbis, rateEntryCodec, rateEntryLayout, rateFlagNames, tcRateMaps, xdpOtherMaps, type RateEntry } from "./generated/index.ts";
const value: RateEntry = { port: 443, counters: [{ packets: 1n, bytes: 2n }, { packets: 3n, bytes: 4n }], mood: Mood["very-bad"], hash: new Uint8Array(4), zone: { id: 9 } };
const second: bigint = rateEntryCodec.decode(rateEntryCodec.encode(value)).counters[1].bytes;
// @ts-expect-error a field that the layout lacks
const nowhere = () => offsetOf(rateEntryLayout, "colour");
// @ts-expect-error a value without a field
const partial: RateEntry = { port: 1 };
console.log(JSON.stringify([
  Buffer.from(rateEntryCodec.encode(value)).toString("hex"), String(second), moodNames, rateFlagNames[4], rateFlagNames[-1],
  offsetOf(rateEntryLayout, "mood"), tcRateMaps.rates.value.size, tcRateMaps.banks.inner.value.name, counterCodec.size,
  objectAbis.map((abi) => abi.object), tcRateMaps.drops === xdpOtherMaps.drops, typeof nowhere, typeof partial,
]));
`,
    );
    expect(compileErrors(join(folder, "use.ts"))).toEqual([]);
    const run = spawnSync(process.execPath, ["--import", "tsx", join(folder, "use.ts")], {
      cwd: root,
      encoding: "utf8",
    });
    expect(run.stderr).toBe("");
    const counters = [1, 2, 3, 4].map((n) => `0${n}00000000000000`).join("");
    expect(JSON.parse(run.stdout)).toEqual([
      `01bb0000${counters}010000000000000009000000`,
      "4",
      ["good", "very-bad"],
      "high",
      "below",
      36,
      48,
      "counter",
      16,
      ["tc_rate", "xdp_other"],
      true,
      "function",
      "object",
    ]);
  });

  it("refuses one name for two structs", () => {
    const signed = { kind: "int", bits: 64, bigEndian: false } as const;
    const changed = { ...counter, fields: counter.fields.map((field) => ({ ...field, type: signed })) };
    expect(() => generateSources([alone, { ...other, structs: [changed] }])).toThrow(
      expect.objectContaining({
        code: "layout-conflict",
        message: expect.stringMatching(/counter: tc_rate has .* xdp_other has/),
      }),
    );
  });

  it("refuses one name for two enums", () => {
    const changed = { name: "mood", values: { good: 1, "very-bad": 0 } };
    expect(() => generateSources([alone, { ...other, enums: [changed] }])).toThrow(/Cannot generate mood/);
  });

  it("refuses one name for two maps", () => {
    const maps = { ...other.maps, drops: { ...drops, maxEntries: 5 } };
    expect(() => generateSources([alone, { ...other, maps }])).toThrow(
      /Cannot generate drops: tc_rate has .* maxEntries: 4/,
    );
  });

  it("refuses names that become one in TypeScript", () => {
    const twin = { ...counter, name: "rate__entry" };
    expect(() => generateSources([alone, { ...other, structs: [twin] }])).toThrow(
      /Cannot generate rateEntryLayout|Cannot generate RateEntry/,
    );
  });

  it.each([
    {
      name: "in the middle",
      fields: [counter.fields[0]!, { ...counter.fields[1]!, offset: 12, size: 4, type: uint32 }],
      at: /4 bytes at offset 8/,
    },
    { name: "at the end", fields: [counter.fields[0]!], at: /8 bytes at offset 8/ },
  ])("refuses a hole $name", ({ fields, at }) => {
    expect(() => generateSources([{ ...other, structs: [{ ...counter, fields }] }])).toThrow(
      expect.objectContaining({ code: "implicit-padding", message: expect.stringMatching(at) }),
    );
  });
});

/** The errors of the project's own compiler options for one file and what it imports. */
function compileErrors(file: string): string[] {
  const config = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
  const program = ts.createProgram([file], { ...options, typeRoots: [join(root, "node_modules/@types")] });
  return ts
    .getPreEmitDiagnostics(program)
    .map(
      ({ messageText, file: at }) =>
        `${at?.fileName ?? ""}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`,
    );
}
