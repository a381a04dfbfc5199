// One address of a packet, in one family: which class it is of, and the rows of these classes. A prefix that records
// name has a class; its row has the slots of the prefix and of all that it lies in.
import type { ClassRows } from "./class-rows.ts";
import { above, type Prefix, type PrefixNode, PrefixTree } from "./prefix-tree.ts";
import type { SlotCounts } from "./slot-counts.ts";

/** Where packets find the class of an address. */
export interface ClassTable {
  add(prefix: PrefixNode, number: number, isLonger: (number: number) => boolean): void;
  /** `instead` is the class of what the prefix lies in, or 0. */
  remove(prefix: PrefixNode, number: number, instead: number): void;
}

export class PrefixField {
  readonly #tree = new PrefixTree();
  readonly #table: ClassTable;
  readonly #rows: ClassRows;
  readonly #scratch: SlotCounts;
  readonly #wide: SlotCounts;
  /** By class: the length of its prefix. */
  readonly #lengths: Uint8Array;
  readonly #changed = new Set<PrefixNode>();

  constructor(
    table: ClassTable,
    rows: ClassRows,
    own: { scratch: SlotCounts; wide: SlotCounts; lengths: Uint8Array },
  ) {
    this.#table = table;
    this.#rows = rows;
    this.#scratch = own.scratch;
    this.#wide = own.wide;
    this.#lengths = own.lengths;
  }

  /** `isWide` if the record says nothing about the other address. */
  add(prefix: Prefix, slot: number, isWide: boolean): void {
    const node = this.#tree.enter(prefix);
    node.slots.push(slot);
    if (isWide) node.wide.push(slot);
    this.#changed.add(node);
  }

  remove(prefix: Prefix, slot: number, isWide: boolean): void {
    const node = this.#tree.enter(prefix);
    takeOut(node.slots, slot);
    if (isWide) takeOut(node.wide, slot);
    this.#changed.add(node);
  }

  /** Brings what packets see up to date. Throws `table-full`; what was there before still is then. */
  flush(): void {
    for (const node of this.#changed) {
      if (node.slots.length === 0 || node.number !== 0) continue;
      node.number = this.#rows.open();
      this.#lengths[node.number] = node.length;
    }
    for (const node of this.#changed)
      if (above(node, (at) => this.#changed.has(at)) === undefined) this.#publishFrom(node);
    for (const node of this.#changed) if (node.slots.length > 0 && !node.isPainted) this.#paint(node);
    for (const node of this.#changed) {
      if (node.slots.length === 0 && node.number !== 0) this.#close(node);
      this.#tree.drop(node);
    }
    this.#changed.clear();
  }

  /** The class that the tree gives an address; for tests and for looking after the tables. */
  *classes(): Iterable<PrefixNode> {
    const open: (PrefixNode | undefined)[] = [this.#tree.root];
    while (open.length > 0) {
      const node = open.pop();
      if (node === undefined) continue;
      if (node.number !== 0) yield node;
      open.push(...node.below);
    }
  }

  #publishFrom(node: PrefixNode): void {
    const over: PrefixNode[] = [];
    for (let at = node.parent; at !== undefined; at = at.parent) over.push(at);
    for (const at of over) this.#enter(at);
    try {
      this.#publishBelow(node);
    } finally {
      for (const at of over) this.#leave(at);
    }
  }

  /** As deep as an address has bits. */
  #publishBelow(node: PrefixNode): void {
    this.#enter(node);
    try {
      if (node.slots.length > 0) this.#rows.publish(node.number, this.#scratch, this.#wide);
      for (const next of node.below) if (next !== undefined) this.#publishBelow(next);
    } finally {
      this.#leave(node);
    }
  }

  #enter(node: PrefixNode): void {
    this.#scratch.addAll(node.slots);
    this.#wide.addAll(node.wide);
  }

  #leave(node: PrefixNode): void {
    this.#scratch.removeAll(node.slots);
    this.#wide.removeAll(node.wide);
  }

  #paint(node: PrefixNode): void {
    const lengths = this.#lengths;
    this.#table.add(node, node.number, (number) => (lengths[number] ?? 0) > node.length);
    node.isPainted = true;
  }

  #close(node: PrefixNode): void {
    const instead = above(node, (at) => at.slots.length > 0)?.number ?? 0;
    if (node.isPainted) this.#table.remove(node, node.number, instead);
    this.#rows.retire(node.number);
    node.number = 0;
    node.isPainted = false;
  }
}

function takeOut(slots: number[], slot: number): void {
  const at = slots.lastIndexOf(slot);
  if (at >= 0) slots.splice(at, 1);
}
