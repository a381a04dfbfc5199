// The search tree of a MaxMind file. mmdb-lib looks up single addresses and has no way to list networks, and what it reads
// the tree with is private, so the tree (but nothing else of the file) is read here.
import type { Family } from "../base/index.ts";
import { damaged } from "./damage.ts";

export interface TreeShape {
  readonly nodeCount: number;
  /** Bits of one record: 24, 28 or 32. */
  readonly recordSize: number;
  readonly ipVersion: 4 | 6;
}

/** A network of the tree and its record: a pointer to data. The bytes are only good until the next one is visited. */
export interface TreeNetwork {
  readonly family: Family;
  readonly bytes: Uint8Array;
  readonly length: number;
  readonly record: number;
}

/**
 * Nodes that are visited, those of subtrees that several nodes share once for each: some times what the largest databases
 * have, and a second's work.
 */
const visitsMax = 32 * 1024 * 1024;

/** In a tree of IPv6 the IPv4 addresses are those below ::/96. */
const v4Depth = 96;
/** IPv6 networks that stand for IPv4 addresses: IPv4-mapped ones, Teredo and 6to4. */
const aliases: readonly { readonly start: readonly number[]; readonly length: number }[] = [
  { start: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff], length: 96 },
  { start: [0x20, 0x01, 0, 0], length: 32 },
  { start: [0x20, 0x02], length: 16 },
];
/** Whoever goes down a level at a time need only look there. */
const aliasDepths = new Set(aliases.map(({ length }) => length));

export class SearchTree {
  readonly #view: DataView;
  readonly #shape: TreeShape;
  /** The way to where the walk is: 16 bytes, also for IPv4, whose addresses are the last four. */
  readonly #path = new Uint8Array(16);
  #visits = 0;

  /** `content` holds the whole tree, and at least a byte behind it. */
  constructor(content: Uint8Array, shape: TreeShape) {
    this.#view = new DataView(content.buffer, content.byteOffset, content.byteLength);
    this.#shape = shape;
  }

  /**
   * Visits the networks that have data, in the order of addresses, IPv4 first. Those that stand for IPv4 addresses are
   * left out: most files have them as second and third ways to the same nodes.
   */
  walk(found: (network: TreeNetwork) => void): void {
    this.#visits = 0;
    this.#path.fill(0);
    this.#visit(0, this.#shape.ipVersion === 4 ? v4Depth : 0, found);
  }

  /** The record that an address leads to; undefined if there is none, or if the address stands for one of IPv4. */
  find(bytes: Uint8Array): number | undefined {
    const { ipVersion, nodeCount } = this.#shape;
    const isV4 = bytes.length === 4;
    if (ipVersion === 4 && !isV4) return undefined;
    const path = new Uint8Array(16);
    path.set(bytes, isV4 ? 12 : 0);
    let record = 0;
    let depth = ipVersion === 4 ? v4Depth : 0;
    while (record < nodeCount && depth < 128) record = this.#next(record, bitAt(path, depth++));
    const isHidden = !isV4 && (isAlias(path, depth) || isV4Space(path, depth));
    return record > nodeCount && !isHidden ? record : undefined;
  }

  #visit(record: number, depth: number, found: (network: TreeNetwork) => void): void {
    const path = this.#path;
    const { nodeCount } = this.#shape;
    if (record === nodeCount || (aliasDepths.has(depth) && isAlias(path, depth))) return;
    if (record > nodeCount) {
      this.#report(record, depth, found);
      return;
    }
    if (depth === 128) throw damaged("its tree is deeper than addresses are long");
    if (++this.#visits > visitsMax) throw damaged("its tree has too many branches");
    this.#visit(this.#next(record, 0), depth + 1, found);
    const bit = 0x80 >> (depth & 7);
    path[depth >> 3] = (path[depth >> 3] ?? 0) | bit;
    this.#visit(this.#next(record, 1), depth + 1, found);
    path[depth >> 3] = (path[depth >> 3] ?? 0) & ~bit;
  }

  #report(record: number, depth: number, found: (network: TreeNetwork) => void): void {
    const path = this.#path;
    const isV4 = isV4Space(path, depth);
    // What is told of all addresses below ::/95, say, is told of those of IPv4 too.
    const coversV4 = !isV4 && depth < v4Depth && path.every((byte) => byte === 0);
    if (isV4 || coversV4) {
      found({ family: 4, bytes: path.subarray(12), length: Math.max(0, depth - v4Depth), record });
    }
    if (!isV4) found({ family: 6, bytes: path, length: depth, record });
  }

  /** The left (0) or right (1) record of a node: 3, 3.5 or 4 bytes, big-endian. There is room to read behind the tree. */
  #next(node: number, side: number): number {
    const view = this.#view;
    switch (this.#shape.recordSize) {
      case 24:
        return view.getUint32(node * 6 + side * 3) >>> 8;
      case 28: {
        // The byte in the middle holds the highest bits of both.
        if (side === 1) return view.getUint32(node * 7 + 3) & 0x0fffffff;
        const bytes = view.getUint32(node * 7);
        return ((bytes & 0xf0) << 20) | (bytes >>> 8);
      }
      default:
        return view.getUint32(node * 8 + side * 4);
    }
  }
}

/** True for networks of IPv4 addresses: those at and below ::/96. */
function isV4Space(path: Uint8Array, depth: number): boolean {
  if (depth < v4Depth) return false;
  for (let i = 0; i < 12; i++) if (path[i] !== 0) return false;
  return true;
}

function isAlias(path: Uint8Array, depth: number): boolean {
  return aliases.some(({ start, length }) => depth >= length && start.every((byte, i) => path[i] === byte));
}

function bitAt(path: Uint8Array, depth: number): number {
  return ((path[depth >> 3] ?? 0) >> (7 - (depth & 7))) & 1;
}
