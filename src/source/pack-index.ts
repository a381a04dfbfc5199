// The index of a pack, version 2: a fan-out table, the ids in order, checksums, offsets.
// https://git-scm.com/docs/gitformat-pack#_version_2_pack_idx_files_support_packs_larger_than_4_gib_and
import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import * as errors from "./errors.ts";
import { FileView } from "./file-view.ts";

export interface PackIndexFields {
  /** 20 bytes for each object, in the pack's order. */
  readonly oids: Buffer;
  readonly crcs: Uint32Array;
  /** Below 2 GiB each. */
  readonly offsets: Uint32Array;
  readonly sum: Buffer;
}

const magic = 0xff744f63;
const fanOutOffset = 8;
const oidsOffset = fanOutOffset + 256 * 4;
/** An index up to this size is read whole (150,000 objects), a larger one in pages. */
const wholeBytesMax = 4 * 1024 * 1024;
const pageBytes = 4096;

/** Writes the index file's bytes. */
export function encodePackIndex(fields: PackIndexFields): Buffer {
  const { oids, crcs, offsets, sum } = fields;
  const count = offsets.length;
  const order = sortedOrder(oids, count);
  const out = Buffer.alloc(oidsOffset + count * 28 + 40);
  out.writeUInt32BE(magic, 0);
  out.writeUInt32BE(2, 4);
  const counts = new Uint32Array(256);
  for (let rank = 0; rank < count; rank++) {
    const i = order[rank] ?? 0;
    const first = oids[i * 20] ?? 0;
    counts[first] = (counts[first] ?? 0) + 1;
    oids.copy(out, oidsOffset + rank * 20, i * 20, i * 20 + 20);
    out.writeUInt32BE(crcs[i] ?? 0, oidsOffset + count * 20 + rank * 4);
    out.writeUInt32BE(offsets[i] ?? 0, oidsOffset + count * 24 + rank * 4);
  }
  let total = 0;
  counts.forEach((n, first) => {
    total += n;
    out.writeUInt32BE(total, fanOutOffset + first * 4);
  });
  sum.copy(out, out.length - 40);
  createHash("sha1")
    .update(out.subarray(0, -20))
    .digest()
    .copy(out, out.length - 20);
  return out;
}

function sortedOrder(oids: Buffer, count: number): Uint32Array {
  // Six bytes of an id fit a number, and decide nearly every comparison.
  const keys = new Float64Array(count);
  for (let i = 0; i < count; i++) keys[i] = oids.readUIntBE(i * 20, 6);
  const order = new Uint32Array(count).map((_, i) => i);
  return order.sort(
    (a, b) => (keys[a] ?? 0) - (keys[b] ?? 0) || oids.compare(oids, b * 20, b * 20 + 20, a * 20, a * 20 + 20),
  );
}

/** Looks up objects in an index file. The file may be damaged: what it says is checked by reading the object. */
export class PackIndex {
  readonly count: number;
  readonly #file: FileView;
  /** How many ids start with a byte up to this one. */
  readonly #fanOut: Uint32Array;

  constructor(path: string) {
    const { size } = statSync(path);
    this.#file = new FileView(path, size <= wholeBytesMax ? size : pageBytes);
    const head = this.#file.view(0, oidsOffset);
    const sound = head.length === oidsOffset && head.readUInt32BE(0) === magic && head.readUInt32BE(4) === 2;
    this.#fanOut = Uint32Array.from({ length: 256 }, (_, i) =>
      sound ? head.readUInt32BE(fanOutOffset + i * 4) : 0,
    );
    this.count = this.#fanOut[255] ?? 0;
    if (!sound || size < oidsOffset + this.count * 28 + 40) {
      this.#file.close();
      throw errors.corrupt("the index of a pack is damaged, or not of version 2");
    }
  }

  /** The object's place in the pack. */
  find(oid: Buffer): number | undefined {
    const rank = this.#lowerBound(oid);
    if (rank >= this.count || this.#oidAt(rank).compare(oid) !== 0) return undefined;
    return this.#offsetAt(rank);
  }

  /** Ids in hex that start with `prefix` (at least 2 digits), at most `max`. */
  startingWith(prefix: string, max: number): string[] {
    const found: string[] = [];
    for (let rank = this.#lowerBound(Buffer.from(prefix.padEnd(40, "0"), "hex")); rank < this.count; rank++) {
      const oid = this.#oidAt(rank).toString("hex");
      if (found.length >= max || !oid.startsWith(prefix)) break;
      found.push(oid);
    }
    return found;
  }

  close(): void {
    this.#file.close();
  }

  #lowerBound(oid: Buffer): number {
    const first = oid[0] ?? 0;
    let low = first === 0 ? 0 : (this.#fanOut[first - 1] ?? 0);
    let high = Math.min(this.count, this.#fanOut[first] ?? 0);
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#oidAt(middle).compare(oid) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #oidAt(rank: number): Buffer {
    return this.#file.view(oidsOffset + rank * 20, 20);
  }

  #offsetAt(rank: number): number {
    const offset = this.#number(oidsOffset + this.count * 24 + rank * 4);
    if (offset < 0x80000000) return offset;
    const large = oidsOffset + this.count * 28 + (offset - 0x80000000) * 8;
    return this.#number(large) * 2 ** 32 + this.#number(large + 4);
  }

  #number(offset: number): number {
    const bytes = this.#file.view(offset, 4);
    if (bytes.length < 4) throw errors.corrupt("the index of a pack is damaged");
    return bytes.readUInt32BE(0);
  }
}
