// The raw values that a transaction writes into one table, made chunk by chunk from the comparison: prepared (readers
// at the old generation see no difference), put back (abort), and the keys that only the past needed (settle).
import type { PackedTable, TableSpec } from "../compile/index.ts";
import { type Covers, findCovers } from "./cover.ts";
import type { TableDiff } from "./diff.ts";
import type { RawTable } from "./ports.ts";
import { isArray, isVersioned, putAtRest, seal, sideOffset, viewOf, visibleSide } from "./versions.ts";

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

  private constructor(
    diff: TableDiff,
    covers: Covers,
    at: { readonly current: bigint; readonly target: bigint },
  ) {
    this.diff = diff;
    this.#covers = covers;
    this.#current = Number(at.current);
    this.#target = Number(at.target);
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
      if (!isVersioned(spec)) {
        if (changes.observedAt(i) < 0) chunk.copyDesired(this.diff.desired, changes.desiredAt(i));
        continue;
      }
      const key = this.#keyAt(i);
      const observed = changes.observedAt(i);
      const before = observed < 0 ? this.#covers.before(key) : undefined;
      const desired = changes.desiredAt(i);
      const after = desired < 0 ? this.#covers.after(key) : this.#desiredPayload(desired);
      chunk.prepare(key, {
        raw: observed < 0 ? undefined : valueAt(this.diff.observed, observed),
        before,
        after,
        current: this.#current,
        target: this.#target,
      });
    }
    return chunk.build();
  }

  /** What takes the entries back to what they were, and the keys of those that were not there. */
  before({ from, to }: Span): { readonly back: RawChunk; readonly created: Uint8Array } {
    const { spec, changes, observed } = this.diff;
    const back = new ChunkBuilder(spec, to - from);
    const created: Uint8Array[] = [];
    for (let i = from; i < to; i++) {
      const entry = changes.observedAt(i);
      // A reference that was there was not written.
      if (entry >= 0 && !isVersioned(spec)) continue;
      if (entry >= 0) back.rest(this.#keyAt(i), valueAt(observed, entry), this.#current);
      else if (isArray(spec)) back.rest(this.#keyAt(i), new Uint8Array(spec.valueSize), this.#current);
      else created.push(this.#keyAt(i));
    }
    return { back: back.build(), created: Buffer.concat(created) };
  }

  /** Keys of entries that are of no use after the commit; arrays keep theirs. */
  gone({ from, to }: Span): Uint8Array {
    const { spec, changes } = this.diff;
    const keys: Uint8Array[] = [];
    if (isArray(spec)) return new Uint8Array(0);
    for (let i = from; i < to; i++) if (changes.desiredAt(i) < 0) keys.push(this.#keyAt(i));
    return Buffer.concat(keys);
  }

  #keyAt(i: number): Uint8Array {
    const { spec, changes, desired, observed } = this.diff;
    const wanted = changes.desiredAt(i);
    const [keys, entry] = wanted >= 0 ? [desired.keys, wanted] : [observed.keys, changes.observedAt(i)];
    return keys.subarray(entry * spec.keySize, (entry + 1) * spec.keySize);
  }

  #desiredPayload(entry: number): Uint8Array {
    const { payloadSize } = this.diff.spec;
    return this.diff.desired.payloads.subarray(entry * payloadSize, (entry + 1) * payloadSize);
  }
}

/** What one entry is, and shall be. */
interface Preparation {
  /** The value that the kernel holds; undefined if it holds none. */
  readonly raw: Uint8Array | undefined;
  /** What packets before the commit see where the kernel holds no entry; undefined for nothing. */
  readonly before: Uint8Array | undefined;
  /** What packets see after it; undefined for nothing. */
  readonly after: Uint8Array | undefined;
  readonly current: number;
  readonly target: number;
}

class ChunkBuilder {
  readonly #spec: TableSpec;
  readonly #keys: Uint8Array;
  readonly #values: Uint8Array;
  readonly #keyView: DataView;
  readonly #valueView: DataView;
  #count = 0;

  constructor(spec: TableSpec, most: number) {
    this.#spec = spec;
    this.#keys = new Uint8Array(most * spec.keySize);
    this.#values = new Uint8Array(most * spec.valueSize);
    this.#keyView = viewOf(this.#keys);
    this.#valueView = viewOf(this.#values);
  }

  prepare(key: Uint8Array, p: Preparation): void {
    const entry = this.#next(key);
    const { value } = entry;
    let kept: 0 | 1 = 0;
    if (p.raw !== undefined) {
      this.#values.set(p.raw, value);
      kept = visibleSide(this.#valueView, value, p.current);
    } else if (p.before !== undefined) {
      this.#values.set(p.before, sideOffset(this.#spec, value, 0));
    }
    const side = (kept ^ 1) as 0 | 1;
    const at = sideOffset(this.#spec, value, side);
    if (p.after === undefined) this.#values.fill(0, at, at + this.#spec.payloadSize);
    else this.#values.set(p.after, at);
    seal(this.#spec, entry, { since: p.target, side });
  }

  rest(key: Uint8Array, raw: Uint8Array, current: number): void {
    const entry = this.#next(key);
    this.#values.set(raw, entry.value);
    putAtRest(this.#spec, entry, current);
  }

  copyDesired(desired: PackedTable, i: number): void {
    const { keySize, payloadSize } = this.#spec;
    const entry = this.#next(desired.keys.subarray(i * keySize, (i + 1) * keySize));
    this.#values.set(desired.payloads.subarray(i * payloadSize, (i + 1) * payloadSize), entry.value);
  }

  build(): RawChunk {
    const { keySize, valueSize } = this.#spec;
    return {
      count: this.#count,
      keys: this.#keys.subarray(0, this.#count * keySize),
      values: this.#values.subarray(0, this.#count * valueSize),
    };
  }

  #next(key: Uint8Array) {
    const { keySize, valueSize } = this.#spec;
    const i = this.#count++;
    this.#keys.set(key, i * keySize);
    return { keys: this.#keyView, key: i * keySize, values: this.#valueView, value: i * valueSize };
  }
}

function valueAt(raw: RawTable, entry: number): Uint8Array {
  const { valueSize } = raw.spec;
  return raw.values.subarray(entry * valueSize, (entry + 1) * valueSize);
}
