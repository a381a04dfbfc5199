// The index over an ordered table: which slots may match a packet at all (bpf/lib/rule_index.h). It holds the bits that
// slots demand, each of one record, or of two while old and new stand side by side. Knows no kernel: its memory may be
// maps that packets read, or plain arrays.
import { AnyVectors } from "./any-vectors.ts";
import { ClassRows, type IndexLimits } from "./class-rows.ts";
import { Chunks, DirectTable } from "./direct-table.ts";
import { type Demand, type FamilyPrefix, nameDemand } from "./index-demand.ts";
import { chunkBits, type IndexMemory, lineWords, type PrefixClass } from "./index-memory.ts";
import { copyChanged, copyRuns, type IndexParts, orInto, partsOf, unitWordsOf } from "./index-parts.ts";
import { type ClassTable, PrefixField } from "./prefix-field.ts";
import type { PrefixNode } from "./prefix-tree.ts";
import { type NumberRange, RangeField } from "./range-field.ts";
import { SlotCounts } from "./slot-counts.ts";
import { TrieTable } from "./trie-table.ts";

/** Where the numbers of each kind begin: enum index_value_base. */
const bases = { sourcePort: 0, destinationPort: 65_536, icmp: 131_072, protocol: 196_608 } as const;

/** enum index_field. */
const anyField = {
  source: 0,
  destination: 1,
  sourcePort: 2,
  destinationPort: 3,
  protocol: 4,
  bothAddresses: 5,
} as const;

/** What an index holds; classes, lines and chunks that wait for a grace period are not counted. */
export interface IndexUse {
  readonly classes: number;
  readonly lines: number;
  readonly chunks: number;
  readonly prefixes: number;
}

interface Held {
  readonly name: string;
  readonly demand: Demand;
}

export class RuleIndex {
  #memory: IndexMemory;
  readonly #rows: ClassRows;
  readonly #chunks: Chunks;
  readonly #any: AnyVectors;
  readonly #direct: readonly DirectTable[];
  readonly #tries: readonly TrieTable[];
  readonly #room: { used: number; most: number };
  /** By side and family: 0 IPv4, 1 IPv6. */
  readonly #prefixes: readonly (readonly [PrefixField, PrefixField])[];
  readonly #ranges: Readonly<Record<keyof typeof bases, RangeField>>;
  /** By slot: what its records demand. */
  readonly #held = new Map<number, readonly Held[]>();

  /** An empty index in memory that is all zeros. */
  constructor(memory: IndexMemory, limits?: IndexLimits) {
    const unitWords = unitWordsOf(memory);
    this.#memory = memory;
    this.#rows = new ClassRows(memory, unitWords, limits);
    this.#chunks = new Chunks(memory, limits?.chunks);
    this.#any = new AnyVectors(memory, Object.keys(anyField).length, unitWords);
    this.#room = { used: 0, most: limits?.prefixes ?? memory.prefixes.capacity };
    const scratch = new SlotCounts(unitWords);
    const own = { scratch, wide: new SlotCounts(unitWords), lengths: new Uint8Array(memory.classes.length) };
    const rows = this.#rows;
    this.#direct = [0, 1].map((side) => new DirectTable(memory, this.#chunks, side));
    this.#tries = [0, 1].map((side) => new TrieTable(memory, side, this.#room));
    this.#prefixes = this.#direct.map((direct, side) => {
      const trie = this.#tries[side] as TrieTable;
      return [new PrefixField(numbered(direct), rows, own), new PrefixField(trie, rows, own)];
    });
    const range = (base: number, domain: number) =>
      new RangeField({ base, domain }, memory, { rows, scratch });
    this.#ranges = {
      sourcePort: range(bases.sourcePort, 65_536),
      destinationPort: range(bases.destinationPort, 65_536),
      icmp: range(bases.icmp, 65_536),
      protocol: range(bases.protocol, 256),
    };
  }

  /**
   * From now on a slot demands this: bits for one record, or for two while packets may see either. Packets see what is
   * added after the next `flush` at the latest.
   */
  demand(slot: number, demands: readonly Demand[]): void {
    const before = this.#held.get(slot) ?? [];
    const after: Held[] = [];
    for (const demand of demands) {
      const name = nameDemand(demand);
      if (!after.some((held) => held.name === name)) after.push({ name, demand });
    }
    const isIn = (list: readonly Held[], { name }: Held) => list.some((held) => held.name === name);
    for (const held of after) if (!isIn(before, held)) this.#enter(slot, held.demand, "add");
    for (const held of before) if (!isIn(after, held)) this.#enter(slot, held.demand, "remove");
    if (after.length > 0) this.#held.set(slot, after);
    else this.#held.delete(slot);
  }

  demandsOf(slot: number): readonly Demand[] {
    return (this.#held.get(slot) ?? []).map(({ demand }) => demand);
  }

  /**
   * Brings what packets see up to date. Throws `table-full` if there is no room; all that was there before still is
   * then, and the slots' former demands can be flushed again.
   */
  flush(): void {
    for (const [v4, v6] of this.#prefixes) {
      v4.flush();
      v6.flush();
    }
    for (const field of Object.values(this.#ranges)) field.flush();
    this.#any.flush();
  }

  /** What packets may meet until a grace period from now on is over; to be called then. */
  takeRetired(): () => void {
    const release = [this.#rows.numbers, this.#rows.lines, this.#chunks.numbers].map((a) => a.takeRetired());
    return () => {
      for (const one of release) one();
    };
  }

  get use(): IndexUse {
    return {
      classes: this.#rows.numbers.used,
      lines: this.#rows.lines.used,
      chunks: this.#chunks.numbers.used,
      prefixes: this.#room.used,
    };
  }

  /** Words of 4 bytes that were written so far. */
  get written(): number {
    return this.#parts().reduce((sum, part) => sum + part.written, 0);
  }

  /**
   * Keeps classes, lines and chunks that another index uses from being given out until the next grace period: packets
   * read that one until this one has taken its place.
   */
  reserve({ numbers, lines, chunks }: IndexParts): void {
    this.#rows.numbers.reserve(numbers);
    this.#rows.lines.reserve(lines);
    this.#chunks.numbers.reserve(chunks);
  }

  /**
   * Takes the place of what is in `memory`, which packets may be reading: at every moment they find there all that
   * either index has for them. `there` are the IPv6 prefixes that `memory` has.
   */
  async moveTo(memory: IndexMemory, there: readonly PrefixClass[]): Promise<void> {
    const from = this.#memory;
    const own = await from.prefixes.entries();
    const { numbers, lines, chunks } = partsOf(from, own);
    // What entries lead to is complete before an entry leads there.
    copyRuns(from.rows, memory.rows, { starts: lines, size: lineWords });
    copyRuns(from.classes, memory.classes, { starts: numbers, size: 1 });
    copyRuns(from.chunks, memory.chunks, { starts: chunks, size: 1 << chunkBits });
    orInto(from.any, memory.any);
    const named = new Set(own.map(({ key }) => nameKey(key)));
    for (const { key, number } of own) memory.prefixes.set(key, number);
    copyChanged(from.values, memory.values);
    copyChanged(from.roots, memory.roots);
    copyChanged(from.any, memory.any);
    for (const { key } of there) if (!named.has(nameKey(key))) memory.prefixes.remove(key);
    this.#memory = memory;
    for (const part of this.#parts()) part.moveTo(memory);
  }

  #parts() {
    return [this.#rows, this.#any, ...this.#direct, ...this.#tries, ...Object.values(this.#ranges)];
  }

  #enter(slot: number, demand: Demand, change: "add" | "remove"): void {
    const { source, destination } = demand;
    this.#enterPrefix(0, source, { slot, change, isWide: destination === undefined });
    this.#enterPrefix(1, destination, { slot, change, isWide: source === undefined });
    if (source === undefined && destination === undefined) this.#any[change](anyField.bothAddresses, slot);
    const { sourcePort, destinationPort, icmp, protocol } = this.#ranges;
    const at = { slot, change };
    this.#enterRanges("sourcePort", [[sourcePort, demand.sourcePorts]], at);
    this.#enterRanges(
      "destinationPort",
      [
        [destinationPort, demand.destinationPorts],
        [icmp, demand.icmp],
      ],
      at,
    );
    this.#enterRanges("protocol", [[protocol, demand.protocols]], at);
  }

  #enterPrefix(
    side: 0 | 1,
    prefix: FamilyPrefix | undefined,
    at: Entering & { readonly isWide: boolean },
  ): void {
    const { slot, change, isWide } = at;
    if (prefix === undefined) this.#any[change](side, slot);
    else this.#prefixes[side]?.[prefix.family === 4 ? 0 : 1][change](prefix, slot, isWide);
  }

  #enterRanges(
    name: keyof typeof bases & keyof typeof anyField,
    fields: readonly (readonly [RangeField, readonly NumberRange[] | undefined])[],
    { slot, change }: Entering,
  ): void {
    if (fields.every(([, ranges]) => ranges === undefined)) this.#any[change](anyField[name], slot);
    for (const [field, ranges] of fields) for (const range of ranges ?? []) field[change](range, slot);
  }
}

interface Entering {
  readonly slot: number;
  readonly change: "add" | "remove";
}

function numbered(table: DirectTable): ClassTable {
  const of = ({ bytes, length }: PrefixNode) => ({
    address: new DataView(bytes.buffer, bytes.byteOffset).getUint32(0),
    length,
  });
  return {
    add: (prefix, number, isLonger) => table.add(of(prefix), number, isLonger),
    remove: (prefix, number, instead) => table.remove(of(prefix), number, instead),
  };
}

function nameKey({ side, length, bytes }: PrefixClass["key"]): string {
  return `${side}/${length}/${Buffer.from(bytes).toString("latin1")}`;
}
