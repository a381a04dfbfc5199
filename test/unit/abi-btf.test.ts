// The readers of object files: every kind of BTF is read as it was written, and no bytes, however damaged, do
// anything but give an object or a PenstockError.
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { parseBtf } from "../../src/abi/btf.ts";
import { parseElf } from "../../src/abi/elf.ts";
import { readObjectAbi } from "../../src/abi/index.ts";
import { PenstockError } from "../../src/base/index.ts";
import { buildBtf, buildElf, type TypeSpec } from "../fixtures/abi/build-object.ts";

// Bounds a hang, and is far above what a busy machine needs.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const every: TypeSpec[] = [
  { kind: "int", name: "unsigned int", size: 4 }, // 1
  { kind: "ptr", target: 6 },
  { kind: "array", element: 1, index: 1, count: 7 },
  {
    kind: "struct",
    name: "flow",
    size: 8,
    members: [
      ["a", 1, 0],
      ["b", 8, 32],
    ],
  }, // 4
  { kind: "union", name: "either", size: 4, members: [["x", 1, 0]] },
  {
    kind: "enum",
    name: "colour",
    size: 4,
    values: [
      ["COLOUR_RED", 0n],
      ["COLOUR_BLUE", 0xffffffffn],
    ],
  }, // 6
  { kind: "fwd", name: "later", flag: true },
  { kind: "typedef", name: "__be32", target: 1 }, // 8
  { kind: "volatile", target: 8 },
  { kind: "const", target: 9 },
  { kind: "restrict", target: 10 }, // 11
  {
    kind: "func-proto",
    returns: 1,
    parameters: [
      ["context", 2],
      ["", 0],
    ],
  }, // 12
  { kind: "func", name: "judge", target: 12, linkage: 1 },
  { kind: "var", name: "emit_flow", target: 15, extra: 1 },
  { kind: "ptr", target: 4 }, // 15
  { kind: "datasec", name: ".bss", size: 8, variables: [[14, 0, 8]] },
  { kind: "float", name: "double", size: 8 },
  { kind: "decl-tag", name: "owner", target: 4, extra: -1 },
  { kind: "type-tag", name: "user", target: 11 }, // 19
  {
    kind: "enum64",
    name: "wide",
    size: 8,
    signed: true,
    values: [
      ["WIDE_LOW", -5n],
      ["WIDE_HIGH", 1n << 40n],
    ],
  },
];

/** A whole object with maps, programs and emitted types, small enough to damage every byte of it. */
const objectTypes: TypeSpec[] = [
  { kind: "int", name: "unsigned int", size: 4 },
  { kind: "array", element: 1, index: 1, count: 1 },
  { kind: "ptr", target: 2 }, // 3: __uint(..., 1)
  {
    kind: "struct",
    name: "entry",
    size: 8,
    members: [
      ["version", 1, 0],
      ["side", 5, 32],
    ],
  },
  { kind: "typedef", name: "__be32", target: 1 }, // 5
  { kind: "ptr", target: 1 },
  { kind: "ptr", target: 4 },
  {
    kind: "struct",
    name: "",
    size: 32,
    members: [
      ["type", 3, 0],
      ["max_entries", 3, 64],
      ["key", 6, 128],
      ["value", 7, 192],
    ],
  }, // 8
  { kind: "var", name: "entries", target: 8, extra: 1 },
  { kind: "datasec", name: ".maps", size: 32, variables: [[9, 0, 32]] },
  {
    kind: "enum",
    name: "mood",
    size: 4,
    values: [
      ["MOOD_GOOD", 1n],
      ["MOOD_BAD", 2n],
    ],
  }, // 11
  { kind: "ptr", target: 11 },
  { kind: "var", name: "emit_mood", target: 12, extra: 1 },
  { kind: "func-proto", returns: 1, parameters: [] }, // 14
  { kind: "func", name: "judge", target: 14, linkage: 1 },
];

function buildObject(types: readonly TypeSpec[]): Uint8Array {
  return buildElf(
    [
      { name: "xdp", data: new Uint8Array(16), executable: true },
      { name: ".BTF", data: buildBtf(types) },
    ],
    [{ name: "judge", section: "xdp", kind: "function", global: true }],
  );
}

describe("parseBtf", () => {
  it("reads every kind", () => {
    const { types } = parseBtf(buildBtf(every));
    expect(types).toEqual([
      { kind: "void" },
      { kind: "int", name: "unsigned int", size: 4, bits: 32, bitOffset: 0, encoding: "unsigned" },
      { kind: "ptr", target: 6 },
      { kind: "array", element: 1, index: 1, count: 7 },
      {
        kind: "struct",
        name: "flow",
        size: 8,
        members: [
          { name: "a", type: 1, bitOffset: 0, bitfieldBits: 0 },
          { name: "b", type: 8, bitOffset: 32, bitfieldBits: 0 },
        ],
      },
      {
        kind: "union",
        name: "either",
        size: 4,
        members: [{ name: "x", type: 1, bitOffset: 0, bitfieldBits: 0 }],
      },
      {
        kind: "enum",
        name: "colour",
        size: 4,
        signed: false,
        values: [
          { name: "COLOUR_RED", value: 0n },
          { name: "COLOUR_BLUE", value: 0xffffffffn },
        ],
      },
      { kind: "fwd", name: "later", union: true },
      { kind: "typedef", name: "__be32", target: 1 },
      { kind: "volatile", target: 8 },
      { kind: "const", target: 9 },
      { kind: "restrict", target: 10 },
      {
        kind: "func-proto",
        returns: 1,
        parameters: [
          { name: "context", type: 2 },
          { name: "", type: 0 },
        ],
      },
      { kind: "func", name: "judge", target: 12, linkage: 1 },
      { kind: "var", name: "emit_flow", target: 15, linkage: 1 },
      { kind: "ptr", target: 4 },
      { kind: "datasec", name: ".bss", size: 8, variables: [{ type: 14, offset: 0, size: 8 }] },
      { kind: "float", name: "double", size: 8 },
      { kind: "decl-tag", name: "owner", target: 4, component: -1 },
      { kind: "type-tag", name: "user", target: 11 },
      {
        kind: "enum64",
        name: "wide",
        size: 8,
        signed: true,
        values: [
          { name: "WIDE_LOW", value: -5n },
          { name: "WIDE_HIGH", value: 1n << 40n },
        ],
      },
    ]);
  });

  it("follows typedefs, qualifiers and tags", () => {
    const btf = parseBtf(buildBtf(every));
    expect(btf.resolve(19)).toMatchObject({ kind: "int", name: "unsigned int" });
  });

  const valid = buildBtf(every);
  const patch = (at: number, value: number, bytes = valid) => {
    const copy = bytes.slice();
    new DataView(copy.buffer).setUint32(at, value, true);
    return copy;
  };
  const rows: { name: string; bytes: Uint8Array; problem: RegExp }[] = [
    { name: "no bytes", bytes: new Uint8Array(), problem: /magic/ },
    { name: "another magic", bytes: patch(0, 0x019feb), problem: /magic/ },
    { name: "big endian", bytes: patch(0, 0x01009feb), problem: /magic/ },
    { name: "version 2", bytes: patch(0, 0x0002eb9f), problem: /version is 2/ },
    { name: "a header that is too short", bytes: patch(4, 20), problem: /header/ },
    { name: "types beyond the end", bytes: patch(12, 1 << 20), problem: /outside/ },
    { name: "strings beyond the end", bytes: patch(20, 1 << 20), problem: /outside/ },
    { name: "strings that begin with a name", bytes: patch(16, 7), problem: /strings do not begin/ },
    {
      name: "the last type cut off",
      bytes: patch(12, new DataView(valid.buffer).getUint32(12, true) - 4),
      problem: /outside/,
    },
    { name: "a name beyond the strings", bytes: patch(24, 1 << 20), problem: /outside/ },
    { name: "kind 0", bytes: patch(28, 0), problem: /unknown kind 0/ },
    { name: "kind 20", bytes: patch(28, 20 << 24), problem: /unknown kind 20/ },
    {
      name: "a reference to a type that does not exist",
      bytes: buildBtf([{ kind: "ptr", target: 2 }]),
      problem: /refers to type 2 of 1/,
    },
    {
      name: "a name without end",
      bytes: buildBtf([{ kind: "float", name: "f".repeat(600), size: 8 }]),
      problem: /does not end/,
    },
  ];
  it.each(rows)("refuses $name", ({ bytes, problem }) => {
    expect(() => parseBtf(bytes)).toThrow(
      expect.objectContaining({ code: "bad-btf", message: expect.stringMatching(problem) }),
    );
  });

  it("refuses to follow a typedef of itself", () => {
    const btf = parseBtf(buildBtf([{ kind: "typedef", name: "loop", target: 1 }]));
    expect(() => btf.resolve(1)).toThrow(/refers to itself/);
  });
});

describe("parseElf", () => {
  const rows: { name: string; damage: (bytes: Uint8Array) => Uint8Array; problem: RegExp }[] = [
    { name: "no bytes", damage: () => new Uint8Array(), problem: /no ELF/ },
    { name: "text", damage: () => new TextEncoder().encode("#!/bin/sh\n".repeat(10)), problem: /no ELF/ },
    { name: "32 bits", damage: (b) => b.with(4, 1), problem: /64-bit/ },
    { name: "big endian", damage: (b) => b.with(5, 2), problem: /little-endian/ },
    { name: "a program for x86-64", damage: (b) => b.with(18, 62), problem: /machine 62/ },
    { name: "no sections", damage: (b) => b.with(60, 0), problem: /no section headers/ },
    { name: "headers beyond the end", damage: (b) => b.with(43, 1), problem: /outside/ },
    { name: "headers at 2^63", damage: (b) => b.with(47, 0x80), problem: /offset or a size/ },
    { name: "a missing table of names", damage: (b) => b.with(62, 99), problem: /section names/ },
    { name: "half of a file", damage: (b) => b.subarray(0, b.length / 2), problem: /outside/ },
  ];
  it.each(rows)("refuses $name", ({ damage, problem }) => {
    expect(() => parseElf(damage(buildObject(objectTypes)))).toThrow(
      expect.objectContaining({ code: "bad-object", message: expect.stringMatching(problem) }),
    );
  });

  it("says what an object without types lacks", () => {
    const bytes = buildElf([{ name: "xdp", data: new Uint8Array(8), executable: true }]);
    expect(() => readObjectAbi("bare", bytes)).toThrow(/Cannot read the types of bare/);
  });
});

describe("damaged objects", () => {
  const object = buildObject(objectTypes);

  it("are built rightly before they are damaged", () => {
    expect(readObjectAbi("built", object)).toMatchObject({
      structs: [{ name: "entry", size: 8 }],
      enums: [{ name: "mood", values: { good: 1, bad: 2 } }],
      maps: { entries: { type: 1, keySize: 4, valueSize: 8, maxEntries: 1 } },
      programs: [{ name: "judge", section: "xdp" }],
    });
  });

  it("give an error of ours for every byte set to every pattern", () => {
    let refused = 0;
    for (let at = 0; at < object.length; at++) {
      for (const value of [0x00, 0x01, 0x7f, 0x80, 0xff]) {
        if (readOrRefuse(object.with(at, value)) === "refused") refused++;
      }
    }
    expect(refused).toBeGreaterThan(object.length / 10);
  });

  it("give an error of ours for every length", () => {
    for (let length = 0; length < object.length; length++) {
      expect(readOrRefuse(object.subarray(0, length))).toBe("refused");
    }
  });

  it("give an error of ours for several damaged words", () => {
    const words = fc.array(fc.tuple(fc.nat(object.length - 4), fc.nat(0xffffffff)), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(words, (damages) => {
        const copy = object.slice();
        for (const [at, word] of damages) new DataView(copy.buffer).setUint32(at, word, true);
        readOrRefuse(copy);
      }),
      { numRuns: 2000 },
    );
  });

  it("give an error of ours for any types whatsoever", () => {
    fc.assert(
      fc.property(fc.array(anyType, { minLength: 1, maxLength: 24 }), (types) => {
        readOrRefuse(
          buildObject([...types, { kind: "datasec", name: ".maps", size: 0, variables: [[1, 0, 0]] }]),
        );
      }),
      { numRuns: 2000 },
    );
  });

  it.each<{ name: string; types: TypeSpec[] }>([
    { name: "a struct in itself", types: [{ kind: "struct", name: "s", size: 8, members: [["s", 1, 0]] }] },
    { name: "an array of itself", types: [{ kind: "array", element: 1, index: 1, count: 1 }] },
    { name: "a typedef of itself", types: [{ kind: "typedef", name: "t", target: 1 }] },
  ])("refuse $name", ({ types }) => {
    const emitted: TypeSpec[] = [
      { kind: "struct", name: "outer", size: 8, members: [["inner", 1, 0]] },
      { kind: "ptr", target: types.length + 1 },
      { kind: "var", name: "emit_outer", target: types.length + 2, extra: 1 },
    ];
    expect(readOrRefuse(buildObject([...types, ...emitted]))).toBe("refused");
  });
});

/** Reads an object; anything thrown that is not ours fails the test. */
function readOrRefuse(bytes: Uint8Array): "read" | "refused" {
  try {
    readObjectAbi("damaged", bytes);
    return "read";
  } catch (error) {
    if (error instanceof PenstockError && error.disposition === "stalled") return "refused";
    throw error;
  }
}

const id = fc.nat(24);
const name = fc.constantFrom(
  "",
  "a",
  "type",
  "key",
  "value",
  "values",
  "max_entries",
  "pad",
  "emit_x",
  ".maps",
);
const size = fc.constantFrom(0, 1, 2, 3, 4, 8, 16, 0xffffffff);
const anyType: fc.Arbitrary<TypeSpec> = fc.oneof(
  fc.record({ kind: fc.constant("int" as const), name, size, encoding: fc.nat(15), bits: fc.nat(255) }),
  fc.record({ kind: fc.constantFrom("ptr" as const, "const" as const), target: id }),
  fc.record({ kind: fc.constantFrom("typedef" as const, "func" as const), name, target: id }),
  fc.record({ kind: fc.constant("array" as const), element: id, index: id, count: fc.nat(0xffffffff) }),
  fc.record({
    kind: fc.constantFrom("struct" as const, "union" as const),
    name,
    size,
    flag: fc.boolean(),
    members: fc.array(fc.tuple(name, id, fc.nat(0xffffffff)), { maxLength: 5 }),
  }),
  fc.record({
    kind: fc.constantFrom("enum" as const, "enum64" as const),
    name,
    size,
    values: fc.array(fc.tuple(name, fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n })), { maxLength: 3 }),
  }),
  fc.record({ kind: fc.constant("var" as const), name, target: id, extra: fc.nat(2) }),
);
