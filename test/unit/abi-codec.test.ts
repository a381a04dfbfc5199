// Codecs: what is encoded is decoded, bytes are those that clang writes for the same initialiser, what does not
// fit is refused by name, and the unrolled codecs of the generator do the same as the loop over fields.
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { parseElf } from "../../src/abi/elf.ts";
import * as abi from "../../src/abi/index.ts";
import {
  defineCodec,
  type FieldLayout,
  type FieldType,
  objectAbis,
  readObjectAbi,
  type StructCodec,
  type StructLayout,
} from "../../src/abi/index.ts";
import { sizeOfType } from "../../src/abi/layout.ts";
import { compileAll, hasClang } from "../fixtures/abi/clang.ts";

// Bounds a hang, and is far above what a busy machine needs.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

type Value = Record<string, unknown>;

const uint = (bits: 8 | 16 | 32 | 64, bigEndian = false): FieldType => ({ kind: "uint", bits, bigEndian });
const int = (bits: 8 | 16 | 32 | 64, bigEndian = false): FieldType => ({ kind: "int", bits, bigEndian });

/** A layout whose fields follow each other without holes. */
function pack(name: string, types: readonly (readonly [string, FieldType])[], padding = 0): StructLayout {
  let at = 0;
  const fields: FieldLayout[] = types.map(([field, type]) => {
    const size = sizeOfType(type);
    at += size;
    return { name: field, offset: at - size, size, type };
  });
  if (padding > 0) {
    fields.push({
      name: "pad",
      offset: at,
      size: padding,
      type: { kind: "bytes", length: padding },
      padding: true,
    });
  }
  return { name, size: at + padding, fields };
}

/** Values that a field of this type can hold. */
function anyValueOf(type: FieldType): fc.Arbitrary<unknown> {
  switch (type.kind) {
    case "uint":
    case "int":
    case "enum": {
      const signed = type.kind === "enum" ? type.signed : type.kind === "int";
      const min = signed ? -(2n ** BigInt(type.bits - 1)) : 0n;
      const max = min + 2n ** BigInt(type.bits) - 1n;
      const any = fc.oneof(fc.constantFrom(min, max), fc.bigInt({ min, max }));
      return type.bits === 64 ? any : any.map(Number);
    }
    case "bytes":
      return fc.uint8Array({ minLength: type.length, maxLength: type.length });
    case "struct":
      return anyStructOf(type.layout);
    case "array":
      return fc.array(anyValueOf(type.element), { minLength: type.count, maxLength: type.count });
  }
}

function anyStructOf(layout: StructLayout): fc.Arbitrary<Value> {
  const fields = layout.fields.filter((field) => field.padding !== true);
  return fc.record(Object.fromEntries(fields.map((field) => [field.name, anyValueOf(field.type)])));
}

const bits = fc.constantFrom(8 as const, 16 as const, 32 as const, 64 as const);
const scalar: fc.Arbitrary<FieldType> = fc.oneof(
  fc.record({ kind: fc.constantFrom("uint" as const, "int" as const), bits, bigEndian: fc.boolean() }),
  fc.record({
    kind: fc.constant("enum" as const),
    name: fc.constant("mood"),
    bits: fc.constantFrom(8 as const, 16 as const, 32 as const),
    signed: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("bytes" as const), length: fc.integer({ min: 1, max: 20 }) }),
);

const { layout: anyLayout } = fc.letrec<{ layout: StructLayout; type: FieldType }>((tie) => ({
  type: fc.oneof(
    { maxDepth: 3 },
    scalar,
    tie("layout").map((layout): FieldType => ({ kind: "struct", layout })),
    fc
      .tuple(tie("type"), fc.integer({ min: 1, max: 4 }))
      .map(([element, count]): FieldType => ({ kind: "array", element, count })),
  ),
  layout: fc
    .tuple(fc.array(tie("type"), { minLength: 1, maxLength: 6 }), fc.integer({ min: 0, max: 4 }))
    .map(([types, padding]) =>
      pack(
        "any",
        types.map((type, i) => [`f${i}`, type] as const),
        padding,
      ),
    ),
}));

const layoutAndValue = anyLayout.chain((layout) => fc.tuple(fc.constant(layout), anyStructOf(layout)));

describe("any layout", () => {
  it("decodes what it encoded, at any offset, and touches nothing else", () => {
    fc.assert(
      fc.property(layoutAndValue, fc.nat(9), fc.nat(9), ([layout, value], before, after) => {
        const codec = defineCodec<Value>(layout);
        const into = new Uint8Array(before + codec.size + after).fill(0xa5);
        expect(codec.encode(value, into, before)).toBe(into);
        expect(codec.decode(into, before)).toEqual(value);
        expect(codec.decode(codec.encode(value))).toEqual(value);
        expect(into.subarray(0, before).every((byte) => byte === 0xa5)).toBe(true);
        expect(into.subarray(before + codec.size).every((byte) => byte === 0xa5)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  it("writes every byte of its struct: equal values are equal bytes whatever was there", () => {
    fc.assert(
      fc.property(layoutAndValue, ([layout, value]) => {
        const codec = defineCodec<Value>(layout);
        const dirty = codec.encode(value, new Uint8Array(codec.size).fill(0xff));
        expect(dirty).toEqual(codec.encode(value));
      }),
    );
  });

  it("gives values that share nothing with the bytes", () => {
    const codec = defineCodec<{ hash: Uint8Array }>(pack("s", [["hash", { kind: "bytes", length: 4 }]]));
    for (const bytes of [new Uint8Array([1, 2, 3, 4]), Buffer.from([1, 2, 3, 4])]) {
      const { hash } = codec.decode(bytes);
      bytes.fill(9);
      expect(hash).toEqual(new Uint8Array([1, 2, 3, 4]));
    }
  });
});

describe("bytes of single values", () => {
  const rows: { type: FieldType; value: unknown; bytes: number[] }[] = [
    { type: uint(8), value: 0xfe, bytes: [0xfe] },
    { type: int(8), value: -2, bytes: [0xfe] },
    { type: uint(16), value: 0x0102, bytes: [2, 1] },
    { type: uint(16, true), value: 0x0102, bytes: [1, 2] },
    { type: int(16, true), value: -2, bytes: [0xff, 0xfe] },
    { type: uint(32), value: 0xfffefdfc, bytes: [0xfc, 0xfd, 0xfe, 0xff] },
    { type: uint(32, true), value: 0xfffefdfc, bytes: [0xff, 0xfe, 0xfd, 0xfc] },
    { type: int(32), value: -(2 ** 31), bytes: [0, 0, 0, 0x80] },
    { type: uint(64), value: 0x0102030405060708n, bytes: [8, 7, 6, 5, 4, 3, 2, 1] },
    { type: uint(64, true), value: 0x0102030405060708n, bytes: [1, 2, 3, 4, 5, 6, 7, 8] },
    { type: int(64), value: -2n, bytes: [0xfe, 255, 255, 255, 255, 255, 255, 255] },
  ];
  it.each(rows)("$type $value", ({ type, value, bytes }) => {
    const codec = defineCodec<Value>(pack("s", [["x", type]]));
    expect([...codec.encode({ x: value })]).toEqual(bytes);
    expect(codec.decode(Uint8Array.from(bytes))).toEqual({ x: value });
  });
});

describe("what does not fit", () => {
  const nested = pack("inner", [["deep", uint(8)]]);
  const rows: { name: string; type: FieldType; values: unknown[]; path?: string }[] = [
    {
      name: "unsigned 8",
      type: uint(8),
      values: [-1, 256, 0.5, Number.NaN, "1", 1n, null, undefined, true, [1]],
    },
    { name: "signed 8", type: int(8), values: [-129, 128, 0.5, "1", 1n, undefined] },
    {
      name: "unsigned 16",
      type: uint(16, true),
      values: [-1, 65536, 1.5, Number.POSITIVE_INFINITY, 1n, undefined],
    },
    { name: "signed 16", type: int(16), values: [-32769, 32768, 1n] },
    { name: "unsigned 32", type: uint(32), values: [-1, 2 ** 32, 0.1, Number.NaN, 1n, undefined] },
    { name: "signed 32", type: int(32), values: [2 ** 31, -(2 ** 31) - 1, 0.1, 1n] },
    { name: "unsigned 64", type: uint(64), values: [-1n, 2n ** 64n, 1, "1", undefined] },
    { name: "signed 64", type: int(64), values: [2n ** 63n, -(2n ** 63n) - 1n, 1] },
    { name: "an enum", type: { kind: "enum", name: "e", bits: 8, signed: false }, values: [-1, 256, "drop"] },
    {
      name: "bytes",
      type: { kind: "bytes", length: 2 },
      values: [new Uint8Array(1), new Uint8Array(3), [1, 2], "ab"],
    },
    {
      name: "an array",
      type: { kind: "array", element: uint(8), count: 2 },
      values: [[1], [1, 2, 3], [1, 256], {}],
    },
    {
      name: "a struct",
      type: { kind: "struct", layout: nested },
      values: [undefined, 1, {}, { deep: 256 }],
      path: "inner",
    },
  ];
  it.each(rows)("is refused: $name", ({ type, values, path = "fw_rule.x" }) => {
    const codec = defineCodec<Value>(pack("fw_rule", [["x", type]]));
    for (const value of values) {
      expect(() => codec.encode({ x: value }), String(value)).toThrow(
        expect.objectContaining({
          code: "invariant-broken",
          disposition: "bug",
          message: expect.stringContaining(`Cannot encode ${path}`),
        }),
      );
    }
  });

  it.each([null, undefined, 7, "text"])("is refused as a whole: %s", (value) => {
    const codec = defineCodec<unknown>(pack("fw_rule", [["x", uint(8)]]));
    expect(() => codec.encode(value)).toThrow(/Cannot encode fw_rule: .* is not an object/);
  });

  it.each([-1, 1, 0.5, Number.NaN])("lies outside of the bytes at offset %s", (offset) => {
    const codec = defineCodec<Value>(pack("fw_rule", [["x", uint(32)]]));
    expect(() => codec.encode({ x: 1 }, new Uint8Array(4), offset)).toThrow(
      /Cannot encode fw_rule: 4 bytes at/,
    );
    expect(() => codec.decode(new Uint8Array(4), offset)).toThrow(/Cannot decode fw_rule: 4 bytes at/);
  });
});

/** `packet_event` has `packetEventCodec`. */
function findCodec(layout: StructLayout): StructCodec<Value> {
  const name = `${layout.name.replace(/_+(.)/g, (_, letter: string) => letter.toUpperCase())}Codec`;
  return (abi as unknown as Record<string, StructCodec<Value>>)[name]!;
}

describe("generated codecs", () => {
  const layouts = objectAbis.flatMap((object) => object.structs as readonly StructLayout[]);

  it.each(layouts)("$name: the unrolled codec does what the loop does", (layout) => {
    const generated = findCodec(layout);
    // A copy of the layout is unknown to the codecs of nested structs: everything below it is a loop too.
    const loop = defineCodec<Value>(structuredClone(layout));
    expect(generated.layout).toBe(layout);
    fc.assert(
      fc.property(anyStructOf(layout), (value) => {
        const bytes = loop.encode(value);
        expect(generated.encode(value)).toEqual(bytes);
        expect(generated.decode(bytes)).toEqual(value);
        expect(loop.decode(bytes)).toEqual(value);
      }),
      { numRuns: 50 },
    );
  });
});

describe.skipIf(!hasClang())("initialisers of compiled C", () => {
  const declarations = `
enum mood { MOOD_GOOD = 1, MOOD_BAD = -7 };
struct inner { __be16 port; __u8 flags; __u8 pad; };
struct s { __u64 version; __s64 delta; struct inner side[2]; __be64 wide; __be32 address; __s32 small; enum mood mood;
	__u16 words[3]; __s8 sign; char name[5]; } __attribute__((packed));
struct s *emit_s;
`;
  const rows: { name: string; c: string; value: Value }[] = [
    {
      name: "values",
      c: `{ .version = 0x1122334455667788ULL, .delta = -3, .side = { { .port = __builtin_bswap16(443), .flags = 9 }, { .port = __builtin_bswap16(1) } },
        .wide = __builtin_bswap64(0x0102030405060708ULL), .address = __builtin_bswap32(0xc0000201), .small = -2147483648LL, .mood = MOOD_BAD,
        .words = { 1, 0x8000, 65535 }, .sign = -128, .name = "abcd" }`,
      value: {
        version: 0x1122334455667788n,
        delta: -3n,
        side: [
          { port: 443, flags: 9 },
          { port: 1, flags: 0 },
        ],
        wide: 0x0102030405060708n,
        address: 0xc0000201,
        small: -2147483648,
        mood: -7,
        words: [1, 0x8000, 65535],
        sign: -128,
        name: new Uint8Array([97, 98, 99, 100, 0]),
      },
    },
    {
      name: "highest values",
      c: `{ .version = ~0ULL, .delta = 0x7fffffffffffffffLL, .side = { { 0xffff, 255, 0 }, { 0xff00, 1, 0 } }, .wide = ~0ULL, .address = ~0U,
        .small = 0x7fffffff, .mood = MOOD_GOOD, .words = { 65535, 65535, 65535 }, .sign = 127, .name = { 255, 254, 253, 252, 251 } }`,
      value: {
        version: 2n ** 64n - 1n,
        delta: 2n ** 63n - 1n,
        side: [
          { port: 65535, flags: 255 },
          { port: 255, flags: 1 },
        ],
        wide: 2n ** 64n - 1n,
        address: 2 ** 32 - 1,
        small: 2 ** 31 - 1,
        mood: 1,
        words: [65535, 65535, 65535],
        sign: 127,
        name: new Uint8Array([255, 254, 253, 252, 251]),
      },
    },
  ];
  const variables = rows.map((row, i) => `struct s value${i} = ${row.c};`);
  const object = hasClang()
    ? compileAll({
        values: `${declarations}#pragma clang diagnostic ignored "-Wconstant-conversion"\n${variables.join("\n")}`,
      }).get("values")
    : undefined;

  it.each(rows)("equal the bytes of the codec: $name", (row) => {
    const bytes = object ?? new Uint8Array();
    const symbol = parseElf(bytes).symbols.find(
      (candidate) => candidate.name === `value${rows.indexOf(row)}`,
    )!;
    const layout = readObjectAbi("values", bytes).structs.find((candidate) => candidate.name === "s")!;
    const written = symbol.section!.data.subarray(symbol.offset, symbol.offset + symbol.size);
    const codec = defineCodec<Value>(layout);
    expect([...codec.encode(row.value)]).toEqual([...written]);
    expect(codec.decode(written)).toEqual(row.value);
  });
});
