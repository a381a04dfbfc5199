// Classes and their rows: which slots may match a packet whose field is of a class. A row whose shape stays is written
// in place; one that gets another shape is written elsewhere, and the class is switched to it with one store.
import { PenstockError } from "../base/index.ts";
import { type IndexMemory, lineWords } from "./index-memory.ts";
import { RunAllocator } from "./run-allocator.ts";
import { type SlotCounts, units } from "./slot-counts.ts";

/** Where a row's ranks stand, and the words of its units, in words of 4 bytes (bpf/lib/rule_index.h). */
const ranksAt = 16;
export const wordsAt = 18;
/** Where the second summary begins. */
const wideAt = 8;

/** What an index may use, if less than its memory has room for. */
export interface IndexLimits {
  readonly classes: number;
  readonly lines: number;
  readonly chunks: number;
  readonly prefixes: number;
}

export class ClassRows {
  /** Words of 4 bytes that were written, for whoever counts. */
  written = 0;
  readonly numbers: RunAllocator;
  readonly lines: RunAllocator;
  #memory: IndexMemory;
  readonly #wordsPerUnit: number;
  /** By class: the first line of its row, and how many it has. */
  readonly #line: Uint32Array;
  readonly #count: Uint16Array;
  /** Scratch: what the row that is being made will be. */
  readonly #head = new Uint32Array(wordsAt);

  constructor(memory: IndexMemory, unitWords: number, limits?: IndexLimits) {
    this.#memory = memory;
    this.#wordsPerUnit = unitWords * 2;
    const most = (number: number | undefined) => (number === undefined ? {} : { most: number });
    // Class 0 says nothing, and line 0 is its empty row.
    this.numbers = new RunAllocator("classes", {
      first: 1,
      end: memory.classes.length,
      ...most(limits?.classes),
    });
    const end = Math.floor(memory.rows.length / lineWords);
    this.lines = new RunAllocator("lines of rows", { first: 1, end, ...most(limits?.lines) });
    this.#line = new Uint32Array(memory.classes.length);
    this.#count = new Uint16Array(memory.classes.length);
  }

  /** From now on everything is written there. */
  moveTo(memory: IndexMemory): void {
    this.#memory = memory;
  }

  /** A class that no packet is in yet. Throws `table-full`. */
  open(): number {
    return this.numbers.take();
  }

  /** No packet is in this class any more but those that are being judged. */
  retire(number: number): void {
    this.lines.retire(this.#line[number] ?? 0, this.#count[number]);
    this.#line[number] = 0;
    this.#count[number] = 0;
    this.numbers.retire(number);
  }

  /** The class has exactly these slots; `wide` are those for the second summary. Throws `table-full`, if it lacks one and there is no room for more. */
  publish(number: number, slots: SlotCounts, wide?: SlotCounts): void {
    const line = this.#line[number] ?? 0;
    const unitCount = this.#makeHead(slots, wide);
    if (line > 0 && this.#hasShape(line)) {
      this.#fill(line, slots);
      return;
    }
    const count = Math.ceil((wordsAt + unitCount * this.#wordsPerUnit) / lineWords);
    let fresh: number;
    try {
      fresh = this.lines.take(count);
    } catch (error) {
      // Bits too much do no harm; a bit too few would.
      if (error instanceof PenstockError && line > 0 && this.#holds(line, slots)) return;
      throw error;
    }
    this.#memory.rows.set(this.#head, fresh * lineWords);
    this.#fill(fresh, slots);
    this.written += wordsAt;
    Atomics.store(this.#memory.classes, number, fresh);
    this.written++;
    if (line > 0) this.lines.retire(line, this.#count[number]);
    this.#line[number] = fresh;
    this.#count[number] = count;
  }

  /** Summary and ranks; returns how many units have slots. */
  #makeHead(slots: SlotCounts, wide: SlotCounts | undefined): number {
    const head = this.#head;
    head.fill(0);
    let count = 0;
    for (let unit = 0; unit < units; unit++) {
      // Ranks are numbers of 16 bits, one for each 64 units.
      if (unit % 64 === 0)
        head[ranksAt + (unit >> 7)] = (head[ranksAt + (unit >> 7)] ?? 0) | (count << ((unit >> 2) & 16));
      if (slots.perUnit[unit] === 0) continue;
      head[unit >> 5] = (head[unit >> 5] ?? 0) | (1 << (unit & 31));
      if ((wide?.perUnit[unit] ?? 0) > 0)
        head[wideAt + (unit >> 5)] = (head[wideAt + (unit >> 5)] ?? 0) | (1 << (unit & 31));
      count++;
    }
    return count;
  }

  #hasShape(line: number): boolean {
    const at = line * lineWords;
    for (let i = 0; i < wordsAt; i++) if (this.#memory.rows[at + i] !== this.#head[i]) return false;
    return true;
  }

  /** Writes the words of all units that have slots, where they differ. */
  #fill(line: number, slots: SlotCounts): void {
    const { rows } = this.#memory;
    const size = this.#wordsPerUnit;
    let at = line * lineWords + wordsAt;
    for (let unit = 0; unit < units; unit++) {
      if (slots.perUnit[unit] === 0) continue;
      for (let from = unit * size; from < (unit + 1) * size; from++, at++) {
        const word = slots.words[from] ?? 0;
        if (rows[at] === word) continue;
        rows[at] = word;
        this.written++;
      }
    }
  }

  /** Whether the row at `line` has all these slots, and maybe more. */
  #holds(line: number, slots: SlotCounts): boolean {
    const { rows } = this.#memory;
    const size = this.#wordsPerUnit;
    for (let i = wideAt; i < ranksAt; i++)
      if (((this.#head[i] ?? 0) & ~(rows[line * lineWords + i] ?? 0)) !== 0) return false;
    let at = line * lineWords + wordsAt;
    for (let unit = 0; unit < units; unit++) {
      const isThere = ((rows[line * lineWords + (unit >> 5)] ?? 0) >>> (unit & 31)) & 1;
      if (!isThere && slots.perUnit[unit] !== 0) return false;
      if (!isThere) continue;
      for (let from = unit * size; from < (unit + 1) * size; from++, at++)
        if ((slots.words[from] ?? 0) & ~(rows[at] ?? 0)) return false;
    }
    return true;
  }
}
