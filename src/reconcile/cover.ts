// Covering prefixes. The longest match hides shorter ones, so an entry of a prefix table that exists on one side
// only must repeat, on the other, what the nearest shorter prefix says there.
import { indexKeys, type KeyIndex, owners, presence, wordsOf } from "../compile/index.ts";
import type { TableDiff } from "./diff.ts";
import { isOwn, ownerOf, viewOf, visiblePayload } from "./versions.ts";

/**
 * Finds what covers the key that begins at a word of `keys`: the payload of the nearest shorter prefix, marked as
 * inherited, or undefined.
 */
export interface Covers {
  /** What covers the key for packets that see the old generation. */
  before(keys: Uint32Array, at: number): Uint32Array | undefined;
  /** What covers it for those that see the new one. */
  after(keys: Uint32Array, at: number): Uint32Array | undefined;
}

const noCovers: Covers = { before: () => undefined, after: () => undefined };

/**
 * The covers of one table's transaction. What packets see before and after it is what is desired, what is observed
 * of that, and what is observed besides: so the index that the comparison made finds all but the last, and nothing
 * is paid where no prefix can cover another.
 */
export async function findCovers(diff: TableDiff, generation: bigint): Promise<Covers> {
  if (diff.spec.shape !== "prefix" || diff.changes.count === 0) return noCovers;
  return new TableCovers(diff, { generation: Number(generation), besides: await indexBesides(diff) });
}

/** An index of the observed entries that are not desired. */
async function indexBesides({ spec, observed, unmatched }: TableDiff): Promise<KeyIndex> {
  const { keySize } = spec;
  const keys = new Uint8Array(unmatched.length * keySize);
  unmatched.forEach((entry, i) => {
    keys.set(observed.keys.subarray(entry * keySize, (entry + 1) * keySize), i * keySize);
  });
  return indexKeys(keys, keySize);
}

const isOther = (owner: number, ours: number) => owner !== ours;
const isStronger = (owner: number, ours: number) => owner < ours;

interface CoverOptions {
  readonly generation: number;
  readonly besides: KeyIndex;
}

class TableCovers implements Covers {
  readonly #diff: TableDiff;
  readonly #o: CoverOptions;
  readonly #values: DataView;
  readonly #shorter: ShorterKey;

  constructor(diff: TableDiff, options: CoverOptions) {
    this.#diff = diff;
    this.#o = options;
    this.#values = viewOf(diff.observed.values);
    this.#shorter = new ShorterKey(diff.spec.keySize);
  }

  before(keys: Uint32Array, at: number): Uint32Array | undefined {
    const { lengths, index, matches, unmatched } = this.#diff;
    const { words } = this.#shorter;
    for (const length of lengths.before) {
      if (length >= (keys[at] ?? 0)) continue;
      this.#shorter.make(keys, at, length);
      const wanted = index.find(words);
      const besides = wanted < 0 ? this.#o.besides.find(words) : -1;
      const entry = wanted >= 0 ? matches[wanted] : unmatched[besides];
      const payload = this.#observed(entry ?? -1);
      if (payload !== undefined) return this.#inherited(payload);
    }
    return undefined;
  }

  after(keys: Uint32Array, at: number): Uint32Array | undefined {
    const { lengths, index, matches, unmatched } = this.#diff;
    const { words } = this.#shorter;
    for (const length of lengths.after) {
      if (length >= (keys[at] ?? 0)) continue;
      this.#shorter.make(keys, at, length);
      const wanted = index.find(words);
      // What has more say over a key than this owner stays, also where the owner wants the key.
      const entry = wanted >= 0 ? matches[wanted] : unmatched[this.#o.besides.find(words)];
      const stays = this.#observed(entry ?? -1, wanted >= 0 ? isStronger : isOther);
      const payload = stays ?? (wanted >= 0 ? this.#desired(wanted) : undefined);
      if (payload !== undefined) return this.#inherited(payload);
    }
    return undefined;
  }

  #inherited(payload: Uint8Array): Uint32Array {
    const inherited = new Uint8Array(payload);
    inherited[this.#diff.spec.presenceOffset] = presence.inherited;
    return wordsOf(inherited);
  }

  #desired(entry: number): Uint8Array {
    const { payloadSize } = this.#diff.spec;
    return this.#diff.desired.payloads.subarray(entry * payloadSize, (entry + 1) * payloadSize);
  }

  /** What packets see of an observed entry, unless it is none of its own. */
  #observed(
    entry: number,
    only: (owner: number, ours: number) => boolean = () => true,
  ): Uint8Array | undefined {
    const { spec, observed } = this.#diff;
    if (entry < 0) return undefined;
    const offset = entry * spec.valueSize;
    const payload = visiblePayload(spec, this.#values, { offset, generation: this.#o.generation });
    if (!isOwn(spec, this.#values, payload)) return undefined;
    if (!only(ownerOf(spec, this.#values, payload), owners[this.#diff.owner])) return undefined;
    return observed.values.subarray(payload, payload + spec.payloadSize);
  }
}

/** Makes keys of shorter prefixes, all in the same memory: a million keys have many of them. */
class ShorterKey {
  /** The key that was made last: the length first, then bits in network order. */
  readonly words: Uint32Array;
  readonly #bytes: Uint8Array;

  constructor(keySize: number) {
    this.words = new Uint32Array(keySize / 4);
    this.#bytes = new Uint8Array(this.words.buffer);
  }

  /** Makes the key of the prefix of `length` bits that holds the one whose key begins at word `at` of `keys`. */
  make(keys: Uint32Array, at: number, length: number): void {
    const { words } = this;
    words[0] = length;
    // The word in which the prefix ends, and those before it.
    const last = 1 + (length >> 5);
    for (let i = 1; i < words.length; i++) words[i] = i <= last ? (keys[at + i] ?? 0) : 0;
    const bytes = this.#bytes;
    const whole = 4 + (length >> 3);
    for (let i = whole; i < 4 + 4 * last && i < bytes.length; i++)
      bytes[i] = (bytes[i] ?? 0) & (i === whole ? 0xff00 >> (length & 7) : 0);
  }
}
