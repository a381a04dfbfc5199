// Reads and writes single values in bytes: integers of both byte orders, and runs of bytes. Plain indexing, no
// DataView: making one costs more than all the fields of a small struct together.
import { bug, type PenstockError } from "../base/index.ts";
import type { Bits } from "./layout.ts";

/** One field: places count from the beginning of its struct, which the caller knows to lie in the bytes. */
export interface Accessor<V> {
  /** Throws `invariant-broken` if the value does not fit. */
  write(bytes: Uint8Array, at: number, value: V): void;
  read(bytes: Uint8Array, at: number): V;
}

export interface IntegerType {
  readonly bits: Bits;
  readonly signed: boolean;
  readonly bigEndian: boolean;
}

/** Where a field lies in its struct, and how errors name it. */
export interface Place {
  readonly offset: number;
  readonly path: string;
}

/** Values are bigint if the type has 64 bits, number otherwise. */
export function makeIntegerAccessor(type: IntegerType, place: Place): Accessor<number> | Accessor<bigint> {
  const { bits, signed, bigEndian } = type;
  if (bits === 64) return makeWideAccessor(type, place);
  return signed ? makeSigned(bits, bigEndian, place) : makeUnsigned(bits, bigEndian, place);
}

/** Exactly `length` bytes; what is read is a copy. */
export function makeBytesAccessor(length: number, place: Place): Accessor<Uint8Array> {
  const { offset, path } = place;
  return {
    write(bytes, at, value) {
      if (!(value instanceof Uint8Array) || value.length !== length) {
        throw misfit(path, value, `${length} bytes`);
      }
      const start = at + offset;
      for (let i = 0; i < length; i++) bytes[start + i] = byteAt(value, i);
    },
    read(bytes, at) {
      const start = at + offset;
      const copy = new Uint8Array(length);
      for (let i = 0; i < length; i++) copy[i] = byteAt(bytes, start + i);
      return copy;
    },
  };
}

/** The error for a value that its field cannot hold. */
export function misfit(path: string, value: unknown, wanted: string): PenstockError {
  return bug(`Cannot encode ${path}: ${describe(value)} is not ${wanted}`, { field: path });
}

function describe(value: unknown): string {
  if (value instanceof Uint8Array) return `an array of ${value.byteLength} bytes`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "bigint") return `${value}n`;
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

/**
 * One closure for each width and byte order, without shared inner functions: engines inline exactly one level of
 * closures that differ only in what they capture.
 */
function makeUnsigned(bits: 8 | 16 | 32, bigEndian: boolean, place: Place): Accessor<number> {
  if (bits === 8) return makeUint8(place);
  if (bits === 16) return bigEndian ? makeUint16Be(place) : makeUint16(place);
  return bigEndian ? makeUint32Be(place) : makeUint32(place);
}

function makeUint8({ offset, path }: Place): Accessor<number> {
  return {
    write(bytes, at, value) {
      if (typeof value !== "number" || (value & 0xff) !== value) throw misfit(path, value, unsignedText(8));
      bytes[at + offset] = value;
    },
    read: (bytes, at) => byteAt(bytes, at + offset),
  };
}

function makeUint16({ offset, path }: Place): Accessor<number> {
  return {
    write(bytes, at, value) {
      if (typeof value !== "number" || (value & 0xffff) !== value)
        throw misfit(path, value, unsignedText(16));
      const start = at + offset;
      bytes[start] = value;
      bytes[start + 1] = value >>> 8;
    },
    read: (bytes, at) => byteAt(bytes, at + offset) | (byteAt(bytes, at + offset + 1) << 8),
  };
}

function makeUint16Be({ offset, path }: Place): Accessor<number> {
  return {
    write(bytes, at, value) {
      if (typeof value !== "number" || (value & 0xffff) !== value)
        throw misfit(path, value, unsignedText(16));
      const start = at + offset;
      bytes[start] = value >>> 8;
      bytes[start + 1] = value;
    },
    read: (bytes, at) => (byteAt(bytes, at + offset) << 8) | byteAt(bytes, at + offset + 1),
  };
}

function makeUint32({ offset, path }: Place): Accessor<number> {
  return {
    write(bytes, at, value) {
      if (typeof value !== "number" || value >>> 0 !== value) throw misfit(path, value, unsignedText(32));
      const start = at + offset;
      bytes[start] = value;
      bytes[start + 1] = value >>> 8;
      bytes[start + 2] = value >>> 16;
      bytes[start + 3] = value >>> 24;
    },
    read(bytes, at) {
      const start = at + offset;
      const low = byteAt(bytes, start) | (byteAt(bytes, start + 1) << 8);
      return (low | (byteAt(bytes, start + 2) << 16) | (byteAt(bytes, start + 3) << 24)) >>> 0;
    },
  };
}

function makeUint32Be({ offset, path }: Place): Accessor<number> {
  return {
    write(bytes, at, value) {
      if (typeof value !== "number" || value >>> 0 !== value) throw misfit(path, value, unsignedText(32));
      const start = at + offset;
      bytes[start] = value >>> 24;
      bytes[start + 1] = value >>> 16;
      bytes[start + 2] = value >>> 8;
      bytes[start + 3] = value;
    },
    read(bytes, at) {
      const start = at + offset;
      const high = (byteAt(bytes, start) << 24) | (byteAt(bytes, start + 1) << 16);
      return (high | (byteAt(bytes, start + 2) << 8) | byteAt(bytes, start + 3)) >>> 0;
    },
  };
}

/** Two's complement on top of the unsigned accessor of the same width. */
function makeSigned(bits: 8 | 16 | 32, bigEndian: boolean, place: Place): Accessor<number> {
  const unsigned = makeUnsigned(bits, bigEndian, place);
  const unused = 32 - bits;
  const extend = (value: number) => (value << unused) >> unused;
  return {
    write(bytes, at, value) {
      if (typeof value !== "number" || extend(value) !== value) {
        throw misfit(place.path, value, `a signed integer of ${bits} bits`);
      }
      unsigned.write(bytes, at, (value << unused) >>> unused);
    },
    read: (bytes, at) => extend(unsigned.read(bytes, at)),
  };
}

function unsignedText(bits: number): string {
  return `an unsigned integer of ${bits} bits`;
}

/** Where the eight bytes of a bigint are taken apart. */
const wide = new BigUint64Array(1);
const wideBytes = new Uint8Array(wide.buffer);
/** So that hosts of either byte order write the same. */
const hostIsBig = new Uint8Array(new Uint16Array([1]).buffer)[0] === 0;

function makeWideAccessor(type: IntegerType, { offset, path }: Place): Accessor<bigint> {
  const { signed } = type;
  const lowest = signed ? -(2n ** 63n) : 0n;
  const highest = signed ? 2n ** 63n - 1n : 2n ** 64n - 1n;
  const flip = type.bigEndian === hostIsBig ? 0 : 7;
  return {
    write(bytes, at, value) {
      if (typeof value !== "bigint" || value < lowest || value > highest) {
        throw misfit(path, value, `a${signed ? " signed" : "n unsigned"} bigint of 64 bits`);
      }
      wide[0] = value;
      const start = at + offset;
      for (let i = 0; i < 8; i++) bytes[start + i] = byteAt(wideBytes, i ^ flip);
    },
    read(bytes, at) {
      const start = at + offset;
      for (let i = 0; i < 8; i++) wideBytes[i ^ flip] = byteAt(bytes, start + i);
      const value = wide[0] ?? 0n;
      return signed ? BigInt.asIntN(64, value) : value;
    },
  };
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}
