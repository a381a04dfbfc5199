// One entry of a pack: its header, its compressed bytes, and applying deltas. Every size is checked before
// memory is taken for it. https://git-scm.com/docs/gitformat-pack
import { inflateSync } from "node:zlib";
import * as errors from "./errors.ts";
import type { FileView } from "./file-view.ts";
import type { ObjectType } from "./oid.ts";

export interface EntryHeader {
  /** The type of a whole object; a delta has its base's. */
  readonly type: ObjectType | undefined;
  /** Length of the entry's inflated bytes: the object, or the delta. */
  readonly size: number;
  /** Where the compressed bytes start. */
  readonly dataOffset: number;
  /** A delta's base: by its place in the same pack, or by its id in hex. */
  readonly base: { readonly offset: number } | { readonly oid: string } | undefined;
}

/** Longest header: 10 bytes of type and size, then 20 of a base's id. */
const headerBytesMax = 32;

const types: readonly (ObjectType | undefined)[] = [undefined, "commit", "tree", "blob", "tag"];

export function readEntryHeader(pack: FileView, offset: number): EntryHeader {
  const bytes = pack.view(offset, headerBytesMax);
  const first = byteAt(bytes, 0);
  const kind = (first >> 4) & 7;
  let size = first & 15;
  let at = 1;
  for (let scale = 16, byte = first; (byte & 0x80) !== 0; scale *= 128) {
    if (at > 7) throw errors.corrupt("a pack holds an object of impossible size");
    byte = byteAt(bytes, at++);
    size += (byte & 0x7f) * scale;
  }
  if (kind === 6) {
    let byte = byteAt(bytes, at++);
    let back = byte & 0x7f;
    while ((byte & 0x80) !== 0) {
      if (at > 16) throw errors.corrupt("a pack holds a delta with an impossible base");
      byte = byteAt(bytes, at++);
      back = (back + 1) * 128 + (byte & 0x7f);
    }
    if (back === 0 || back > offset) throw errors.corrupt("a pack holds a delta with an impossible base");
    return { type: undefined, size, dataOffset: offset + at, base: { offset: offset - back } };
  }
  if (kind === 7) {
    if (bytes.length < at + 20) throw errors.corrupt("a pack ends inside an entry");
    const oid = bytes.toString("hex", at, at + 20);
    return { type: undefined, size, dataOffset: offset + at + 20, base: { oid } };
  }
  const type = types[kind];
  if (type === undefined) throw errors.corrupt(`a pack holds an entry of unknown kind ${kind}`);
  return { type, size, dataOffset: offset + at, base: undefined };
}

export interface Inflated {
  readonly content: Buffer;
  /** Compressed bytes that were used. */
  readonly consumed: number;
}

/** Inflates the stream at `offset`, which must give exactly `size` bytes and end before `end`. */
export function inflateAt(pack: FileView, range: { offset: number; end: number; size: number }): Inflated {
  const { offset, end, size } = range;
  const room = Math.max(0, end - offset);
  // What zlib makes of incompressible bytes; other encoders may need more, so a short view is tried again.
  for (let guess = size + (size >> 9) + 64; ; guess *= 2) {
    const input = pack.view(offset, Math.min(guess, room));
    try {
      return inflateExactly(input, size);
    } catch (error) {
      const short = error instanceof Error && "code" in error && error.code === "Z_BUF_ERROR";
      if (!short || guess >= room) throw errors.corrupt("a pack holds an object that cannot be decompressed");
    }
  }
}

interface ZlibInfo {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

function inflateExactly(input: Buffer, size: number): Inflated {
  // One byte more than needed, so that zlib sees the end of the stream without a second buffer.
  const options = { info: true, chunkSize: Math.max(64, size + 1), maxOutputLength: Math.max(1, size) };
  // The types do not know that `info` changes the result.
  const result = inflateSync(input, options) as unknown as ZlibInfo;
  if (result.buffer.length !== size)
    throw errors.corrupt("a pack holds an object of another size than it says");
  return { content: result.buffer, consumed: result.engine.bytesWritten };
}

/** The length of what a delta makes. */
export function readDeltaSize(delta: Buffer): number {
  return readSize(delta, readSize(delta, 0).next).value;
}

/** Makes an object from its base. The result's length was said by the delta, and is at most `bytesMax`. */
export function applyDelta(base: Buffer, delta: Buffer, bytesMax: number): Buffer {
  const baseSize = readSize(delta, 0);
  const resultSize = readSize(delta, baseSize.next);
  if (baseSize.value !== base.length) throw errors.corrupt("a delta is for a base of another length");
  if (resultSize.value > bytesMax) throw objectTooLarge(resultSize.value, bytesMax);
  const result = Buffer.allocUnsafe(resultSize.value);
  let at = resultSize.next;
  let filled = 0;
  while (at < delta.length) {
    const op = byteAt(delta, at++);
    const source = (op & 0x80) !== 0 ? base : delta;
    let start = at;
    let length = op;
    if (source === base) {
      start = 0;
      length = 0;
      for (let i = 0; i < 4; i++) if ((op & (1 << i)) !== 0) start += byteAt(delta, at++) * 2 ** (8 * i);
      for (let i = 0; i < 3; i++) if ((op & (16 << i)) !== 0) length += byteAt(delta, at++) * 2 ** (8 * i);
      if (length === 0) length = 0x10000;
    } else {
      at += length;
    }
    if (length === 0 || start + length > source.length || filled + length > result.length) {
      throw errors.corrupt("a delta goes beyond its base or its result");
    }
    source.copy(result, filled, start, start + length);
    filled += length;
  }
  if (filled !== result.length) throw errors.corrupt("a delta makes less than it says");
  return result;
}

export function objectTooLarge(found: number, allowed: number) {
  return errors.overLimit("a repository with an object of so many bytes", {
    limit: "objectBytesMax, half of limits.packBytesMax",
    found,
    allowed,
  });
}

function readSize(delta: Buffer, offset: number): { value: number; next: number } {
  let value = 0;
  for (let at = offset, scale = 1; at < offset + 7; scale *= 128) {
    const byte = byteAt(delta, at++);
    value += (byte & 0x7f) * scale;
    if ((byte & 0x80) === 0) return { value, next: at };
  }
  throw errors.corrupt("a delta says an impossible size");
}

function byteAt(bytes: Buffer, at: number): number {
  const byte = bytes[at];
  if (byte === undefined) throw errors.corrupt("a pack ends inside an entry");
  return byte;
}
