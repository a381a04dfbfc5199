// The index of an ordered table in the kernel: made from the table's records when an agent starts, and kept a superset
// of what packets may see from then on. Bits of a record are set before it is written, and cleared when no packet can
// see it any more.
import { bug, PenstockError } from "../base/index.ts";
import type { RuleIndexSpec, TableSpec } from "../compile/index.ts";
import { waitForGracePeriod } from "./grace.ts";
import { type Demand, readDemand } from "./index-demand.ts";
import { type IndexMemory, mappedMemory, plainMemory, sizesOfMaps, sizesOfMemory } from "./index-memory.ts";
import { partsOf } from "./index-parts.ts";
import type { BpfMap } from "./map.ts";
import { type IndexUse, RuleIndex } from "./rule-index.ts";

/** Grace periods that are waited for until rules that replace each other have found room. */
const flushTries = 16;

/** What a slot says while old and new stand side by side, and from which generation on only the new. */
interface Pending {
  readonly since: number;
  readonly after: readonly Demand[];
}

export class TableIndex {
  readonly #spec: TableSpec;
  readonly #described: RuleIndexSpec;
  readonly #index: RuleIndex;
  readonly #memory: IndexMemory & { close(): void };
  readonly #pending = new Map<number, Pending>();
  /** What became visible up to this generation is all that packets see. */
  #settled: number;

  private constructor(
    spec: TableSpec,
    memory: IndexMemory & { close(): void },
    own: { readonly index: RuleIndex; readonly oldest: number },
  ) {
    this.#spec = spec;
    this.#described = describedBy(spec);
    this.#memory = memory;
    this.#index = own.index;
    this.#settled = own.oldest;
  }

  /**
   * Makes the index of the table's records aside and puts it in the place of what its maps hold, which packets may be
   * reading. No packet is judged by a generation before `oldest` any more. Throws `table-full`.
   */
  static async open(
    spec: TableSpec,
    source: { map(name: string): BpfMap },
    oldest: number,
  ): Promise<TableIndex> {
    const memory = mappedMemory(describedBy(spec).name, source);
    try {
      const there = await memory.prefixes.entries();
      const index = new RuleIndex(plainMemory(sizesOfMemory(memory)));
      index.reserve(partsOf(memory, there));
      const table = new TableIndex(spec, memory, { index, oldest });
      const records = source.map(spec.name).mmap();
      try {
        table.#enterAll(records.bytes, records.stride);
      } finally {
        records.close();
      }
      index.flush();
      await index.moveTo(memory, there);
      return table;
    } catch (cause) {
      memory.close();
      throw cause;
    }
  }

  get use(): IndexUse {
    return this.#index.use;
  }

  /** Words of 4 bytes that were written since the index was opened. */
  get written(): number {
    return this.#index.written;
  }

  /** Before entries are written: packets that see them will find them. Throws `table-full`; nothing changed then. */
  async cover(keys: Uint8Array, values: Uint8Array): Promise<void> {
    const { valueSize } = this.#spec;
    const slots = new DataView(keys.buffer, keys.byteOffset, keys.byteLength);
    const before = new Map<number, { readonly demands: readonly Demand[]; readonly pending?: Pending }>();
    for (let i = 0; i * 4 < keys.length; i++) {
      const slot = slots.getUint32(i * 4, true);
      const pending = this.#pending.get(slot);
      const demands = this.#index.demandsOf(slot);
      if (!before.has(slot)) before.set(slot, { demands, ...(pending === undefined ? {} : { pending }) });
      this.#enter(slot, values.subarray(i * valueSize, (i + 1) * valueSize));
    }
    try {
      await this.#flush();
    } catch (cause) {
      for (const [slot, { demands, pending }] of before) {
        this.#index.demand(slot, demands);
        if (pending === undefined) this.#pending.delete(slot);
        else this.#pending.set(slot, pending);
      }
      throw cause;
    }
  }

  /** What is only waiting for packets is free after a grace period: as long as that gets it further, it goes on. */
  async #flush(): Promise<void> {
    for (let left = flushTries; ; left--) {
      const { written } = this.#index;
      try {
        this.#index.flush();
        return;
      } catch (cause) {
        const isFull = cause instanceof PenstockError && cause.code === "table-full";
        if (!isFull || left === 0 || this.#index.written === written) throw cause;
        const release = this.#index.takeRetired();
        await waitForGracePeriod();
        release();
      }
    }
  }

  /** What may be reused once a grace period from now on is over; to be called then. */
  takeRetired(): () => void {
    return this.#index.takeRetired();
  }

  /** No packet is judged by a generation before `oldest` any more. */
  settle(oldest: number): void {
    this.#settled = oldest;
    for (const [slot, { since, after }] of this.#pending) {
      if (since > oldest) continue;
      this.#index.demand(slot, after);
      this.#pending.delete(slot);
    }
    this.#index.flush();
  }

  close(): void {
    this.#memory.close();
  }

  #enterAll(bytes: Uint8Array, stride: number): void {
    for (let slot = 0; (slot + 1) * stride <= bytes.length; slot++)
      this.#enter(slot, bytes.subarray(slot * stride, slot * stride + this.#spec.valueSize));
  }

  #enter(slot: number, value: Uint8Array): void {
    const view = new DataView(value.buffer, value.byteOffset, 8);
    const newer = view.getUint32(0, true) & 1;
    const since = view.getUint32(4, true) * 0x80000000 + (view.getUint32(0, true) >>> 1);
    const after = this.#demandsOf(value, newer);
    if (since <= this.#settled) {
      this.#index.demand(slot, after);
      this.#pending.delete(slot);
    } else {
      this.#index.demand(slot, [...after, ...this.#demandsOf(value, newer ^ 1)]);
      this.#pending.set(slot, { since, after });
    }
  }

  #demandsOf(value: Uint8Array, side: number): readonly Demand[] {
    const { sideOffset, payloadSize, presenceOffset } = this.#spec;
    const from = sideOffset + side * payloadSize;
    if (value[from + presenceOffset] === 0) return [];
    return [readDemand(this.#described, value.subarray(from, from + payloadSize))];
  }
}

/** Packed entries as packets shall see them, keyed by slot. */
export interface IndexedEntries {
  readonly keys: Uint8Array;
  readonly payloads: Uint8Array;
}

/**
 * Throws `table-full` if these entries take more than half of the table's index, whose maps have so many entries: old
 * and new stand side by side, and so do two indexes while one agent takes over from another.
 */
export function checkIndexRoom(
  spec: TableSpec,
  entriesOf: (map: string) => number,
  entries: IndexedEntries,
): void {
  const described = spec.index;
  if (described === undefined) return;
  const sizes = sizesOfMaps(described.name, entriesOf);
  const index = new RuleIndex(plainMemory(sizes), {
    classes: Math.floor(sizes.classes / 2),
    lines: Math.floor(sizes.rows / 32),
    chunks: Math.floor(sizes.chunks / 128),
    prefixes: Math.floor(sizes.prefixes / 2),
  });
  const slots = new DataView(entries.keys.buffer, entries.keys.byteOffset, entries.keys.byteLength);
  const { payloadSize } = spec;
  for (let i = 0; i * 4 < entries.keys.length; i++) {
    const payload = entries.payloads.subarray(i * payloadSize, (i + 1) * payloadSize);
    index.demand(slots.getUint32(i * 4, true), [readDemand(described, payload)]);
  }
  index.flush();
}

function describedBy(spec: TableSpec): RuleIndexSpec {
  if (spec.index === undefined) throw bug(`Cannot index ${spec.name}: what its records say is not known`);
  return spec.index;
}
