// Packs values into the bytes of a C struct and back, driven by a layout. Every number is checked before it is
// written: what does not fit is a bug of the caller and would otherwise become a different, valid entry.
import { bug } from "../base/index.ts";
import { type Accessor, makeBytesAccessor, makeIntegerAccessor, misfit, type Place } from "./accessors.ts";
import type { FieldLayout, FieldType, StructLayout } from "./layout.ts";
import { sizeOfType } from "./layout.ts";

/**
 * Numbers of 64 bits are bigint, shorter ones and enums number, always in the host's meaning: fields that the C
 * source declares as `__be16` and the like are turned on the way. Bytes are Uint8Array, structs are objects.
 */
export interface StructCodec<T> {
  readonly layout: StructLayout;
  /** Bytes. */
  readonly size: number;
  /**
   * Writes `value` at `offset` of `into`, or into a new array of `size` bytes; padding becomes zero. Returns the
   * array written to. Throws `invariant-broken`, naming struct and field, for what does not fit, and may have
   * written the fields before it. Bytes are stored one by one: in memory that programs read meanwhile, words that
   * must not tear are stored with Atomics instead.
   */
  encode(value: T, into?: Uint8Array, offset?: number): Uint8Array;
  /** Reads the value at `offset`. What it returns shares nothing with `bytes`. */
  decode(bytes: Uint8Array, offset?: number): T;
}

/** One accessor for each field of a value; places count from the beginning of the struct. */
export type FieldAccessors<T> = { readonly [K in keyof T]: Accessor<T[K]> };

/**
 * The fields of a struct named one by one, as the generator writes it. It says nothing that the layout does not
 * say; engines run it several times faster than a loop over fields that differ from struct to struct.
 */
export type Unrolled<T> = (fields: FieldAccessors<T>) => Accessor<T>;

/** Unrolled accessors, so that structs inside of other structs are fast too. */
const known = new WeakMap<StructLayout, Accessor<unknown>>();

/** Makes the codec of a layout: all decisions are taken here, once. */
export function defineCodec<T>(layout: StructLayout, unrolled?: Unrolled<T>): StructCodec<T> {
  const { size, name } = layout;
  const accessor = guard(layout, (unrolled ?? loopOverFields<T>)(makeFieldAccessors<T>(layout)));
  known.set(layout, accessor);
  const checkRoom = (action: string, bytes: Uint8Array, offset: number) => {
    if (!(Number.isInteger(offset) && offset >= 0 && offset + size <= bytes.length)) {
      throw bug(`Cannot ${action} ${name}: ${size} bytes at ${offset} do not lie in ${bytes.length} bytes`);
    }
  };
  return {
    layout,
    size,
    encode(value, into = new Uint8Array(size), offset = 0) {
      checkRoom("encode", into, offset);
      accessor.write(into, offset, value);
      return into;
    },
    decode(bytes, offset = 0) {
      checkRoom("decode", bytes, offset);
      return accessor.read(bytes, offset);
    },
  };
}

function makeFieldAccessors<T>(layout: StructLayout): FieldAccessors<T> {
  const accessors: Record<string, Accessor<unknown>> = {};
  for (const { name, offset, type, padding } of layout.fields) {
    if (padding === true) continue;
    accessors[name] = makeAccessor(type, { offset, path: `${layout.name}.${name}` });
  }
  return accessors as FieldAccessors<T>;
}

function loopOverFields<T>(accessors: FieldAccessors<T>): Accessor<T> {
  const fields = Object.entries<Accessor<unknown>>(accessors);
  return {
    write(bytes, at, value) {
      const record = value as Record<string, unknown>;
      for (const [name, field] of fields) field.write(bytes, at, record[name]);
    },
    read(bytes, at) {
      const record: Record<string, unknown> = {};
      for (const [name, field] of fields) record[name] = field.read(bytes, at);
      return record as T;
    },
  };
}

/** Adds what holds for every struct: only objects are taken, and padding is zero. */
function guard<T>(layout: StructLayout, accessor: Accessor<T>): Accessor<T> {
  const padding = layout.fields.filter((field) => field.padding === true);
  return {
    write(bytes, at, value) {
      if (typeof value !== "object" || value === null) throw misfit(layout.name, value, "an object");
      accessor.write(bytes, at, value);
      for (const field of padding) clear(bytes, at, field);
    },
    read: accessor.read,
  };
}

function clear(bytes: Uint8Array, at: number, field: FieldLayout): void {
  // Padding is a few bytes: a loop over them costs less than a call of fill().
  const end = at + field.offset + field.size;
  for (let i = at + field.offset; i < end; i++) bytes[i] = 0;
}

function makeAccessor(type: FieldType, place: Place): Accessor<unknown> {
  switch (type.kind) {
    case "uint":
    case "int":
      return makeIntegerAccessor({ ...type, signed: type.kind === "int" }, place) as Accessor<unknown>;
    case "enum":
      return makeIntegerAccessor({ ...type, bigEndian: false }, place) as Accessor<unknown>;
    case "bytes":
      return makeBytesAccessor(type.length, place) as Accessor<unknown>;
    case "struct":
      return makeStructAccessor(type.layout, place.offset);
    case "array":
      return makeArrayAccessor(type, place);
  }
}

function makeStructAccessor(layout: StructLayout, offset: number): Accessor<unknown> {
  const { write, read } =
    known.get(layout) ?? guard(layout, loopOverFields(makeFieldAccessors<Record<string, unknown>>(layout)));
  return {
    write: (bytes, at, value) => write(bytes, at + offset, value),
    read: (bytes, at) => read(bytes, at + offset),
  };
}

function makeArrayAccessor(type: FieldType & { readonly kind: "array" }, place: Place): Accessor<unknown> {
  const { count } = type;
  const stride = sizeOfType(type.element);
  const element = makeAccessor(type.element, place);
  return {
    write(bytes, at, value) {
      if (!Array.isArray(value) || value.length !== count) {
        throw misfit(place.path, value, `an array of ${count}`);
      }
      for (let i = 0; i < count; i++) element.write(bytes, at + i * stride, value[i]);
    },
    read(bytes, at) {
      const values: unknown[] = [];
      for (let i = 0; i < count; i++) values.push(element.read(bytes, at + i * stride));
      return values;
    },
  };
}
