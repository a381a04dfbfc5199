// How bytes of one layout become bytes of another, field by field, and what is said where they do not.
import { expect, it } from "vitest";
import { type FieldLayout, type FieldType, type StructLayout, sizeOfType } from "../../src/abi/index.ts";
import { planConversion } from "../../src/bpf/convert.ts";

const uint = (bits: 8 | 16 | 32 | 64, bigEndian = false): FieldType => ({ kind: "uint", bits, bigEndian });
const int = (bits: 8 | 16 | 32 | 64): FieldType => ({ kind: "int", bits, bigEndian: false });
const bytes = (length: number): FieldType => ({ kind: "bytes", length });
const array = (element: FieldType, count: number): FieldType => ({ kind: "array", element, count });

/** Fields by name, each with its offset. */
function struct(size: number, fields: Readonly<Record<string, readonly [number, FieldType]>>): FieldType {
  const layout: StructLayout = {
    name: "value",
    size,
    fields: Object.entries(fields).map(([name, [offset, type]]): FieldLayout => {
      const field = { name, offset, size: sizeOfType(type), type };
      return name.startsWith("pad") ? { ...field, padding: true } : field;
    }),
  };
  return { kind: "struct", layout };
}

const hex = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));

interface Case {
  readonly name: string;
  readonly from: FieldType;
  readonly to: FieldType;
  readonly before: string;
  readonly after: string;
  readonly changes: readonly string[];
  readonly misfit?: string;
}

const cases: readonly Case[] = [
  {
    name: "the same is copied",
    from: struct(4, { a: [0, uint(16)], b: [2, uint(16)] }),
    to: struct(4, { a: [0, uint(16)], b: [2, uint(16)] }),
    before: "0100 0200",
    after: "0100 0200",
    changes: [],
  },
  {
    name: "fields may change places",
    from: struct(4, { a: [0, uint(16)], b: [2, uint(16)] }),
    to: struct(4, { b: [0, uint(16)], a: [2, uint(16)] }),
    before: "0100 0200",
    after: "0200 0100",
    changes: ["fields moved"],
  },
  {
    name: "a new field is zero, even where padding was",
    from: struct(4, { a: [0, uint(16)], pad: [2, bytes(2)] }),
    to: struct(4, { a: [0, uint(16)], b: [2, uint(16)] }),
    before: "0100 ffff",
    after: "0100 0000",
    changes: ["field b added"],
  },
  {
    name: "integers grow by their value",
    from: struct(6, { a: [0, uint(16, true)], b: [2, int(16)], c: [4, uint(16)] }),
    to: struct(16, { a: [0, uint(32, true)], b: [4, int(32)], c: [8, uint(64)] }),
    before: "0102 ffff feff",
    after: "00000102 ffffffff feff000000000000",
    changes: [
      "field a is uint32 (big endian) and was uint16 (big endian)",
      "field b is int32 and was int16",
      "field c is uint64 and was uint16",
    ],
  },
  {
    name: "integers shrink if the value fits",
    from: struct(4, { a: [0, uint(32)] }),
    to: struct(1, { a: [0, uint(8)] }),
    before: "ff000000",
    after: "ff",
    changes: ["field a is uint8 and was uint32"],
  },
  {
    name: "integers that do not fit",
    from: struct(4, { a: [0, uint(32)] }),
    to: struct(1, { a: [0, uint(8)] }),
    before: "00010000",
    after: "00",
    changes: ["field a is uint8 and was uint32"],
    misfit: "a",
  },
  {
    name: "bytes and arrays grow",
    from: struct(4, { a: [0, bytes(2)], b: [2, array(uint(8), 2)] }),
    to: struct(7, { a: [0, bytes(3)], b: [3, array(uint(8), 4)] }),
    before: "0102 0304",
    after: "010200 03040000",
    changes: ["field a has 3 bytes and had 2", "field b has 4 elements and had 2"],
  },
  {
    name: "arrays shrink if their end is empty, and say so if not",
    from: struct(4, { a: [0, array(uint(8), 4)] }),
    to: struct(2, { a: [0, array(uint(8), 2)] }),
    before: "01020003",
    after: "0102",
    changes: ["field a has 2 elements and had 4"],
    misfit: "a",
  },
  {
    name: "fields that are gone must have been zero, whole structs too",
    from: struct(6, { a: [0, uint(16)], inner: [2, struct(4, { x: [0, uint(16)], y: [2, uint(16)] })] }),
    to: struct(4, { a: [0, uint(16)], inner: [2, struct(2, { x: [0, uint(16)] })] }),
    before: "0100 0200 0300",
    after: "0100 0200",
    changes: ["field inner.y removed"],
    misfit: "inner.y",
  },
  {
    name: "another kind of type is another field",
    from: struct(2, { a: [0, uint(16)] }),
    to: struct(2, { a: [0, bytes(2)] }),
    before: "0000",
    after: "0000",
    changes: ["field a is bytes[2] and was uint16"],
  },
];

it.each(cases)("$name", ({ from, to, before, after, changes, misfit }) => {
  const conversion = planConversion(from, to);
  expect(conversion.changes).toEqual(changes);
  const expected = hex(after);
  const found = new Uint8Array(expected.length);
  expect(conversion.run(hex(before), found, 0n)).toBe(misfit);
  expect(found).toEqual(expected);
});

it("asks of a versioned value only that the side fits which packets see", () => {
  const payload = (withMark: boolean) =>
    withMark ? struct(4, { a: [0, uint(16)], mark: [2, uint(16)] }) : struct(2, { a: [0, uint(16)] });
  const value = (withMark: boolean) =>
    struct(withMark ? 16 : 12, { version: [0, uint(64)], side: [8, array(payload(withMark), 2)] });
  const { changes, run } = planConversion(value(true), value(false));
  expect(changes).toEqual(["field mark removed"]);
  // From generation 5 on packets see side 1.
  const version = "0b00000000000000";
  const convert = (sides: string, generation: bigint) => {
    const to = new Uint8Array(12);
    return [run(hex(version + sides), to, generation), Buffer.from(to.subarray(8)).toString("hex")];
  };
  expect(convert("0100 0900 0200 0000", 5n)).toEqual([undefined, "01000200"]);
  expect(convert("0100 0900 0200 0000", 4n)).toEqual(["side.mark", "01000200"]);
  expect(convert("0100 0000 0200 0900", 4n)).toEqual([undefined, "01000200"]);
  expect(convert("0100 0000 0200 0900", 5n)).toEqual(["side.mark", "01000200"]);
});
