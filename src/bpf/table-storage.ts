// How raw entries of a policy table get into the kernel and out: through memory for arrays, through batches of
// system calls for everything else. Values are whole map values; what they mean is not known here.
import { bug } from "../base/index.ts";
import type { TableSpec } from "../compile/index.ts";
import type { BpfMap } from "./map.ts";
import type { MapMemory } from "./map-memory.ts";
import { startPace } from "./pace.ts";

export interface RawEntries {
  readonly count: number;
  /** count * keySize bytes. */
  readonly keys: Uint8Array;
  /** count * valueSize bytes. */
  readonly values: Uint8Array;
}

export interface TableStorage {
  readonly capacity: number;
  read(): Promise<RawEntries>;
  /** All zeros for keys without entry. */
  lookup(keys: Uint8Array): Promise<Uint8Array>;
  write(keys: Uint8Array, values: Uint8Array): Promise<void>;
  remove(keys: Uint8Array): Promise<void>;
  close(): void;
}

/** Storage for a table in `map`. */
export function openStorage(spec: TableSpec, map: BpfMap): TableStorage {
  const array = spec.shape === "ordered" || spec.shape === "slots";
  return array ? new ArrayStorage(spec, map.mmap(), map.entriesMax) : new MapStorage(spec, map);
}

class MapStorage implements TableStorage {
  readonly capacity: number;
  readonly #spec: TableSpec;
  readonly #map: BpfMap;

  constructor(spec: TableSpec, map: BpfMap) {
    this.#spec = spec;
    this.#map = map;
    this.capacity = map.entriesMax;
  }

  read(): Promise<RawEntries> {
    return this.#map.readAll();
  }

  async lookup(keys: Uint8Array): Promise<Uint8Array> {
    const { keySize, valueSize } = this.#spec;
    const count = keys.length / keySize;
    const values = new Uint8Array(count * valueSize);
    const pace = startPace(`look up keys of map ${this.#map.name}`);
    for (let i = 0; i < count; i++) {
      const value = values.subarray(i * valueSize, (i + 1) * valueSize);
      const found = this.#map.lookup(keys.subarray(i * keySize, (i + 1) * keySize), value);
      if (found === undefined) value.fill(0);
      if (i % 256 === 255) await pace.step(i);
    }
    return values;
  }

  async write(keys: Uint8Array, values: Uint8Array): Promise<void> {
    await this.#map.updateAll(keys, values);
  }

  async remove(keys: Uint8Array): Promise<void> {
    await this.#map.removeAll(keys);
  }

  close(): void {}
}

/** Entries are written in place, the version word last and in one store: until then readers see the other side. */
class ArrayStorage implements TableStorage {
  readonly capacity: number;
  readonly #spec: TableSpec;
  readonly #memory: MapMemory;

  constructor(spec: TableSpec, memory: MapMemory, capacity: number) {
    if (spec.keySize !== 4) throw bug(`Cannot use ${spec.name}: an array's key has 4 bytes`);
    this.#spec = spec;
    this.#memory = memory;
    this.capacity = capacity;
  }

  async read(): Promise<RawEntries> {
    const { valueSize } = this.#spec;
    const used: number[] = [];
    for (let slot = 0; slot < this.capacity; slot++) if (this.#isUsed(slot)) used.push(slot);
    const keys = new Uint8Array(used.length * 4);
    const values = new Uint8Array(used.length * valueSize);
    const view = new DataView(keys.buffer);
    used.forEach((slot, i) => {
      view.setUint32(i * 4, slot, true);
      values.set(this.#slot(slot), i * valueSize);
    });
    return { count: used.length, keys, values };
  }

  async lookup(keys: Uint8Array): Promise<Uint8Array> {
    const { valueSize } = this.#spec;
    const values = new Uint8Array((keys.length / 4) * valueSize);
    this.#forEachSlot(keys, (slot, i) => {
      values.set(this.#slot(slot), i * valueSize);
    });
    return values;
  }

  async write(keys: Uint8Array, values: Uint8Array): Promise<void> {
    const { valueSize } = this.#spec;
    const { bytes, unsignedWords, stride } = this.#memory;
    const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
    this.#forEachSlot(keys, (slot, i) => {
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
    const { words, stride } = this.#memory;
    const first = (slot * stride) / 8;
    for (let word = first; word < first + stride / 8; word++) if (words[word] !== 0n) return true;
    return false;
  }

  #forEachSlot(keys: Uint8Array, visit: (slot: number, index: number) => void): void {
    const view = new DataView(keys.buffer, keys.byteOffset, keys.byteLength);
    for (let i = 0; i < keys.length / 4; i++) {
      const slot = view.getUint32(i * 4, true);
      if (slot >= this.capacity)
        throw bug(`Cannot use slot ${slot} of ${this.#spec.name}: it has ${this.capacity}`);
      visit(slot, i);
    }
  }
}
