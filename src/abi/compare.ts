// Proves that the layouts which TypeScript was compiled with are those of the object that is about to be loaded:
// an encoder that is off by one field would write policy that means something else.
import type { EnumLayout, FieldLayout, MapLayout, ObjectAbi, StructLayout } from "./layout.ts";
import { formatType } from "./layout.ts";
import { describeEntryType, readObjectAbi } from "./object-abi.ts";

/** One fact on which the two disagree. */
export interface LayoutDifference {
  /** `packet_event.ruleId`, `fw_reason.unbound`, `fw_rules`, ... */
  readonly path: string;
  readonly what:
    | "missing"
    | "unexpected"
    | "offset"
    | "size"
    | "type"
    | "value"
    | "section"
    | "key"
    | "key-size"
    | "value-size"
    | "max-entries"
    | "flags"
    | "pinning"
    | "numa-node"
    | "map-extra";
  readonly expected: string;
  readonly found: string;
}

/**
 * Reads the object's own types and lists every difference from `expected`, ordered by kind and name; an empty
 * list means that each byte has the same meaning on both sides. Throws `bad-object`, `bad-btf` and
 * `unsupported-layout`.
 */
export function compareLayouts(expected: ObjectAbi, object: Uint8Array): LayoutDifference[] {
  return compareAbis(expected, readObjectAbi(expected.object, object));
}

/** The same for what was read of an object already. */
export function compareAbis(expected: ObjectAbi, found: ObjectAbi): LayoutDifference[] {
  return [
    ...compareNamed(expected.structs, found.structs, { kind: "struct", prefix: "", compare: compareStructs }),
    ...compareNamed(expected.enums, found.enums, { kind: "enum", prefix: "", compare: compareEnums }),
    ...compareNamed(Object.values(expected.maps), Object.values(found.maps), {
      kind: "map",
      prefix: "",
      compare: compareMaps,
    }),
    ...compareNamed(expected.programs, found.programs, {
      kind: "program",
      prefix: "",
      compare: (a, b) => listDifferences(a.name, [["section", a.section, b.section]]),
    }),
  ];
}

/** `packet_event.ruleId: offset is 44, expected 40` */
export function formatLayoutDifference(difference: LayoutDifference): string {
  const { path, what, expected, found } = difference;
  if (what === "missing") return `${path}: ${expected} is missing`;
  if (what === "unexpected") return `${path}: ${found} is unexpected`;
  return `${path}: ${what} is ${found}, expected ${expected}`;
}

interface Named {
  readonly name: string;
}

interface Comparison<T> {
  readonly kind: string;
  /** Put before the name of what is missing or unexpected. */
  readonly prefix: string;
  readonly compare: (expected: T, found: T) => LayoutDifference[];
}

function compareNamed<T extends Named>(
  expected: readonly T[],
  found: readonly T[],
  comparison: Comparison<T>,
): LayoutDifference[] {
  const { kind, prefix, compare } = comparison;
  const left = new Map(found.map((item) => [item.name, item]));
  const differences: LayoutDifference[] = [];
  for (const item of expected) {
    const other = left.get(item.name);
    left.delete(item.name);
    if (other !== undefined) differences.push(...compare(item, other));
    else differences.push({ path: prefix + item.name, what: "missing", expected: kind, found: "nothing" });
  }
  for (const name of left.keys()) {
    differences.push({ path: prefix + name, what: "unexpected", expected: "nothing", found: kind });
  }
  return differences;
}

type Fact = readonly [what: LayoutDifference["what"], expected: string | number, found: string | number];

function listDifferences(path: string, facts: readonly Fact[]): LayoutDifference[] {
  return facts
    .filter(([, expected, found]) => expected !== found)
    .map(([what, expected, found]) => ({ path, what, expected: `${expected}`, found: `${found}` }));
}

function compareStructs(expected: StructLayout, found: StructLayout): LayoutDifference[] {
  const prefix = `${expected.name}.`;
  return [
    ...listDifferences(expected.name, [["size", expected.size, found.size]]),
    ...compareNamed(expected.fields, found.fields, {
      kind: "field",
      prefix,
      compare: (a: FieldLayout, b: FieldLayout) =>
        listDifferences(prefix + a.name, [
          ["offset", a.offset, b.offset],
          ["size", a.size, b.size],
          ["type", formatType(a.type), formatType(b.type)],
        ]),
    }),
  ];
}

function compareEnums(expected: EnumLayout, found: EnumLayout): LayoutDifference[] {
  const list = (layout: EnumLayout) =>
    Object.entries(layout.values).map(([name, value]) => ({ name, value }));
  const prefix = `${expected.name}.`;
  return compareNamed(list(expected), list(found), {
    kind: "constant",
    prefix,
    compare: (a, b) => listDifferences(prefix + a.name, [["value", a.value, b.value]]),
  });
}

function compareMaps(expected: MapLayout, found: MapLayout): LayoutDifference[] {
  return [
    ...listDifferences(expected.name, [
      ["type", expected.type, found.type],
      ["key-size", expected.keySize, found.keySize],
      ["value-size", expected.valueSize, found.valueSize],
      ["max-entries", expected.maxEntries, found.maxEntries],
      ["flags", expected.flags, found.flags],
      ["pinning", expected.pinning ?? 0, found.pinning ?? 0],
      ["numa-node", expected.numaNode ?? "any", found.numaNode ?? "any"],
      ["map-extra", expected.mapExtra ?? 0, found.mapExtra ?? 0],
      ["key", describeEntryType(expected.key, expected.keyType), describeEntryType(found.key, found.keyType)],
      [
        "value",
        describeEntryType(expected.value, expected.valueType),
        describeEntryType(found.value, found.valueType),
      ],
    ]),
    ...compareNamed(asList(expected.inner), asList(found.inner), {
      kind: "map",
      prefix: "",
      compare: compareMaps,
    }),
  ];
}

function asList<T>(item: T | undefined): T[] {
  return item === undefined ? [] : [item];
}
