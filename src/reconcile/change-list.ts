// Kernel entries that have to be written, packed: a million of them are a few megabytes and no objects.

/** What happens to one entry. `repair` shows packets nothing new but puts a damaged or half-written entry right. */
export type ChangeKind = "add" | "change" | "remove" | "repair";

const kinds: readonly ChangeKind[] = ["add", "change", "remove", "repair"];

/** Changes of one table, in the order in which they are written. */
export class ChangeList {
  #count = 0;
  #kinds = new Uint8Array(16);
  #observed = new Int32Array(16);
  #desired = new Int32Array(16);
  readonly #counts: Record<ChangeKind, number> = { add: 0, change: 0, remove: 0, repair: 0 };

  get count(): number {
    return this.#count;
  }

  countOf(kind: ChangeKind): number {
    return this.#counts[kind];
  }

  /** `observed` and `desired` are numbers of entries in the tables compared, or -1. */
  add(kind: ChangeKind, observed: number, desired: number): void {
    if (this.#count === this.#kinds.length) this.#grow();
    this.#kinds[this.#count] = kinds.indexOf(kind);
    this.#observed[this.#count] = observed;
    this.#desired[this.#count] = desired;
    this.#count++;
    this.#counts[kind]++;
  }

  kindAt(i: number): ChangeKind {
    return kinds[this.#kinds[i] ?? 0] ?? "repair";
  }

  /** Number of the entry in the observed table, or -1. */
  observedAt(i: number): number {
    return this.#observed[i] ?? -1;
  }

  /** Number of the entry in the desired table, or -1 if it goes. */
  desiredAt(i: number): number {
    return this.#desired[i] ?? -1;
  }

  #grow(): void {
    const size = this.#count * 2;
    const grown = {
      kinds: new Uint8Array(size),
      observed: new Int32Array(size),
      desired: new Int32Array(size),
    };
    grown.kinds.set(this.#kinds);
    grown.observed.set(this.#observed);
    grown.desired.set(this.#desired);
    this.#kinds = grown.kinds;
    this.#observed = grown.observed;
    this.#desired = grown.desired;
  }
}
