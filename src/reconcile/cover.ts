// Covering prefixes. The longest match hides shorter ones, so an entry of a prefix table that exists on one side
// only must repeat, on the other, what the nearest shorter prefix says there.
import { indexKeys, type KeyIndex, owners, presence, wordsOf } from "../compile/index.ts";
import type { TableDiff } from "./diff.ts";
import { isOwn, ownerOf, viewOf, visiblePayload } from "./versions.ts";

/** Finds what covers a key: the payload of the nearest shorter prefix, marked as inherited, or undefined. */
export interface Covers {
  /** What covers the key for packets that see the old generation. */
  before(key: Uint8Array): Uint8Array | undefined;
  /** What covers it for those that see the new one. */
  after(key: Uint8Array): Uint8Array | undefined;
}

const noCovers: Covers = { before: () => undefined, after: () => undefined };

/**
 * The covers of one table's transaction. What packets see before and after it is what is desired, what is observed
 * of that, and what is observed besides: so the index that the comparison made finds all but the last, and nothing
 * is paid where no prefix can cover another.
 */
export async function findCovers(diff: TableDiff, generation: bigint): Promise<Covers> {
  if (diff.spec.shape !== "prefix" || diff.changes.count === 0) return noCovers;
  if (diff.lengths.length < 2) return noCovers;
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

interface CoverOptions {
  readonly generation: number;
  readonly besides: KeyIndex;
}

class TableCovers implements Covers {
  readonly #diff: TableDiff;
  readonly #o: CoverOptions;
  readonly #values: DataView;

  constructor(diff: TableDiff, options: CoverOptions) {
    this.#diff = diff;
    this.#o = options;
    this.#values = viewOf(diff.observed.values);
  }

  before(key: Uint8Array): Uint8Array | undefined {
    return this.#nearest(key, (wanted, besides) => {
      if (wanted >= 0) return this.#observed(this.#diff.matches[wanted] ?? -1);
      return besides < 0 ? undefined : this.#observed(this.#diff.unmatched[besides] ?? -1);
    });
  }

  after(key: Uint8Array): Uint8Array | undefined {
    return this.#nearest(key, (wanted, besides) => {
      if (wanted >= 0) return this.#desired(wanted);
      return besides < 0
        ? undefined
        : this.#observed(this.#diff.unmatched[besides] ?? -1, { thatStays: true });
    });
  }

  #nearest(
    key: Uint8Array,
    payloadOf: (wanted: number, besides: number) => Uint8Array | undefined,
  ): Uint8Array | undefined {
    const { index, lengths } = this.#diff;
    const length = viewOf(key).getUint32(0, true);
    for (const shorter of lengths) {
      if (shorter >= length) continue;
      const words = wordsOf(shortenKey(key, shorter));
      const payload = payloadOf(index.find(words), this.#o.besides.find(words));
      if (payload === undefined) continue;
      const inherited = new Uint8Array(payload);
      inherited[this.#diff.spec.presenceOffset] = presence.inherited;
      return inherited;
    }
    return undefined;
  }

  #desired(entry: number): Uint8Array {
    const { payloadSize } = this.#diff.spec;
    return this.#diff.desired.payloads.subarray(entry * payloadSize, (entry + 1) * payloadSize);
  }

  /** What packets see of an observed entry, unless it is none of its own. */
  #observed(
    entry: number,
    only: { readonly thatStays: boolean } = { thatStays: false },
  ): Uint8Array | undefined {
    const { spec, observed } = this.#diff;
    if (entry < 0) return undefined;
    const offset = entry * spec.valueSize;
    const payload = visiblePayload(spec, this.#values, { offset, generation: this.#o.generation });
    if (!isOwn(spec, this.#values, payload)) return undefined;
    if (only.thatStays && ownerOf(spec, this.#values, payload) === owners[this.#diff.owner]) return undefined;
    return observed.values.subarray(payload, payload + spec.payloadSize);
  }
}

/** The key of the prefix of `length` bits that holds `key`'s: the length first, then bits in network order. */
function shortenKey(key: Uint8Array, length: number): Uint8Array {
  const short = new Uint8Array(key.length);
  viewOf(short).setUint32(0, length, true);
  const whole = length >> 3;
  short.set(key.subarray(4, 4 + whole), 4);
  if ((length & 7) !== 0) short[4 + whole] = (key[4 + whole] ?? 0) & (0xff00 >> (length & 7));
  return short;
}
