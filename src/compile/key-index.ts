// Finds keys in packed tables. A million keys are one array of entry numbers beside the keys themselves.
import { startPace } from "../base/index.ts";

/** Keys that are entered between two looks at the clock. */
const stepKeys = 16_384;

/**
 * Finds keys of one size (a multiple of 4 bytes) in a flat buffer: open addressing over entry numbers. Of equal keys
 * the first counts. The buffer must not change.
 */
export class KeyIndex {
  readonly #keys: Uint32Array;
  readonly #keyWords: number;
  readonly #slots: Int32Array;
  readonly #mask: number;
  readonly #count: number;

  /** Use `indexKeys` where there may be many. */
  constructor(keys: Uint8Array, keySize: number) {
    this.#keys = wordsOf(keys);
    this.#keyWords = keySize / 4;
    this.#count = keys.length / keySize;
    let size = 16;
    while (size < this.#count * 2) size *= 2;
    this.#slots = new Int32Array(size).fill(-1);
    this.#mask = size - 1;
  }

  get count(): number {
    return this.#count;
  }

  /** Enters the keys of entries `from` up to `to`, in their order; returns the entries whose key is there already. */
  enter(from: number, to: number): number[] {
    const repeated: number[] = [];
    for (let i = from; i < to; i++) {
      const slot = this.#slotOf(this.#keys, i * this.#keyWords);
      if (this.#slots[slot] === -1) this.#slots[slot] = i;
      else repeated.push(i);
    }
    return repeated;
  }

  /** The number of the entry whose key stands in `keys` from word `at` on, or -1. */
  find(keys: Uint32Array, at = 0): number {
    return this.#slots[this.#slotOf(keys, at)] ?? -1;
  }

  /**
   * The same for `found.length` keys one behind the other, the first at word `at`. The processor waits for the memory
   * of many keys at once: first their slots are read, then what stands there is compared.
   */
  findMany(keys: Uint32Array, at: number, found: Int32Array): void {
    const words = this.#keyWords;
    const own = this.#keys;
    for (let i = 0; i < found.length; i++)
      found[i] = this.#slots[hashWords(keys, at + i * words, words) & this.#mask] ?? -1;
    for (let i = 0; i < found.length; i++) {
      const entry = found[i] ?? -1;
      const key = at + i * words;
      if (entry === -1 || equalWords(own, entry * words, { keys, at: key, words })) continue;
      found[i] = this.find(keys, key);
    }
  }

  /** The slot that holds the entry of this key, or the empty one where it would be. */
  #slotOf(keys: Uint32Array, at: number): number {
    const words = this.#keyWords;
    let slot = hashWords(keys, at, words) & this.#mask;
    for (;;) {
      const entry = this.#slots[slot] ?? -1;
      if (entry === -1 || equalWords(this.#keys, entry * words, { keys, at, words })) return slot;
      slot = (slot + 1) & this.#mask;
    }
  }
}

/** An index of all keys; gives the event loop its turn meanwhile. */
export async function indexKeys(keys: Uint8Array, keySize: number): Promise<KeyIndex> {
  const index = new KeyIndex(keys, keySize);
  const pace = startPace("index keys");
  for (let from = 0; from < index.count; from += stepKeys) {
    index.enter(from, Math.min(index.count, from + stepKeys));
    await pace.step(from);
  }
  return index;
}

/** An index of few keys. */
export function indexFewKeys(keys: Uint8Array, keySize: number): KeyIndex {
  const index = new KeyIndex(keys, keySize);
  index.enter(0, index.count);
  return index;
}

/** The bytes as 32-bit words of this machine: the same memory if it is aligned, else a copy. */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length >> 2);
}

function equalWords(
  own: Uint32Array,
  from: number,
  other: { readonly keys: Uint32Array; readonly at: number; readonly words: number },
): boolean {
  const { keys, at, words } = other;
  for (let i = 0; i < words; i++) if (own[from + i] !== keys[at + i]) return false;
  return true;
}

/** Nobody can choose keys that all fall into one place without knowing it. */
const [seed = 0] = crypto.getRandomValues(new Int32Array(1));

function hashWords(keys: Uint32Array, at: number, words: number): number {
  let hash = seed;
  for (let i = at; i < at + words; i++) {
    hash = Math.imul(hash ^ (keys[i] ?? 0), 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  hash = Math.imul(hash, 0x85ebca6b);
  return hash ^ (hash >>> 13);
}
