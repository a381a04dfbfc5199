// Array tables as memory. Entries are written in place, the version word last and in one store: until then readers
// see the other side.
import { bug, startPace } from "../base/index.ts";
import type { TableSpec } from "../compile/index.ts";
import type { MapMemory } from "./map-memory.ts";
import type { TableIndex } from "./table-index.ts";
import type { RawEntries, TableStorage } from "./table-storage.ts";

/** Bytes that are looked through, or copied, between two looks at the clock. */
const stepBytes = 1 << 20;

export class ArrayStorage implements TableStorage {
  readonly capacity: number;
  readonly #spec: TableSpec;
  readonly #memory: MapMemory;
  readonly #blank: Uint8Array;

  /** Is told of entries before they are written. */
  readonly #index: Pick<TableIndex, "cover"> | undefined;

  constructor(
    spec: TableSpec,
    memory: MapMemory,
    own: { readonly capacity: number; readonly index?: Pick<TableIndex, "cover"> | undefined },
  ) {
    if (spec.keySize !== 4) throw bug(`Cannot use ${spec.name}: an array's key has 4 bytes`);
    this.#spec = spec;
    this.#memory = memory;
    this.capacity = own.capacity;
    this.#index = own.index;
    this.#blank = new Uint8Array(memory.stride);
  }

  /** Slots in which anything stands. */
  async read(): Promise<RawEntries> {
    const { valueSize } = this.#spec;
    const used: number[] = [];
    await this.#eachPaced(this.capacity, (slot) => {
      if (this.#isUsed(slot)) used.push(slot);
    });
    const keys = new Uint8Array(used.length * 4);
    const values = new Uint8Array(used.length * valueSize);
    const view = new DataView(keys.buffer);
    await this.#eachPaced(used.length, (i) => {
      const slot = used[i] ?? 0;
      view.setUint32(i * 4, slot, true);
      values.set(this.#slot(slot), i * valueSize);
    });
    return { count: used.length, keys, values };
  }

  async lookup(keys: Uint8Array): Promise<Uint8Array> {
    const { valueSize } = this.#spec;
    const values = new Uint8Array((keys.length / 4) * valueSize);
    await this.#eachSlot(keys, (slot, i) => {
      values.set(this.#slot(slot), i * valueSize);
    });
    return values;
  }

  async write(keys: Uint8Array, values: Uint8Array): Promise<void> {
    const { valueSize } = this.#spec;
    const { bytes, unsignedWords, stride } = this.#memory;
    if (this.#spec.index !== undefined && this.#index === undefined)
      throw bug(`Cannot write ${this.#spec.name}: its index is not open`);
    await this.#index?.cover(keys, values);
    const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
    await this.#eachSlot(keys, (slot, i) => {
      bytes.set(values.subarray(i * valueSize + 8, (i + 1) * valueSize), slot * stride + 8);
      Atomics.store(unsignedWords, (slot * stride) / 8, view.getBigUint64(i * valueSize, true));
    });
  }

  async remove(): Promise<void> {
    throw bug(`Cannot remove entries of ${this.#spec.name}: an array's entries always exist`);
  }

  close(): void {
    this.#memory.close();
  }

  #slot(slot: number): Uint8Array {
    const { bytes, stride } = this.#memory;
    return bytes.subarray(slot * stride, slot * stride + this.#spec.valueSize);
  }

  #isUsed(slot: number): boolean {
    const { bytes, stride } = this.#memory;
    return Buffer.compare(bytes.subarray(slot * stride, (slot + 1) * stride), this.#blank) !== 0;
  }

  async #eachSlot(keys: Uint8Array, visit: (slot: number, index: number) => void): Promise<void> {
    const view = new DataView(keys.buffer, keys.byteOffset, keys.byteLength);
    await this.#eachPaced(keys.length / 4, (i) => {
      const slot = view.getUint32(i * 4, true);
      if (slot >= this.capacity)
        throw bug(`Cannot use slot ${slot} of ${this.#spec.name}: it has ${this.capacity}`);
      visit(slot, i);
    });
  }

  async #eachPaced(count: number, visit: (index: number) => void): Promise<void> {
    const step = Math.max(1, Math.floor(stepBytes / this.#memory.stride));
    const pace = startPace(`go through ${this.#spec.name}`);
    for (let from = 0; from < count; from += step) {
      for (let i = from; i < Math.min(count, from + step); i++) visit(i);
      await pace.step(from);
    }
  }
}
