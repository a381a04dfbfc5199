// The raw values that a transaction writes into one table, made chunk by chunk from the comparison: prepared (readers
// at the old generation see no difference), put back (abort), and the keys that only the past needed (settle).
import { type TableSpec, wordsOf } from "../compile/index.ts";
import { type Covers, findCovers } from "./cover.ts";
import type { TableDiff } from "./diff.ts";
import { isArray, isVersioned, putAtRest, type RawEntry, seal, sideOffset, visibleSide } from "./versions.ts";

/** Packed entries for one write. */
export interface RawChunk {
  readonly count: number;
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
}

/** Changes that are made into one write. */
export const chunkChanges = 4096;

/** Changes `from` up to `to` of a table. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** The changes of `diff` in chunks. */
export function* spansOf(count: number): Iterable<Span> {
  for (let from = 0; from < count; from += chunkChanges)
    yield { from, to: Math.min(count, from + chunkChanges) };
}

export class Writes {
  readonly diff: TableDiff;
  readonly #covers: Covers;
  readonly #current: number;
  readonly #target: number;
  /** The tables as words of 4 bytes, of which everything in them is made. */
  readonly #desired: { readonly keys: Uint32Array; readonly payloads: Uint32Array };
  readonly #observed: { readonly keys: Uint32Array; readonly values: Uint32Array };

  private constructor(
    diff: TableDiff,
    covers: Covers,
    at: { readonly current: bigint; readonly target: bigint },
  ) {
    this.diff = diff;
    this.#covers = covers;
    this.#current = Number(at.current);
    this.#target = Number(at.target);
    const { desired, observed } = diff;
    this.#desired = { keys: wordsOf(desired.keys), payloads: wordsOf(desired.payloads) };
    this.#observed = { keys: wordsOf(observed.keys), values: wordsOf(observed.values) };
  }

  static async of(
    diff: TableDiff,
    at: { readonly current: bigint; readonly target: bigint },
  ): Promise<Writes> {
    return new Writes(diff, await findCovers(diff, at.current), at);
  }

  /** Values whose readers at the old generation see what they saw, and whose readers at the new one what is wanted. */
  prepared({ from, to }: Span): RawChunk {
    const { spec, changes } = this.diff;
    const chunk = new ChunkBuilder(spec, to - from);
    for (let i = from; i < to; i++) {
      if (isVersioned(spec)) this.#prepare(chunk, i);
      // A key of references never changes its meaning: what it says otherwise was written by somebody else, or means
      // the programs of another build, and is put right at once.
      else if (changes.desiredAt(i) >= 0) {
        this.#begin(chunk, i);
        chunk.show(0, this.#desired.payloads, changes.desiredAt(i));
      }
    }
    return chunk.build();
  }

  #prepare(chunk: ChunkBuilder, i: number): void {
    const observed = this.diff.changes.observedAt(i);
    const desired = this.diff.changes.desiredAt(i);
    const key = this.#begin(chunk, i);
    let kept: 0 | 1 = 0;
    if (observed >= 0) {
      chunk.copy(this.#observed.values, observed);
      kept = chunk.visibleSide(this.#current);
    } else {
      chunk.showCover(kept, this.#covers.before(chunk.keys, key));
    }
    const side = kept === 0 ? 1 : 0;
    if (desired >= 0) chunk.show(side, this.#desired.payloads, desired);
    else chunk.showCover(side, this.#covers.after(chunk.keys, key));
    chunk.seal(this.#target, side);
  }

  /** What takes the entries back to what they were, and the keys of those that were not there. */
  before({ from, to }: Span): { readonly back: RawChunk; readonly created: Uint8Array } {
    const { spec, changes } = this.diff;
    const back = new ChunkBuilder(spec, to - from);
    const created = new ChunkBuilder(spec, to - from);
    for (let i = from; i < to; i++) {
      const observed = changes.observedAt(i);
      if (observed < 0 && !isArray(spec)) this.#begin(created, i);
      // A reference that was there is right now, if it was not before.
      else if (isVersioned(spec)) {
        this.#begin(back, i);
        if (observed >= 0) back.copy(this.#observed.values, observed);
        back.putAtRest(this.#current);
      }
    }
    return { back: back.build(), created: created.build().keys };
  }

  /** Keys of entries that are of no use after the commit; arrays keep theirs. */
  gone({ from, to }: Span): Uint8Array {
    const { spec, changes } = this.diff;
    const gone = new ChunkBuilder(spec, isArray(spec) ? 0 : to - from);
    if (!isArray(spec)) for (let i = from; i < to; i++) if (changes.desiredAt(i) < 0) this.#begin(gone, i);
    return gone.build().keys;
  }

  /** Begins the entry of change `i`; returns at which word of the chunk's keys its own begins. */
  #begin(chunk: ChunkBuilder, i: number): number {
    const { changes } = this.diff;
    const desired = changes.desiredAt(i);
    return desired >= 0
      ? chunk.begin(this.#desired.keys, desired)
      : chunk.begin(this.#observed.keys, changes.observedAt(i));
  }
}

/** Makes entries one after the other, each value all zeros at first. */
class ChunkBuilder {
  readonly keys: Uint32Array<ArrayBuffer>;
  readonly #spec: TableSpec;
  readonly #values: Uint32Array<ArrayBuffer>;
  readonly #keyView: DataView;
  readonly #valueView: DataView;
  readonly #keyWords: number;
  readonly #valueWords: number;
  #count = 0;

  constructor(spec: TableSpec, most: number) {
    this.#spec = spec;
    this.#keyWords = spec.keySize / 4;
    this.#valueWords = spec.valueSize / 4;
    this.keys = new Uint32Array(most * this.#keyWords);
    this.#values = new Uint32Array(most * this.#valueWords);
    this.#keyView = new DataView(this.keys.buffer);
    this.#valueView = new DataView(this.#values.buffer);
  }

  /** Begins the entry whose key is number `entry` of `keys`; returns at which word its own key begins. */
  begin(keys: Uint32Array, entry: number): number {
    const words = this.#keyWords;
    const at = this.#count++ * words;
    const from = entry * words;
    for (let i = 0; i < words; i++) this.keys[at + i] = keys[from + i] ?? 0;
    return at;
  }

  /** The whole value is number `entry` of `values`. */
  copy(values: Uint32Array, entry: number): void {
    const words = this.#valueWords;
    const at = this.#value / 4;
    const from = entry * words;
    for (let i = 0; i < words; i++) this.#values[at + i] = values[from + i] ?? 0;
  }

  /** One side shows payload number `entry` of `payloads`. */
  show(side: 0 | 1, payloads: Uint32Array, entry: number): void {
    const words = this.#spec.payloadSize / 4;
    const at = sideOffset(this.#spec, this.#value, side) / 4;
    const from = entry * words;
    for (let i = 0; i < words; i++) this.#values[at + i] = payloads[from + i] ?? 0;
  }

  /** One side shows what covers the entry, or nothing. */
  showCover(side: 0 | 1, cover: Uint32Array | undefined): void {
    if (cover !== undefined) this.show(side, cover, 0);
    else {
      const at = sideOffset(this.#spec, this.#value, side) / 4;
      this.#values.fill(0, at, at + this.#spec.payloadSize / 4);
    }
  }

  visibleSide(at: number): 0 | 1 {
    return visibleSide(this.#valueView, this.#value, at);
  }

  /** The entry is complete: its side `side` is seen from generation `since` on. */
  seal(since: number, side: 0 | 1): void {
    seal(this.#spec, this.#entry(), { since, side });
  }

  /** The entry is complete: it shows at generation `at` what it shows now. */
  putAtRest(at: number): void {
    putAtRest(this.#spec, this.#entry(), at);
  }

  build(): RawChunk {
    const { keySize, valueSize } = this.#spec;
    return {
      count: this.#count,
      keys: new Uint8Array(this.keys.buffer, 0, this.#count * keySize),
      values: new Uint8Array(this.#values.buffer, 0, this.#count * valueSize),
    };
  }

  /** Where the value of the entry begins that was begun last. */
  get #value(): number {
    return (this.#count - 1) * this.#spec.valueSize;
  }

  #entry(): RawEntry {
    const key = (this.#count - 1) * this.#spec.keySize;
    return { keys: this.#keyView, key, values: this.#valueView, value: this.#value };
  }
}
