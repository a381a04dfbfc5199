// The slots whose records say nothing about a field, one vector a field: all of them stand in one part of the index, a
// cache line for each word of slots (bpf/lib/rule_index.h).
import { type IndexMemory, lineWords } from "./index-memory.ts";
import { SlotCounts, units } from "./slot-counts.ts";

/** Lines of summary before the lines of slots, 64 units each. */
const summaryLines = units / 64;
/** Where in the first line stands how many words a unit has: INDEX_UNIT_WORDS, in words of 4 bytes. */
const unitWordsAt = 14;

export class AnyVectors {
  written = 0;
  #memory: IndexMemory;
  readonly #unitWords: number;
  readonly #fields: readonly SlotCounts[];
  /** Words of 32 slots that may have lost some, by field. */
  readonly #shrunk = new Set<number>();

  constructor(memory: IndexMemory, fields: number, unitWords: number) {
    this.#memory = memory;
    this.#unitWords = unitWords;
    this.#fields = Array.from({ length: fields }, () => new SlotCounts(unitWords));
    memory.any[unitWordsAt] = unitWords;
  }

  moveTo(memory: IndexMemory): void {
    this.#memory = memory;
  }

  /** Packets see it at once. */
  add(field: number, slot: number): void {
    if (this.#fields[field]?.add(slot)) this.#write(field, slot >>> 5);
  }

  /** Packets see it after the next `flush`. */
  remove(field: number, slot: number): void {
    if (this.#fields[field]?.remove(slot)) this.#shrunk.add((slot >>> 5) * this.#fields.length + field);
  }

  flush(): void {
    const count = this.#fields.length;
    for (const at of this.#shrunk) this.#write(at % count, Math.floor(at / count));
    this.#shrunk.clear();
  }

  /** Writes a word of 32 slots, and its unit's bit of the summary. */
  #write(field: number, word: number): void {
    const slots = this.#fields[field];
    if (slots === undefined) return;
    this.#store(placeOf(summaryLines * 2 + word, field), slots.words[word] ?? 0);
    const unit = Math.floor(word / (this.#unitWords * 2));
    const half = unit >> 5;
    let summary = 0;
    for (let i = half * 32; i < half * 32 + 32; i++)
      if ((slots.perUnit[i] ?? 0) > 0) summary |= 1 << (i & 31);
    this.#store(placeOf(half, field), summary >>> 0);
  }

  #store(at: number, word: number): void {
    if (this.#memory.any[at] === word) return;
    Atomics.store(this.#memory.any, at, word);
    this.written++;
  }
}

/** Where the half word number `half` of a field stands. */
function placeOf(half: number, field: number): number {
  return (half >> 1) * lineWords + field * 2 + (half & 1);
}
