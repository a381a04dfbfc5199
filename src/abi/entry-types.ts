// What the keys and values of a map in the kernel are: the kernel keeps the BTF that a map was made with, so that no
// file has to say what an older or newer version meant by the bytes that it left.
import { parseBtf } from "./btf.ts";
import type { FieldType, MapLayout } from "./layout.ts";
import { LayoutReader } from "./layout-reader.ts";

/** Types of a map's entries; undefined where nothing states them. */
export interface EntryTypes {
  readonly key: FieldType | undefined;
  readonly value: FieldType | undefined;
}

/**
 * Reads entry types by their ids (0 for none) out of raw BTF. Throws `bad-btf`, and `unsupported-layout` for types
 * that have no layout.
 */
export function makeEntryTypeReader(
  btf: Uint8Array,
): (map: string, ids: { readonly key: number; readonly value: number }) => EntryTypes {
  const layouts = new LayoutReader(parseBtf(btf));
  const read = (id: number, where: string) => (id === 0 ? undefined : layouts.readType(id, where));
  return (map, { key, value }) => ({
    key: read(key, `map ${map}, key`),
    value: read(value, `map ${map}, value`),
  });
}

/** The same of a map as an object defines it. */
export function entryTypesOf(map: MapLayout): EntryTypes {
  return {
    key: map.key === undefined ? map.keyType : { kind: "struct", layout: map.key },
    value: map.value === undefined ? map.valueType : { kind: "struct", layout: map.value },
  };
}
