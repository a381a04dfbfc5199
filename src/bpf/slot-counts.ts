// A set of slots in which each may be several times: the bits of a row while it is put together.

/** Units of a row: INDEX_SUMMARY_WORDS words of summary, one bit each. */
export const units = 256;

export class SlotCounts {
  /** Words of 32 slots. */
  readonly words: Uint32Array;
  /** Slots that are in the set, by unit. */
  readonly perUnit = new Uint16Array(units);
  readonly #counts: Uint8Array;
  readonly #unitShift: number;

  /** `unitWords` words of 64 slots are a unit. */
  constructor(unitWords: number) {
    const slots = units * unitWords * 64;
    this.words = new Uint32Array(slots / 32);
    this.#counts = new Uint8Array(slots);
    this.#unitShift = Math.log2(unitWords * 64);
  }

  add(slot: number): boolean {
    const count = this.#counts[slot] ?? 0;
    this.#counts[slot] = count + 1;
    if (count > 0) return false;
    const word = slot >>> 5;
    this.words[word] = (this.words[word] ?? 0) | (1 << (slot & 31));
    const unit = slot >>> this.#unitShift;
    this.perUnit[unit] = (this.perUnit[unit] ?? 0) + 1;
    return true;
  }

  /** True if it is not in the set any more. */
  remove(slot: number): boolean {
    const count = this.#counts[slot] ?? 0;
    this.#counts[slot] = count - 1;
    if (count > 1) return false;
    const word = slot >>> 5;
    this.words[word] = (this.words[word] ?? 0) & ~(1 << (slot & 31));
    const unit = slot >>> this.#unitShift;
    this.perUnit[unit] = (this.perUnit[unit] ?? 0) - 1;
    return true;
  }

  addAll(slots: readonly number[]): void {
    for (const slot of slots) this.add(slot);
  }

  removeAll(slots: readonly number[]): void {
    for (const slot of slots) this.remove(slot);
  }
}
