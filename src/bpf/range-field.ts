// One number of a packet (a port, an ICMP type and code, a protocol): the ranges that records name cut the numbers into
// intervals, each of which that a range holds is a class.
import type { ClassRows } from "./class-rows.ts";
import type { IndexMemory } from "./index-memory.ts";
import type { SlotCounts } from "./slot-counts.ts";

/** Both ends belong to it. */
export interface NumberRange {
  readonly first: number;
  readonly last: number;
}

interface NamedRange extends NumberRange {
  readonly slots: number[];
}

interface Interval {
  readonly from: number;
  readonly to: number;
  readonly number: number;
}

export class RangeField {
  written = 0;
  readonly #domain: number;
  readonly #base: number;
  readonly #rows: ClassRows;
  readonly #scratch: SlotCounts;
  #memory: IndexMemory;
  readonly #ranges = new Map<number, NamedRange>();
  /** Ranges that begin at a number, and that end before it. */
  readonly #begins = new Map<number, Set<NamedRange>>();
  readonly #ends = new Map<number, Set<NamedRange>>();
  readonly #changed = new Set<NamedRange>();

  /** Numbers below `domain`, whose classes packets find from `base` on. */
  constructor(
    at: { readonly base: number; readonly domain: number },
    memory: IndexMemory,
    own: { readonly rows: ClassRows; readonly scratch: SlotCounts },
  ) {
    this.#base = at.base;
    this.#domain = at.domain;
    this.#memory = memory;
    this.#rows = own.rows;
    this.#scratch = own.scratch;
  }

  moveTo(memory: IndexMemory): void {
    this.#memory = memory;
  }

  add({ first, last }: NumberRange, slot: number): void {
    const key = first * this.#domain + last;
    let range = this.#ranges.get(key);
    if (range === undefined) {
      range = { first, last, slots: [] };
      this.#ranges.set(key, range);
      join(this.#begins, first, range);
      join(this.#ends, last + 1, range);
    }
    range.slots.push(slot);
    this.#changed.add(range);
  }

  remove({ first, last }: NumberRange, slot: number): void {
    const key = first * this.#domain + last;
    const range = this.#ranges.get(key);
    if (range === undefined) return;
    const at = range.slots.lastIndexOf(slot);
    if (at >= 0) range.slots.splice(at, 1);
    this.#changed.add(range);
    if (range.slots.length > 0) return;
    this.#ranges.delete(key);
    leave(this.#begins, first, range);
    leave(this.#ends, last + 1, range);
  }

  /** Brings what packets see up to date. Throws `table-full`; what was there before still is then. */
  flush(): void {
    if (this.#changed.size === 0) return;
    const opened: number[] = [];
    let intervals: Interval[];
    try {
      intervals = this.#publishChanged(opened);
    } catch (error) {
      for (const number of opened) this.#rows.retire(number);
      throw error;
    }
    const kept = new Set(intervals.map(({ number }) => number));
    const gone = new Set<number>();
    for (const { from, to, number } of intervals)
      this.#paint({ from, to, number }, (old) => {
        if (old !== 0 && !kept.has(old)) gone.add(old);
      });
    for (const number of gone) this.#rows.retire(number);
    this.#changed.clear();
  }

  /** Publishes the rows of intervals in which something changed, and says which class each of them gets. */
  #publishChanged(opened: number[]): Interval[] {
    const changed = this.#markChanged();
    const { values } = this.#memory;
    const classAt = (at: number) => (at < 0 ? -1 : (values[this.#base + at] ?? 0));
    const cuts = [...new Set([0, ...this.#begins.keys(), ...this.#ends.keys()])].sort((a, b) => a - b);
    const intervals: Interval[] = [];
    const inside = new Set<NamedRange>();
    try {
      cuts.forEach((from, i) => {
        for (const range of this.#ends.get(from) ?? []) this.#step(inside, range);
        for (const range of this.#begins.get(from) ?? []) this.#step(inside, range);
        const to = cuts[i + 1] ?? this.#domain;
        if (from >= to || !changed(from, to)) return;
        let number = 0;
        if (inside.size > 0) {
          // What began here before keeps its class; another part of an interval that is cut gets one of its own.
          const old = classAt(from);
          number = old !== 0 && old !== classAt(from - 1) ? old : this.#rows.open();
          if (number !== old) opened.push(number);
          this.#rows.publish(number, this.#scratch);
        }
        intervals.push({ from, to, number });
      });
    } finally {
      for (const range of inside) this.#scratch.removeAll(range.slots);
    }
    return intervals;
  }

  #step(inside: Set<NamedRange>, range: NamedRange): void {
    if (inside.delete(range)) this.#scratch.removeAll(range.slots);
    else {
      inside.add(range);
      this.#scratch.addAll(range.slots);
    }
  }

  /** Whether an interval meets a range that changed, or the numbers next to it: they may have been of one interval. */
  #markChanged(): (from: number, to: number) => boolean {
    const marks = new Int32Array(this.#domain + 1);
    for (const range of this.#changed) {
      const first = Math.max(0, range.first - 1);
      const end = Math.min(this.#domain, range.last + 2);
      marks[first] = (marks[first] ?? 0) + 1;
      marks[end] = (marks[end] ?? 0) - 1;
    }
    // For each number, how many up to it lie in such a range.
    let open = 0;
    let before = 0;
    for (let at = 0; at <= this.#domain; at++) {
      open += marks[at] ?? 0;
      marks[at] = before;
      if (open > 0) before++;
    }
    return (from, to) => marks[to] !== marks[from];
  }

  #paint({ from, to, number }: Interval, onOld: (old: number) => void): void {
    const { values } = this.#memory;
    for (let at = this.#base + from; at < this.#base + to; at++) {
      const old = values[at] ?? 0;
      if (old === number) continue;
      onOld(old);
      Atomics.store(values, at, number);
      this.written++;
    }
  }
}

function join(at: Map<number, Set<NamedRange>>, number: number, range: NamedRange): void {
  const ranges = at.get(number);
  if (ranges === undefined) at.set(number, new Set([range]));
  else ranges.add(range);
}

function leave(at: Map<number, Set<NamedRange>>, number: number, range: NamedRange): void {
  const ranges = at.get(number);
  ranges?.delete(range);
  if (ranges?.size === 0) at.delete(number);
}
