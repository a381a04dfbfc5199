// What the bytes of a map's key or value, or of an event, mean: offsets, sizes and types of the fields of a C
// struct, as plain data. Names of structs and enums are those of the C source; names of fields are camelCase.
import { bug } from "../base/index.ts";

export interface StructLayout {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** In the order of their offsets. */
  readonly fields: readonly FieldLayout[];
}

export interface FieldLayout {
  readonly name: string;
  /** Bytes from the beginning of the struct. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  readonly type: FieldType;
  /** Set for fields that only fill a hole: they are no part of a value and are always written as zeros. */
  readonly padding?: true;
}

export type Bits = 8 | 16 | 32 | 64;

export type FieldType =
  | { readonly kind: "uint" | "int"; readonly bits: Bits; readonly bigEndian: boolean }
  /** Arrays of `__u8` and `char`. */
  | { readonly kind: "bytes"; readonly length: number }
  | { readonly kind: "struct"; readonly layout: StructLayout }
  | { readonly kind: "array"; readonly element: FieldType; readonly count: number }
  | { readonly kind: "enum"; readonly name: string; readonly bits: 8 | 16 | 32; readonly signed: boolean };

/** Constants of a C enum, without their common prefix and in kebab-case, in the order of the C source. */
export interface EnumLayout {
  readonly name: string;
  readonly values: Readonly<Record<string, number>>;
}

export interface MapLayout {
  readonly name: string;
  /** `enum bpf_map_type` of linux/bpf.h. */
  readonly type: number;
  /** Bytes; 0 for maps without keys. */
  readonly keySize: number;
  readonly valueSize: number;
  /** As the C source says; the loader may choose another number. 0 if it must. */
  readonly maxEntries: number;
  /** `BPF_F_*` of linux/bpf.h. */
  readonly flags: number;
  /** Of a key that is a struct. */
  readonly key?: StructLayout;
  /** Of a key that is anything else. */
  readonly keyType?: FieldType;
  /** Of a value that is a struct. */
  readonly value?: StructLayout;
  /** Of a value that is anything else. */
  readonly valueType?: FieldType;
  /** `LIBBPF_PIN_BY_NAME` is 1. */
  readonly pinning?: number;
  readonly numaNode?: number;
  /** Meaning depends on the map's type; hash functions of a bloom filter. */
  readonly mapExtra?: number;
  /** Of a map of maps: what its values are made like. */
  readonly inner?: MapLayout;
}

/** A program that can be loaded: a function of its own section. */
export interface ProgramLayout {
  readonly name: string;
  /** ELF section, from which libbpf takes the program's type: `xdp.frags`, `tc`, ... */
  readonly section: string;
}

/** Everything of an object that TypeScript must agree with. */
export interface ObjectAbi {
  /** The object's file name without `.bpf.o`. */
  readonly object: string;
  readonly structs: readonly StructLayout[];
  readonly enums: readonly EnumLayout[];
  readonly maps: Readonly<Record<string, MapLayout>>;
  readonly programs: readonly ProgramLayout[];
}

/** What the generator has written down for an object. */
export interface GeneratedAbi extends ObjectAbi {
  /** SHA-256 in hex over the layouts: equal digests mean that the entries of pinned maps keep their meaning. */
  readonly layoutDigest: string;
}

/** Fields of these names hold nothing: C needs them so that no hole is left to chance. */
const paddingName = /^_*(pad|padding|reserved)\d*$/;

/** True for `pad`, `_pad2`, `padding`, `reserved`, ... */
export function isPaddingName(name: string): boolean {
  return paddingName.test(name);
}

/** `rule_id` becomes `ruleId`. */
export function fieldNameOf(cName: string): string {
  const trimmed = cName.replace(/^_+|_+$/g, "");
  return trimmed.replace(/_+(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** Byte offset of a field, for loops that read bytes in place. A name that the layout lacks does not compile. */
export function offsetOf<L extends StructLayout>(layout: L, field: L["fields"][number]["name"]): number {
  return fieldOf(layout, field).offset;
}

/** The field of this name. */
export function fieldOf<L extends StructLayout>(layout: L, field: L["fields"][number]["name"]): FieldLayout {
  const found = layout.fields.find((candidate) => candidate.name === field);
  if (found === undefined) throw bug(`Cannot find field ${field} of ${layout.name}: there is none`);
  return found;
}

/** How many elements the array in this field has. */
export function countOf<L extends StructLayout>(layout: L, field: L["fields"][number]["name"]): number {
  const { type } = fieldOf(layout, field);
  if (type.kind !== "array") throw bug(`Cannot count field ${field} of ${layout.name}: it is no array`);
  return type.count;
}

/** Bytes that a value of the type takes. */
export function sizeOfType(type: FieldType): number {
  switch (type.kind) {
    case "uint":
    case "int":
    case "enum":
      return type.bits / 8;
    case "bytes":
      return type.length;
    case "struct":
      return type.layout.size;
    case "array":
      return type.count * sizeOfType(type.element);
  }
}

/** `uint32`, `be16`, `bytes[16]`, `struct port_range[8]`, `enum fw_action (uint32)`: for people and comparison. */
export function formatType(type: FieldType): string {
  switch (type.kind) {
    case "uint":
      return type.bigEndian ? `be${type.bits}` : `uint${type.bits}`;
    case "int":
      return type.bigEndian ? `signed be${type.bits}` : `int${type.bits}`;
    case "bytes":
      return `bytes[${type.length}]`;
    case "struct":
      return `struct ${type.layout.name}`;
    case "enum":
      return `enum ${type.name} (${type.signed ? "int" : "uint"}${type.bits})`;
    case "array":
      return `${formatType(type.element)}[${type.count}]`;
  }
}

/**
 * The first place of a struct whose bytes belong to no field, or undefined. The compiler leaves such bytes as
 * they were; in a key or in anything that is compared as bytes they would make equal things differ.
 */
export function findHole(layout: StructLayout): { readonly at: number; readonly bytes: number } | undefined {
  let end = 0;
  for (const field of layout.fields) {
    if (field.offset > end) return { at: end, bytes: field.offset - end };
    end = field.offset + field.size;
  }
  return layout.size > end ? { at: end, bytes: layout.size - end } : undefined;
}
