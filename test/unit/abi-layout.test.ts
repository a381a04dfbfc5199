// C in, layouts out: what is described and what is refused, with clang as the judge of every offset and size.
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { parseElf } from "../../src/abi/elf.ts";
import {
  countOf,
  type FieldLayout,
  formatType,
  type ObjectAbi,
  offsetOf,
  readObjectAbi,
} from "../../src/abi/index.ts";
import { fieldNameOf, findHole, isPaddingName } from "../../src/abi/layout.ts";
import { compileAll, hasClang } from "../fixtures/abi/clang.ts";

// Bounds a hang, and is far above what a busy machine needs.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

/** `0 version uint64, 8 side struct x[2], 16 pad bytes[4] padding` */
function describeFields(fields: readonly FieldLayout[]): string {
  return fields
    .map((f) => `${f.offset} ${f.name} ${formatType(f.type)}${f.padding === true ? " padding" : ""}`)
    .join(", ");
}

interface Described {
  readonly name: string;
  readonly c: string;
  /** Layouts by struct, as describeFields gives them. */
  readonly structs?: Readonly<Record<string, string>>;
  readonly enums?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly maps?: ObjectAbi["maps"];
  readonly programs?: ObjectAbi["programs"];
}

const emitS = "struct s *emit_s;";
const uint32 = { kind: "uint", bits: 32, bigEndian: false } as const;

const described: readonly Described[] = [
  {
    name: "integers of every width and sign",
    c: `struct s { __u64 a; __s64 b; __u32 c; __s32 d; __u16 e; __s16 f; __u8 g; __s8 h; __u8 pad[2]; }; ${emitS}`,
    structs: {
      s: "0 a uint64, 8 b int64, 16 c uint32, 20 d int32, 24 e uint16, 26 f int16, 28 g uint8, 29 h int8, 30 pad bytes[2] padding",
    },
  },
  {
    name: "the plain names of C",
    c: `struct s { unsigned long a; long b; int c; unsigned short d; char e; unsigned char f; }; ${emitS}`,
    structs: { s: "0 a uint64, 8 b int64, 16 c int32, 20 d uint16, 22 e int8, 23 f uint8" },
  },
  {
    name: "network byte order, also behind typedefs and qualifiers",
    c: `typedef __be16 port_t; struct s { __be64 a; const volatile __be32 b; port_t c; __le16 d; }; ${emitS}`,
    structs: { s: "0 a be64, 8 b be32, 12 c be16, 14 d uint16" },
  },
  {
    name: "bytes and characters",
    c: `struct s { __u8 address[16]; char name[12]; const unsigned char hash[32]; }; ${emitS}`,
    structs: { s: "0 address bytes[16], 16 name bytes[12], 28 hash bytes[32]" },
  },
  {
    name: "arrays of anything else",
    c: `struct s { __be32 words[4]; __u16 ports[3][2]; __s8 signs[2]; __u8 rows[3][6]; }; ${emitS}`,
    structs: { s: "0 words be32[4], 16 ports uint16[2][3], 28 signs int8[2], 30 rows bytes[6][3]" },
  },
  {
    name: "a versioned entry",
    c: `struct side { __u32 verdict; __u16 flags; __u16 reserved; };
        struct s { __u64 version; __u64 check; struct side side[2]; }; ${emitS}`,
    structs: {
      s: "0 version uint64, 8 check uint64, 16 side struct side[2]",
      side: "0 verdict uint32, 4 flags uint16, 6 reserved uint16 padding",
    },
  },
  {
    name: "a packed struct with fields at odd places",
    c: `struct s { __u8 a; __u64 b; __be16 c; } __attribute__((packed)); ${emitS}`,
    structs: { s: "0 a uint8, 1 b uint64, 9 c be16" },
  },
  {
    name: "names in camelCase",
    c: `struct s { __u32 rule_id; __u32 a_b_c; __u32 __flags; __u32 v4_; }; ${emitS}`,
    structs: { s: "0 ruleId uint32, 4 aBC uint32, 8 flags uint32, 12 v4 uint32" },
  },
  {
    name: "enums as fields, plain, packed and signed",
    c: `enum mood { MOOD_GOOD, MOOD_BAD }; enum small { SMALL_A = 200 } __attribute__((packed)); enum below { BELOW_ONE = -1 };
        struct s { enum mood mood; enum below below; enum small small; __u8 pad[3]; }; ${emitS}`,
    structs: {
      s: "0 mood enum mood (uint32), 4 below enum below (int32), 8 small enum small (uint8), 9 pad bytes[3] padding",
    },
    enums: { mood: { good: 0, bad: 1 }, small: { a: 200 }, below: { one: -1 } },
  },
  {
    name: "constants with the enum's own prefix, though they share more",
    c: "enum fw_reason { FW_REASON_NON_IP_PASS, FW_REASON_NON_IP_DROP = 7, __FW_REASON_MAX }; enum fw_reason *emit_fw_reason;",
    enums: { fw_reason: { "non-ip-pass": 0, "non-ip-drop": 7 } },
  },
  {
    name: "constants with another prefix, with none, and beyond 32 bits",
    c: `enum a { XDP_GO_ON, XDP_GO_OFF }; enum a *emit_a; enum b { LEFT, RIGHT }; enum b *emit_b;
        enum c { C_WIDE = 0x100000000ULL }; enum c *emit_c;`,
    enums: { a: { on: 0, off: 1 }, b: { left: 0, right: 1 }, c: { wide: 0x100000000 } },
  },
  {
    name: "maps with structs, scalars and arrays",
    c: `struct key { __u32 id; }; struct value { __u64 version; };
        struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1000); __uint(map_flags, BPF_F_NO_PREALLOC);
                 __type(key, struct key); __type(value, struct value); __uint(pinning, LIBBPF_PIN_BY_NAME); } a SEC(".maps");
        struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct value[4]); } b SEC(".maps");
        struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } c SEC(".maps");
        struct { __uint(type, BPF_MAP_TYPE_BLOOM_FILTER); __uint(max_entries, 9); __uint(map_extra, 3); __uint(value_size, 8); } d SEC(".maps");`,
    structs: { key: "0 id uint32", value: "0 version uint64" },
    maps: {
      a: {
        name: "a",
        type: 1,
        keySize: 4,
        valueSize: 8,
        maxEntries: 1000,
        flags: 1,
        pinning: 1,
        key: { name: "key", size: 4, fields: [{ name: "id", offset: 0, size: 4, type: uint32 }] },
        value: {
          name: "value",
          size: 8,
          fields: [{ name: "version", offset: 0, size: 8, type: { ...uint32, bits: 64 } }],
        },
      },
      b: {
        name: "b",
        type: 2,
        keySize: 4,
        valueSize: 32,
        maxEntries: 1,
        flags: 0,
        keyType: uint32,
        valueType: expect.objectContaining({ kind: "array", count: 4 }),
      },
      c: { name: "c", type: 27, keySize: 0, valueSize: 0, maxEntries: 4096, flags: 0 },
      d: { name: "d", type: 30, keySize: 0, valueSize: 8, maxEntries: 9, flags: 0, mapExtra: 3 },
    },
  },
  {
    name: "a number written as the constant of an enum",
    c: `struct { __uint(type, BPF_MAP_TYPE_BLOOM_FILTER); __uint(max_entries, 9); __type(value, __u32);
                 enum { ___map_extra = 5 } map_extra; } a SEC(".maps");`,
    maps: {
      a: {
        name: "a",
        type: 30,
        keySize: 0,
        valueSize: 4,
        maxEntries: 9,
        flags: 0,
        valueType: uint32,
        mapExtra: 5,
      },
    },
  },
  {
    name: "maps of maps and program arrays",
    c: `struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u32); };
        struct { __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); __uint(max_entries, 3); __type(key, __u32); __array(values, struct inner); } a SEC(".maps");
        struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __uint(key_size, 4); __array(values, int(void *)); } b SEC(".maps");`,
    maps: {
      a: {
        name: "a",
        type: 13,
        keySize: 4,
        valueSize: 4,
        maxEntries: 3,
        flags: 0,
        keyType: uint32,
        inner: {
          name: "a.inner",
          type: 2,
          keySize: 4,
          valueSize: 4,
          maxEntries: 2,
          flags: 0,
          keyType: uint32,
          valueType: uint32,
        },
      },
      b: { name: "b", type: 3, keySize: 4, valueSize: 4, maxEntries: 4, flags: 0 },
    },
  },
  {
    name: "programs, but neither what they call nor what is static",
    c: `__attribute__((noinline)) int called(__u32 x) { return x * 2; }
        SEC("xdp.frags") int first(struct xdp_md *ctx) { return called(ctx->data_end - ctx->data); }
        SEC("tc") int second(struct __sk_buff *skb) { return skb->len; }
        SEC("tc") static int third(struct __sk_buff *skb) { return skb->len; }`,
    programs: [
      { name: "first", section: "xdp.frags" },
      { name: "second", section: "tc" },
    ],
  },
];

const refused: readonly { name: string; c: string; problem: RegExp }[] = [
  {
    name: "a bitfield",
    c: `struct s { __u32 a : 3; __u32 b : 29; }; ${emitS}`,
    problem: /struct s, field a: it is a bitfield/,
  },
  {
    name: "a union",
    c: `struct s { union { __u32 x; __u8 y[4]; } a; }; ${emitS}`,
    problem: /struct s, field a: it is a union/,
  },
  {
    name: "an anonymous union",
    c: `struct s { union { __u32 x; }; }; ${emitS}`,
    problem: /field without a name/,
  },
  { name: "a pointer", c: `struct s { void *a; }; ${emitS}`, problem: /struct s, field a: it is a ptr/ },
  { name: "a bool", c: `struct s { _Bool a; }; ${emitS}`, problem: /field a: it is a bool/ },
  { name: "128 bits", c: `struct s { __int128 a; }; ${emitS}`, problem: /integer of 128 bits/ },
  {
    name: "a flexible array",
    c: `struct s { __u32 a; __u8 b[]; }; ${emitS}`,
    problem: /field b: it is an array without a length/,
  },
  {
    name: "a nested struct without a name",
    c: `struct s { struct { __u32 x; } a; }; ${emitS}`,
    problem: /field a: its struct has no name/,
  },
  {
    name: "an enum field without a name",
    c: `struct s { enum { ONE } a; }; ${emitS}`,
    problem: /field a: its enum has no name/,
  },
  {
    name: "an enum field of 64 bits",
    c: `enum e { E_A = 1ULL << 40 }; struct s { enum e a; }; ${emitS}`,
    problem: /its enum has 64 bits/,
  },
  {
    name: "a constant beyond 2^53",
    c: "enum e { E_A = 1ULL << 63 }; enum e *emit_e;",
    problem: /enum e: constant E_A/,
  },
  {
    name: "fields that differ in C alone",
    c: `struct s { __u32 a_b; __u32 aB; }; ${emitS}`,
    problem: /two fields are called aB/,
  },
  { name: "a struct without fields", c: `struct s { }; ${emitS}`, problem: /struct s: it has no fields/ },
  { name: "an emitted number", c: "__u32 *emit_x;", problem: /variable emit_x: it is a int/ },
  {
    name: "an emitted thing that is no pointer",
    c: "struct s { __u32 a; } emit_s;",
    problem: /variable emit_s: it is no pointer/,
  },
  {
    name: "a map without a type",
    c: `struct { __uint(max_entries, 1); } m SEC(".maps");`,
    problem: /map m: it does not state its type/,
  },
  {
    name: "a map with an unknown member",
    c: `struct { __uint(type, 1); __uint(colour, 1); } m SEC(".maps");`,
    problem: /map m: it has a member colour/,
  },
  {
    name: "a map whose sizes disagree",
    c: `struct { __uint(type, 1); __uint(key_size, 8); __type(key, __u32); } m SEC(".maps");`,
    problem: /its key type has 4 bytes, its key_size says 8/,
  },
];

describe.skipIf(!hasClang())("layouts of compiled C", () => {
  const sources = [...described, ...refused].map((row, i) => [`row${i}`, row.c] as const);
  const objects = hasClang() ? compileAll(Object.fromEntries(sources)) : new Map<string, Uint8Array>();
  const objectOf = (row: { readonly name: string; readonly c: string }) => {
    const index = [...described, ...refused].indexOf(row);
    const bytes = objects.get(`row${index}`);
    if (bytes === undefined) throw new Error("the row was not compiled");
    return bytes;
  };

  it.each(described)("describes $name", (row) => {
    const abi = readObjectAbi("test", objectOf(row));
    if (row.structs !== undefined) {
      const found = Object.fromEntries(abi.structs.map((s) => [s.name, describeFields(s.fields)]));
      expect(found).toEqual(row.structs);
    }
    if (row.enums !== undefined) {
      expect(Object.fromEntries(abi.enums.map((e) => [e.name, e.values]))).toEqual(row.enums);
    }
    if (row.maps !== undefined) expect(abi.maps).toEqual(row.maps);
    if (row.programs !== undefined) expect(abi.programs).toEqual(row.programs);
    for (const layout of abi.structs) expect(findHole(layout)).toBeUndefined();
  });

  it.each(refused)("refuses $name", (row) => {
    expect(() => readObjectAbi("test", objectOf(row))).toThrow(
      expect.objectContaining({ code: "unsupported-layout", message: expect.stringMatching(row.problem) }),
    );
  });

  it("gives random structs the offsets and sizes that clang gives them", () => {
    const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
    const structs = fc.sample(randomStruct, { numRuns: 60, seed });
    const parts = structs.map((fields, i) => {
      const members = fields.map(({ type, array }, f) => `${type} f${f}${array};`);
      const numbers = fields.flatMap((_, f) => [
        `offsetof(struct s${i}, f${f})`,
        `sizeof(((struct s${i} *)0)->f${f})`,
      ]);
      return `struct s${i} { ${members.join(" ")} }; struct s${i} *emit_s${i};
const volatile __u32 truth${i}[] = { sizeof(struct s${i}), ${numbers.join(", ")} };`;
    });
    const source = `struct nested { __u16 a; __u8 b; } *emit_nested; enum mood { MOOD_A } *emit_mood;\n${parts.join("\n")}`;
    const bytes = compileAll({ random: source }).get("random") ?? new Uint8Array();
    const layouts = new Map(readObjectAbi("random", bytes).structs.map((s) => [s.name, s]));
    structs.forEach((fields, i) => {
      const layout = layouts.get(`s${i}`);
      const found = [layout?.size, ...(layout?.fields ?? []).flatMap((f) => [f.offset, f.size])];
      expect(found, `seed ${seed}, ${JSON.stringify(fields)}`).toEqual(readWords(bytes, `truth${i}`));
    });
  });
});

const randomStruct = fc.array(
  fc.record({
    type: fc.constantFrom(
      "__u8",
      "__s8",
      "char",
      "__u16",
      "__be16",
      "__u32",
      "__s32",
      "__be32",
      "__u64",
      "__s64",
      "struct nested",
      "enum mood",
    ),
    array: fc.constantFrom("", "", "", "[1]", "[3]", "[16]", "[2][3]"),
  }),
  { minLength: 1, maxLength: 8 },
);

/** The words of an initialised array of __u32. */
function readWords(object: Uint8Array, name: string): number[] {
  const symbol = parseElf(object).symbols.find((candidate) => candidate.name === name);
  if (symbol?.section === undefined) throw new Error(`${name} is missing`);
  const bytes = Uint8Array.from(symbol.section.data.subarray(symbol.offset, symbol.offset + symbol.size));
  return [...new Uint32Array(bytes.buffer)];
}

describe("names", () => {
  it.each([
    ["rule_id", "ruleId"],
    ["a", "a"],
    ["__flags", "flags"],
    ["source_port_2", "sourcePort2"],
    ["alreadyCamel", "alreadyCamel"],
    ["trailing_", "trailing"],
  ])("turn %s into %s", (cName, expected) => {
    expect(fieldNameOf(cName)).toBe(expected);
  });

  it.each(["pad", "_pad", "pad2", "padding", "reserved", "reserved1", "__pad"])(
    "take %s for padding",
    (name) => {
      expect(isPaddingName(name)).toBe(true);
    },
  );

  it.each(["pads", "padded", "reserve", "key_pad", "reserved_words", "p"])("take %s for a field", (name) => {
    expect(isPaddingName(name)).toBe(false);
  });
});

describe("holes", () => {
  const field = (offset: number, size: number): FieldLayout => ({
    name: `f${offset}`,
    offset,
    size,
    type: { kind: "bytes", length: size },
  });
  it.each([
    { name: "none", size: 12, fields: [field(0, 4), field(4, 8)], hole: undefined },
    { name: "at the beginning", size: 8, fields: [field(4, 4)], hole: { at: 0, bytes: 4 } },
    { name: "in the middle", size: 16, fields: [field(0, 1), field(8, 8)], hole: { at: 1, bytes: 7 } },
    { name: "at the end", size: 16, fields: [field(0, 8), field(8, 5)], hole: { at: 13, bytes: 3 } },
  ])("$name", ({ size, fields, hole }) => {
    expect(findHole({ name: "s", size, fields })).toEqual(hole);
  });

  it("an unknown field has no offset", () => {
    expect(offsetOf({ name: "s", size: 4, fields: [field(0, 4)] }, "f0")).toBe(0);
    expect(() => offsetOf({ name: "s", size: 4, fields: [field(0, 4)] }, "f1")).toThrow(
      /Cannot find field f1 of s/,
    );
  });

  it("only an array has elements to count", () => {
    const array: FieldLayout = { ...field(0, 12), type: { kind: "array", element: uint32, count: 3 } };
    const layout = { name: "s", size: 16, fields: [array, { ...field(12, 4), type: uint32 }] };
    expect(countOf(layout, "f0")).toBe(3);
    expect(() => countOf(layout, "f12")).toThrow(/Cannot count field f12 of s: it is no array/);
  });
});
