// How raw entries of a policy table get into the kernel and out: through memory for arrays, through batches of
// system calls for everything else. Values are whole map values; what they mean is not known here.
import { startPace } from "../base/index.ts";
import type { TableSpec } from "../compile/index.ts";
import { ArrayStorage } from "./array-storage.ts";
import { KeyFilter } from "./key-filter.ts";
import type { BpfMap } from "./map.ts";
import type { BpfProgram } from "./program.ts";
import { ReferenceStorage } from "./reference-storage.ts";
import type { TableIndex } from "./table-index.ts";

export interface RawEntries {
  readonly count: number;
  /** count * keySize bytes. */
  readonly keys: Uint8Array;
  /** count * valueSize bytes. */
  readonly values: Uint8Array;
}

/** What was read so far, and the first entry that is new. */
export type OnRead = (sofar: RawEntries, from: number) => void;

export interface TableStorage {
  readonly capacity: number;
  /** All entries; `onRead` is told of each part while the next one is read, where that takes long. */
  read(onRead?: OnRead): Promise<RawEntries>;
  /** All zeros for keys without entry. */
  lookup(keys: Uint8Array): Promise<Uint8Array>;
  write(keys: Uint8Array, values: Uint8Array): Promise<void>;
  remove(keys: Uint8Array): Promise<void>;
  close(): void;
}

/** What storages need besides maps. */
export interface StorageParts {
  /** What program maps may refer to, in the order of the numbers that stand for them. */
  readonly programs?: readonly BpfProgram[];
  /** Indexes by the name of their table; without its index a table that has one can only be read. */
  readonly indexes?: ReadonlyMap<string, TableIndex>;
}

/** Storage for a table in its map, and in what belongs to it. */
export function openStorage(
  spec: TableSpec,
  source: { map(name: string): BpfMap },
  own: StorageParts = {},
): TableStorage {
  const map = source.map(spec.name);
  if (spec.shape === "ordered" || spec.shape === "slots")
    return new ArrayStorage(spec, map.mmap(), {
      capacity: map.entriesMax,
      index: own.indexes?.get(spec.name),
    });
  if (spec.shape === "references") return new ReferenceStorage(map, own.programs ?? []);
  const filter = spec.filter === undefined ? undefined : new KeyFilter(source.map(spec.filter), map);
  return new MapStorage(spec, map, filter);
}

/** A hash or a trie. */
class MapStorage implements TableStorage {
  readonly capacity: number;
  readonly #spec: TableSpec;
  readonly #map: BpfMap;
  readonly #filter: KeyFilter | undefined;
  /** Entries that the map held when it was read last, and that were written since. */
  #entriesExpected = 0;

  constructor(spec: TableSpec, map: BpfMap, filter: KeyFilter | undefined) {
    this.#spec = spec;
    this.#map = map;
    this.#filter = filter;
    this.capacity = map.entriesMax;
  }

  async read(onRead?: OnRead): Promise<RawEntries> {
    const entries = await this.#map.readAll({ entriesExpected: this.#entriesExpected, onRead });
    this.#entriesExpected = entries.count;
    return entries;
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

  /**
   * Keys are in the filter before any program can see their entries. Entries of a keyed table stay where they are:
   * a program that looks for one while it is replaced might find none (bpf/lib/generation.h).
   */
  async write(keys: Uint8Array, values: Uint8Array): Promise<void> {
    await this.#filter?.add(keys);
    const most = this.#entriesExpected + keys.length / this.#spec.keySize;
    this.#entriesExpected = Math.min(most, this.capacity);
    this.#entriesExpected += keys.length / this.#spec.keySize;
    await this.#map.updateAll(keys, values, { inPlace: this.#spec.shape === "keyed" });
  }

  async remove(keys: Uint8Array): Promise<void> {
    await this.#map.removeAll(keys);
    await this.#filter?.forget(keys);
  }

  close(): void {
    this.#filter?.close();
  }
}
