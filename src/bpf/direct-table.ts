// IPv4 addresses -> classes, in three steps of a table that packets read: 20 bits, 6 bits, 6 bits. An entry is a class,
// or a chunk that distinguishes further.
import { chunkBits, type IndexMemory } from "./index-memory.ts";
import { RunAllocator } from "./run-allocator.ts";

export const rootBits = 20;
const leafBits = 32 - rootBits - chunkBits;
const chunkEntries = 1 << chunkBits;

/** Set in entries that are chunks; INDEX_IS_CHUNK. */
const isChunk = 0x80000000;

/** Chunks of the tables of both sides. */
export class Chunks {
  readonly numbers: RunAllocator;
  /** Prefixes that need a chunk, by its number. */
  readonly needed: Uint32Array;

  constructor(memory: IndexMemory, most?: number) {
    const end = Math.floor(memory.chunks.length / chunkEntries);
    this.numbers = new RunAllocator("chunks of the IPv4 tables", {
      first: 0,
      end,
      ...(most === undefined ? {} : { most }),
    });
    this.needed = new Uint32Array(end);
  }
}

/** Entries that stand one behind the other in one of the parts of the index. */
interface Entries {
  readonly words: Uint32Array;
  readonly from: number;
  readonly count: number;
}

/** A prefix, as a number and a length from 1 to 32. */
export interface NumberedPrefix {
  readonly address: number;
  readonly length: number;
}

type Replace = (entry: number) => number;

export class DirectTable {
  written = 0;
  #memory: IndexMemory;
  readonly #chunks: Chunks;
  readonly #base: number;

  /** `side` is 0 for source addresses, 1 for destinations. */
  constructor(memory: IndexMemory, chunks: Chunks, side: number) {
    this.#memory = memory;
    this.#chunks = chunks;
    this.#base = side << rootBits;
  }

  moveTo(memory: IndexMemory): void {
    this.#memory = memory;
  }

  /** Gives a class to the prefix's addresses, where `isLonger` does not say that theirs is of a longer prefix. */
  add(prefix: NumberedPrefix, number: number, isLonger: (number: number) => boolean): void {
    const path = this.#open(prefix);
    for (const chunk of path.chunks) this.#chunks.needed[chunk] = (this.#chunks.needed[chunk] ?? 0) + 1;
    this.#replace(path.entries, (entry) => (isLonger(entry) ? entry : number));
  }

  /** Gives the class `instead` to addresses of the class `number`, all of which the prefix holds. */
  remove(prefix: NumberedPrefix, number: number, instead: number): void {
    const path = this.#open(prefix);
    this.#replace(path.entries, (entry) => (entry === number ? instead : entry));
    for (const chunk of path.chunks) this.#chunks.needed[chunk] = (this.#chunks.needed[chunk] ?? 0) - 1;
    this.#close(prefix, path.chunks);
  }

  /** The entries of a prefix and the chunks on the way to them, made where there are none. */
  #open({ address, length }: NumberedPrefix): {
    readonly entries: Entries;
    readonly chunks: readonly number[];
  } {
    const root = this.#base + (address >>> (32 - rootBits));
    const { roots, chunks } = this.#memory;
    if (length <= rootBits)
      return { entries: { words: roots, from: root, count: 1 << (rootBits - length) }, chunks: [] };
    const outer = this.#openChunk(roots, root);
    const middle = outer * chunkEntries + ((address >>> leafBits) & (chunkEntries - 1));
    if (length <= rootBits + chunkBits) {
      const count = 1 << (rootBits + chunkBits - length);
      return { entries: { words: chunks, from: middle, count }, chunks: [outer] };
    }
    let inner: number;
    try {
      inner = this.#openChunk(chunks, middle);
    } catch (error) {
      this.#closeChunk(roots, root);
      throw error;
    }
    const from = inner * chunkEntries + (address & (chunkEntries - 1));
    return { entries: { words: chunks, from, count: 1 << (32 - length) }, chunks: [outer, inner] };
  }

  #openChunk(words: Uint32Array, at: number): number {
    const entry = words[at] ?? 0;
    if (entry >= isChunk) return entry - isChunk;
    const chunk = this.#chunks.numbers.take();
    this.#memory.chunks.fill(entry, chunk * chunkEntries, (chunk + 1) * chunkEntries);
    this.#chunks.needed[chunk] = 0;
    Atomics.store(words, at, isChunk + chunk);
    this.written += chunkEntries + 1;
    return chunk;
  }

  /** Chunks that no prefix needs any more say the same for all their addresses. */
  #close({ address }: NumberedPrefix, chunks: readonly number[]): void {
    const [outer] = chunks;
    if (outer === undefined) return;
    const middle = outer * chunkEntries + ((address >>> leafBits) & (chunkEntries - 1));
    this.#closeChunk(this.#memory.chunks, middle);
    this.#closeChunk(this.#memory.roots, this.#base + (address >>> (32 - rootBits)));
  }

  #closeChunk(words: Uint32Array, at: number): void {
    const entry = words[at] ?? 0;
    const chunk = entry - isChunk;
    if (entry < isChunk || (this.#chunks.needed[chunk] ?? 0) > 0) return;
    Atomics.store(words, at, this.#memory.chunks[chunk * chunkEntries] ?? 0);
    this.written++;
    this.#chunks.numbers.retire(chunk);
  }

  #replace({ words, from, count }: Entries, replace: Replace): void {
    for (let at = from; at < from + count; at++) {
      const entry = words[at] ?? 0;
      if (entry >= isChunk) {
        const first = (entry - isChunk) * chunkEntries;
        this.#replace({ words: this.#memory.chunks, from: first, count: chunkEntries }, replace);
        continue;
      }
      const other = replace(entry);
      if (other === entry) continue;
      Atomics.store(words, at, other);
      this.written++;
    }
  }
}
