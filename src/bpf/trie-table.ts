// IPv6 prefixes -> classes, in a trie of the kernel's: the longest match is what a packet is of.
import { indexFull } from "./index-full.ts";
import type { IndexMemory } from "./index-memory.ts";
import type { ClassTable } from "./prefix-field.ts";
import type { PrefixNode } from "./prefix-tree.ts";

/** How many prefixes the tries of both sides hold, and may. */
export interface TrieRoom {
  used: number;
  readonly most: number;
}

export class TrieTable implements ClassTable {
  written = 0;
  #memory: IndexMemory;
  readonly #side: number;
  readonly #room: TrieRoom;

  constructor(memory: IndexMemory, side: number, room: TrieRoom) {
    this.#memory = memory;
    this.#side = side;
    this.#room = room;
  }

  moveTo(memory: IndexMemory): void {
    this.#memory = memory;
  }

  add({ bytes, length }: PrefixNode, number: number): void {
    const { used, most } = this.#room;
    if (used >= most) throw indexFull("IPv6 prefixes", { limit: most, present: used, wanted: used + 1 });
    this.#memory.prefixes.set({ side: this.#side, length, bytes }, number);
    this.#room.used++;
    this.written++;
  }

  remove({ bytes, length }: PrefixNode): void {
    this.#memory.prefixes.remove({ side: this.#side, length, bytes });
    this.#room.used--;
    this.written++;
  }
}
