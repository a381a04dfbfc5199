// Places ordered entries into slots: entries that keep their relative order stay where they are, others go into
// empty slots between their neighbours, and only where there are none are neighbours moved aside. So a rule
// inserted into ten thousand costs one write.

/** For each desired entry the slot where it stands now, or -1. */
export type CurrentSlots = Int32Array;

/**
 * Finds a slot for every desired entry. Slots rise strictly in the order of the entries.
 *
 * @param current the slot of each desired entry, in the desired order; -1 for new ones
 * @param capacity number of slots in the table
 * @returns a slot for each entry, or undefined if there are more entries than slots
 */
export function placeEntries(current: CurrentSlots, capacity: number): Int32Array | undefined {
  const count = current.length;
  if (count > capacity) return undefined;
  const fixed = isSparse(current) ? [] : longestRising(current);
  return placeAround(fixed, current, capacity) ?? placeAround([], current, capacity);
}

/** Undefined if finding room takes longer than it is worth: a table that is this full is placed anew. */
function placeAround(
  fixed: readonly number[],
  current: CurrentSlots,
  capacity: number,
): Int32Array | undefined {
  const count = current.length;
  const slots = new Int32Array(count);
  const placing: Placing = { current, capacity, fixed, slots, tries: count * triesFactor + triesFloor };
  let next = 0;
  let run = 0;
  while (run < count || next < fixed.length) {
    const gap = widen(placing, run, next);
    if (placing.tries < 0) return undefined;
    spread(slots, gap);
    next = gap.next;
    const fixedEntry = fixed[next];
    if (fixedEntry !== undefined) slots[fixedEntry] = gap.upper;
    run = gap.to + 1;
    next++;
  }
  return slots;
}

/**
 * True if packets walk over far more slots than there are entries. All entries are placed anew then: what that writes
 * was paid for by the removals before it.
 */
function isSparse(current: CurrentSlots): boolean {
  const last = current.reduce((most, slot) => Math.max(most, slot), -1);
  return last > current.length * sparseFactor + sparseFloor;
}

const sparseFactor = 4;
const sparseFloor = 64;

/** Gaps that are looked at for each entry, on average, before all are placed anew. */
const triesFactor = 64;
const triesFloor = 4096;

interface Placing {
  readonly current: CurrentSlots;
  readonly capacity: number;
  /** Entries that may stay where they are, in order. */
  readonly fixed: readonly number[];
  readonly slots: Int32Array;
  /** Gaps that may still be looked at. */
  tries: number;
}

/**
 * The entries from `run` up to the fixed entry number `next` and the slots free for them. Where these are too
 * few, the fewest fixed entries on one side are given up until they suffice; if no one side suffices, all on
 * the right and as many on the left as it takes.
 */
function widen(placing: Placing, run: number, next: number): Gap & { readonly next: number } {
  const { fixed } = placing;
  const narrow = gapBetween(placing, run, next);
  if (fits(narrow)) return { ...narrow, next };
  for (let given = 1; given <= Math.max(fixed.length - next, run) && placing.tries >= 0; given++) {
    placing.tries--;
    if (given <= run) {
      const left = gapBetween(placing, run - given, next);
      if (fits(left)) return { ...left, next };
    }
    if (next + given <= fixed.length) {
      const right = gapBetween(placing, run, next + given);
      if (fits(right)) return { ...right, next: next + given };
    }
  }
  let from = run;
  while (from > 0 && placing.tries-- >= 0 && !fits(gapBetween(placing, from, fixed.length))) from--;
  return { ...gapBetween(placing, from, fixed.length), next: fixed.length };
}

function gapBetween(placing: Placing, from: number, next: number): Gap {
  const { current, capacity, fixed, slots } = placing;
  const tail = next >= fixed.length;
  const to = fixed[next] ?? current.length;
  return {
    from,
    to,
    lower: from === 0 ? -1 : (slots[from - 1] ?? -1),
    upper: tail ? capacity : (current[to] ?? 0),
    tail,
  };
}

function fits(gap: Gap): boolean {
  return gap.upper - gap.lower - 1 >= gap.to - gap.from;
}

interface Gap {
  readonly from: number;
  readonly to: number;
  /** Slots strictly between these are free. */
  readonly lower: number;
  readonly upper: number;
  /** Behind the last fixed entry: keep close to it, so that packets do not walk over empty slots. */
  readonly tail: boolean;
}

function spread(slots: Int32Array, gap: Gap): void {
  const wanted = gap.to - gap.from;
  const free = gap.upper - gap.lower - 1;
  const room = gap.tail ? Math.min(free, wanted * 2) : free;
  for (let i = 0; i < wanted; i++) {
    slots[gap.from + i] = gap.lower + 1 + Math.floor(((i + 0.5) * room) / wanted);
  }
}

/** Positions of a longest strictly rising subsequence of the entries that have a slot (patience sorting). */
function longestRising(current: CurrentSlots): number[] {
  const tails: number[] = [];
  const previous = new Int32Array(current.length).fill(-1);
  for (let i = 0; i < current.length; i++) {
    const slot = current[i] ?? -1;
    if (slot < 0) continue;
    let low = 0;
    let high = tails.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((current[tails[middle] ?? 0] ?? 0) < slot) low = middle + 1;
      else high = middle;
    }
    previous[i] = low > 0 ? (tails[low - 1] ?? -1) : -1;
    tails[low] = i;
  }
  const rising: number[] = [];
  for (let i = tails.at(-1) ?? -1; i >= 0; i = previous[i] ?? -1) rising.push(i);
  return rising.reverse();
}
