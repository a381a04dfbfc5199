// Works through a received pack: checks every object, computes its id, and makes the index (version 2).
//
// The pack is hostile. What is bounded: bytes of the pack, number of objects, bytes of each object (before
// memory is taken for it), memory held while resolving deltas. What is not bounded by number is the work that
// a small pack can ask for (compressed zeros, deltas that copy): it goes on only until the operation's total
// timeout, in slices that let the event loop run. Memory grows with one object and the objects on the way from
// a base to a delta whose other deltas are still to come; taking small families first keeps these to the
// logarithm of the number of objects.
import { crc32 } from "node:zlib";
import * as errors from "./errors.ts";
import { FileView } from "./file-view.ts";
import { hashObject, type ObjectType } from "./oid.ts";
import type { Pace } from "./pace.ts";
import { applyDelta, inflateAt, objectTooLarge, readEntryHeader } from "./pack-entry.ts";
import { encodePackIndex } from "./pack-index.ts";

export interface IndexLimits {
  readonly objectsMax: number;
  readonly objectBytesMax: number;
  /** Bytes of objects that wait for their remaining deltas. */
  readonly heldBytesMax: number;
}

/** Length of "PACK", version, count; and of the sum at the end. */
const headBytes = 12;
const sumBytes = 20;
/** The shortest entry: one byte of header, eight of an empty zlib stream. */
const entryBytesMin = 9;
const windowBytes = 4 * 1024 * 1024;

/** Returns the index of the pack at `path`. `sum` is the pack's checksum, already compared with its content. */
export async function indexPack(
  path: string,
  sum: Buffer,
  context: { readonly limits: IndexLimits; readonly pace: Pace },
): Promise<Buffer> {
  const pack = new FileView(path, windowBytes);
  try {
    const count = readCount(pack, context.limits.objectsMax);
    const indexer = new PackIndexer(pack, count, context.limits);
    await indexer.scan(context.pace);
    await indexer.resolveDeltas(context.pace);
    return encodePackIndex({ oids: indexer.oids, crcs: indexer.crcs, offsets: indexer.offsets, sum });
  } finally {
    pack.close();
  }
}

function readCount(pack: FileView, objectsMax: number): number {
  const head = pack.view(0, headBytes);
  if (
    pack.size < headBytes + sumBytes ||
    head.toString("latin1", 0, 4) !== "PACK" ||
    head.readUInt32BE(4) !== 2
  ) {
    throw errors.corrupt("what the server sent is not a pack of version 2");
  }
  const count = head.readUInt32BE(8);
  if (count > objectsMax) {
    throw errors.overLimit("a repository with so many objects", {
      limit: "objectsMax",
      found: count,
      allowed: objectsMax,
    });
  }
  if (count * entryBytesMin > pack.size - headBytes - sumBytes) {
    throw errors.corrupt("a pack is too short for the objects it says it has");
  }
  return count;
}

interface Base {
  readonly index: number;
  readonly type: ObjectType;
  readonly content: Buffer;
  /** Its deltas that were not taken yet; the last one is taken first. */
  readonly deltas: number[];
}

class PackIndexer {
  readonly oids: Buffer;
  readonly offsets: Uint32Array;
  readonly crcs: Uint32Array;
  readonly #pack: FileView;
  readonly #count: number;
  readonly #limits: IndexLimits;
  readonly #ends: Uint32Array;
  readonly #types: (ObjectType | undefined)[] = [];
  // The deltas of a base in the same pack, as a linked list: -1 ends it.
  readonly #firstDelta: Int32Array;
  readonly #nextDelta: Int32Array;
  /** Objects that depend on this one, itself included. */
  readonly #family: Uint32Array;
  readonly #deltasByOid = new Map<string, number[]>();
  #resolved = 0;
  #heldBytes = 0;

  constructor(pack: FileView, count: number, limits: IndexLimits) {
    this.#pack = pack;
    this.#count = count;
    this.#limits = limits;
    this.oids = Buffer.alloc(count * 20);
    this.offsets = new Uint32Array(count);
    this.crcs = new Uint32Array(count);
    this.#ends = new Uint32Array(count);
    this.#firstDelta = new Int32Array(count).fill(-1);
    this.#nextDelta = new Int32Array(count).fill(-1);
    this.#family = new Uint32Array(count).fill(1);
  }

  /** First pass, in the pack's order: finds where entries end and whose base is whose, identifies whole objects. */
  async scan(pace: Pace): Promise<void> {
    const pack = this.#pack;
    const limit = pack.size - sumBytes;
    const parents = new Int32Array(this.#count).fill(-1);
    let offset = headBytes;
    for (let i = 0; i < this.#count; i++) {
      if (pace.due) await pace.breathe();
      const header = readEntryHeader(pack, offset);
      if (header.dataOffset >= limit) throw errors.corrupt("a pack ends before its last object");
      this.#checkSize(header.size);
      const { content, consumed } = inflateAt(pack, {
        offset: header.dataOffset,
        end: limit,
        size: header.size,
      });
      const end = header.dataOffset + consumed;
      this.offsets[i] = offset;
      this.#ends[i] = end;
      this.#types.push(header.type);
      if (header.type !== undefined) this.#identify(i, header.type, content);
      else if (header.base !== undefined) parents[i] = this.#adopt(i, header.base);
      this.crcs[i] = this.#checksum(offset, end);
      offset = end;
    }
    if (offset !== limit) throw errors.corrupt("a pack goes on after its last object");
    // A base by place comes before its deltas, so going backwards adds up whole families.
    for (let i = this.#count - 1; i >= 0; i--) {
      const parent = parents[i] ?? -1;
      if (parent >= 0) this.#family[parent] = at(this.#family, parent) + at(this.#family, i);
    }
  }

  /** Second pass: from each whole object down through its deltas. */
  async resolveDeltas(pace: Pace): Promise<void> {
    for (let i = 0; i < this.#count; i++) {
      const type = this.#types[i];
      if (type === undefined) continue;
      const deltas = this.#deltasOf(i);
      if (deltas.length === 0) continue;
      const content = this.#inflate(i);
      await this.#descend({ index: i, type, content, deltas }, pace);
    }
    if (this.#resolved !== this.#count)
      throw errors.corrupt("a pack holds deltas whose base it does not hold");
  }

  async #descend(root: Base, pace: Pace): Promise<void> {
    const path = [root];
    this.#hold(root.content.length);
    for (let base = path.at(-1); base !== undefined; base = path.at(-1)) {
      if (pace.due) await pace.breathe();
      const index = base.deltas.pop();
      // A base is let go before its last delta is gone into: a chain of any length holds one object.
      if (base.deltas.length === 0) {
        path.pop();
        this.#heldBytes -= base.content.length;
      }
      if (index === undefined) continue;
      const content = applyDelta(base.content, this.#inflate(index), this.#limits.objectBytesMax);
      this.#identify(index, base.type, content);
      const deltas = this.#deltasOf(index);
      if (deltas.length === 0) continue;
      path.push({ index, type: base.type, content, deltas });
      this.#hold(content.length);
    }
  }

  /** Takes each delta once, smallest family last in the list and so first in turn. */
  #deltasOf(index: number): number[] {
    const deltas: number[] = [];
    for (let d = at(this.#firstDelta, index); d >= 0; d = at(this.#nextDelta, d)) deltas.push(d);
    this.#firstDelta[index] = -1;
    if (this.#deltasByOid.size > 0) {
      const oid = this.oids.toString("hex", index * 20, index * 20 + 20);
      for (const d of this.#deltasByOid.get(oid) ?? []) deltas.push(d);
      this.#deltasByOid.delete(oid);
    }
    return deltas.sort((a, b) => at(this.#family, b) - at(this.#family, a));
  }

  /** Notes a delta under its base; returns the base's index if it is known by place. */
  #adopt(index: number, base: { readonly offset: number } | { readonly oid: string }): number {
    if ("oid" in base) {
      const others = this.#deltasByOid.get(base.oid);
      if (others === undefined) this.#deltasByOid.set(base.oid, [index]);
      else others.push(index);
      return -1;
    }
    const parent = findOffset(this.offsets, index, base.offset);
    if (parent < 0) throw errors.corrupt("a pack holds a delta whose base is not an object");
    this.#nextDelta[index] = at(this.#firstDelta, parent);
    this.#firstDelta[parent] = index;
    return parent;
  }

  #identify(index: number, type: ObjectType, content: Buffer): void {
    hashObject(type, content).copy(this.oids, index * 20);
    this.#resolved++;
  }

  #inflate(index: number): Buffer {
    const { size, dataOffset } = readEntryHeader(this.#pack, at(this.offsets, index));
    return inflateAt(this.#pack, { offset: dataOffset, end: at(this.#ends, index), size }).content;
  }

  #checksum(start: number, end: number): number {
    let sum = 0;
    for (let offset = start; offset < end; offset += windowBytes) {
      sum = crc32(this.#pack.view(offset, Math.min(windowBytes, end - offset)), sum);
    }
    return sum;
  }

  #checkSize(size: number): void {
    if (size > this.#limits.objectBytesMax) throw objectTooLarge(size, this.#limits.objectBytesMax);
  }

  #hold(bytes: number): void {
    this.#heldBytes += bytes;
    if (this.#heldBytes <= this.#limits.heldBytesMax) return;
    throw errors.overLimit("a pack that needs so many bytes of memory to resolve", {
      limit: "heldBytesMax, twice limits.packBytesMax",
      found: this.#heldBytes,
      allowed: this.#limits.heldBytesMax,
    });
  }
}

/** Index of `offset` among the first `count` of ascending offsets, or -1. */
function findOffset(offsets: Uint32Array, count: number, offset: number): number {
  let low = 0;
  let high = count - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const value = at(offsets, middle);
    if (value === offset) return middle;
    if (value < offset) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

function at(array: Uint32Array | Int32Array, index: number): number {
  return array[index] ?? -1;
}
