// Ids: small numbers that stand in kernel entries for names of policy. An id must stay with its name over
// commits, restarts and upgrades (counters and events depend on it), so names that the kernel's directory
// already knows keep their id, and an id is free only when no generation that packets can see uses it.

import type { IdSpace } from "../abi/index.ts";

/** What ids count; the C side's `enum id_space`. */
export type { IdSpace };

/** How many ids a space has: ids run from `first` to `last`, both included. */
export interface IdRange {
  readonly first: number;
  readonly last: number;
}

export interface KnownId {
  readonly space: IdSpace;
  readonly id: number;
  readonly name: string;
}

/** Gives ids to names. Knows what is taken in the current generation; remembers what this compilation used. */
export class IdAllocator {
  readonly #ranges: Readonly<Record<IdSpace, IdRange>>;
  readonly #known = new Map<IdSpace, Map<string, number>>();
  readonly #taken = new Map<IdSpace, Set<number>>();
  readonly #used = new Map<IdSpace, Map<string, number>>();
  readonly #cursor = new Map<IdSpace, number>();

  constructor(ranges: Readonly<Record<IdSpace, IdRange>>, known: Iterable<KnownId> = []) {
    this.#ranges = ranges;
    for (const { space, id, name } of known) {
      // Somebody else may have written the directory: what cannot be one of our ids is not taken over.
      const { first, last } = ranges[space];
      if (id < first || id > last) continue;
      mapOf(this.#known, space).set(name, id);
      setOf(this.#taken, space).add(id);
    }
  }

  /** The id of `name`: the one it has, or the lowest free one; undefined if the space is full. */
  assign(space: IdSpace, name: string): number | undefined {
    const used = mapOf(this.#used, space);
    const id = used.get(name) ?? mapOf(this.#known, space).get(name) ?? this.#lowestFree(space);
    if (id === undefined) return undefined;
    used.set(name, id);
    setOf(this.#taken, space).add(id);
    return id;
  }

  /** Notes that an id is in use which is a number that others gave, and its own name; false if that is known. */
  take(space: IdSpace, id: number): boolean {
    const used = mapOf(this.#used, space);
    const name = String(id);
    if (used.has(name)) return false;
    used.set(name, id);
    return true;
  }

  /** All ids that were given out by `assign` and noted by `take`, in the order of space and id. */
  used(): KnownId[] {
    const all: KnownId[] = [];
    for (const [space, names] of this.#used) for (const [name, id] of names) all.push({ space, id, name });
    return all.sort((a, b) => (a.space < b.space ? -1 : a.space > b.space ? 1 : a.id - b.id));
  }

  capacity(space: IdSpace): number {
    const { first, last } = this.#ranges[space];
    return last - first + 1;
  }

  #lowestFree(space: IdSpace): number | undefined {
    const { first, last } = this.#ranges[space];
    const taken = setOf(this.#taken, space);
    for (let id = this.#cursor.get(space) ?? first; id <= last; id++) {
      if (!taken.has(id)) {
        this.#cursor.set(space, id + 1);
        return id;
      }
    }
    return undefined;
  }
}

function mapOf(all: Map<IdSpace, Map<string, number>>, space: IdSpace): Map<string, number> {
  const found = all.get(space) ?? new Map<string, number>();
  all.set(space, found);
  return found;
}

function setOf(all: Map<IdSpace, Set<number>>, space: IdSpace): Set<number> {
  const found = all.get(space) ?? new Set<number>();
  all.set(space, found);
  return found;
}
