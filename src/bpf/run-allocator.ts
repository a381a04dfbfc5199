// Numbers that are given out and taken back: one at a time or several in a row. What is taken back is given out again
// only when whoever may still look there is gone.
import { indexFull } from "./index-full.ts";

interface Run {
  readonly first: number;
  readonly count: number;
}

export class RunAllocator {
  readonly #what: string;
  readonly #end: number;
  /** From here on nothing was ever given out. */
  #fresh: number;
  /** First numbers of free runs by their length. */
  #free = new Map<number, number[]>();
  #retired: Run[] = [];
  #used = 0;
  /** Numbers that may be in use at once. */
  readonly #most: number;

  /** Numbers from `first` up to `end`, of which `most` may be in use at once; `what` they are in words. */
  constructor(what: string, range: { readonly first: number; readonly end: number; readonly most?: number }) {
    this.#what = what;
    this.#fresh = range.first;
    this.#end = range.end;
    this.#most = range.most ?? Number.POSITIVE_INFINITY;
  }

  /** Numbers in use, those that wait for a grace period not counted. */
  get used(): number {
    return this.#used;
  }

  /** Throws `index-full`. */
  take(count = 1): number {
    const first = this.#find(count);
    if (first === undefined || this.#used + count > this.#most) {
      if (first !== undefined) this.#add({ first, count });
      const limit = Math.min(this.#most, this.#end);
      throw indexFull(this.#what, { limit, present: this.#used, wanted: this.#used + count });
    }
    this.#used += count;
    return first;
  }

  /** Nobody needs these any more but programs that are running now. */
  retire(first: number, count = 1): void {
    if (count === 0) return;
    this.#used -= count;
    this.#retired.push({ first, count });
  }

  /** What was retired until now, to be released after a grace period. */
  takeRetired(): () => void {
    const retired = this.#retired;
    this.#retired = [];
    return () => {
      for (const run of retired) this.#add(run);
    };
  }

  /** Keeps what is in use already (sorted, each once) from being given out; it counts as retired. */
  reserve(numbers: Iterable<number>): void {
    for (const number of numbers) {
      if (number < this.#fresh || number >= this.#end) continue;
      if (number > this.#fresh) this.#add({ first: this.#fresh, count: number - this.#fresh });
      this.#fresh = number + 1;
      this.#retired.push({ first: number, count: 1 });
    }
  }

  #find(count: number): number | undefined {
    const exact = this.#free.get(count)?.pop();
    if (exact !== undefined) return exact;
    const cut = this.#cut(count);
    if (cut !== undefined) return cut;
    if (this.#end - this.#fresh >= count) {
      this.#fresh += count;
      return this.#fresh - count;
    }
    return this.#join() ? (this.#free.get(count)?.pop() ?? this.#cut(count)) : undefined;
  }

  /** The first part of the shortest free run that is longer. */
  #cut(count: number): number | undefined {
    let best = Number.POSITIVE_INFINITY;
    for (const [length, firsts] of this.#free)
      if (length > count && length < best && firsts.length > 0) best = length;
    const first = this.#free.get(best)?.pop();
    if (first !== undefined) this.#add({ first: first + count, count: best - count });
    return first;
  }

  /** Makes neighbouring free runs one; false if there are none. */
  #join(): boolean {
    const runs = [...this.#free].flatMap(([count, firsts]) => firsts.map((first) => ({ first, count })));
    runs.sort((a, b) => a.first - b.first);
    this.#free = new Map();
    let open: Run | undefined;
    let joined = false;
    for (const run of runs) {
      if (open !== undefined && open.first + open.count === run.first) {
        open = { first: open.first, count: open.count + run.count };
        joined = true;
      } else {
        if (open !== undefined) this.#add(open);
        open = run;
      }
    }
    if (open !== undefined) this.#add(open);
    return joined;
  }

  #add({ first, count }: Run): void {
    const firsts = this.#free.get(count);
    if (firsts === undefined) this.#free.set(count, [first]);
    else firsts.push(first);
  }
}
