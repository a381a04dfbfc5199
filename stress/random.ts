// Choices that follow from a seed, so that a run which found something can be made again.

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to `end - 1`: the mulberry32 generator, which is good enough to choose with. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * end);
  }

  /** The same things in another order. */
  shuffle<T>(things: readonly T[]): T[] {
    const shuffled = [...things];
    for (let i = shuffled.length - 1; i > 0; i--) {
      const [other] = shuffled.splice(this.below(i + 1), 1);
      if (other !== undefined) shuffled.push(other);
    }
    return shuffled;
  }

  /** Some of them, in another order. */
  take<T>(things: readonly T[], count: number): T[] {
    return this.shuffle(things).slice(0, count);
  }
}
