// The versioned tables of one set of maps and the generation that packets see them at: everything of the datapath
// that a transaction writes, whatever programs look it up.
import { generationLayout, offsetOf } from "../abi/index.ts";
import { bug, PenstockError } from "../base/index.ts";
import type { TableSpec } from "../compile/index.ts";
import { waitForGracePeriod } from "./grace.ts";
import type { BpfMap } from "./map.ts";
import type { MapMemory } from "./map-memory.ts";
import { checkIndexRoom, type IndexedEntries, type TableIndex } from "./table-index.ts";
import {
  type OnRead,
  openStorage,
  type RawEntries,
  type StorageParts,
  type TableStorage,
} from "./table-storage.ts";

/** Where maps come from: an object that was loaded, or pins that somebody else made. */
export interface MapSource {
  map(name: string): BpfMap;
  close(): void;
}

/** Generations are counted in numbers of this size, for hundreds of thousands of years of commits. */
const generationMost = BigInt(Number.MAX_SAFE_INTEGER);

/** Tables in the maps of a source: the part of reconciling's port that is the same wherever the maps are from. */
export class VersionedTables {
  readonly tables: readonly TableSpec[];
  readonly #storages: ReadonlyMap<string, TableStorage>;
  readonly #ends: ReadonlyMap<string, MapMemory>;
  readonly #generation: MapMemory;
  readonly #source: MapSource;
  readonly #indexes: ReadonlyMap<string, TableIndex>;

  constructor(source: MapSource, tables: readonly TableSpec[], parts: StorageParts = {}) {
    this.tables = tables;
    this.#source = source;
    this.#indexes = parts.indexes ?? new Map();
    this.#storages = new Map(tables.map((spec) => [spec.name, openStorage(spec, source, parts)]));
    const ordered = tables.filter((spec) => spec.shape === "ordered");
    this.#ends = new Map(ordered.map(({ name }) => [name, source.map(`${name}_end`).mmap()]));
    this.#generation = source.map("generation").mmap();
  }

  capacityOf(table: TableSpec): number {
    return this.#storage(table).capacity;
  }

  /** Throws `generation-damaged` if no transaction can have taken these numbers. */
  generation(): { readonly current: bigint; readonly last: bigint } {
    const current = this.#load("current");
    const last = this.#load("last");
    if (current <= generationMost && last <= generationMost) return { current, last };
    throw new PenstockError({
      code: "generation-damaged",
      disposition: "stalled",
      message: `Cannot use the datapath: its generation stands at ${current} (last ${last}), which no transaction took`,
      remedy: "Somebody else wrote the map generation. Run penstock detach and start the agent again",
    });
  }

  takeGeneration(target: bigint): void {
    this.#store("last", target);
  }

  commit(target: bigint): void {
    this.#store("current", target);
  }

  /** Returns when no program runs any more that was running at the call. */
  async grace(): Promise<void> {
    const oldest = Number(this.#load("oldest"));
    const indexes = [...this.#indexes.values()];
    const release = indexes.map((index) => index.takeRetired());
    await waitForGracePeriod();
    for (const one of release) one();
    for (const index of indexes) index.settle(oldest);
  }

  retire(oldest: bigint): void {
    this.#store("oldest", oldest);
  }

  async read(
    table: TableSpec,
    onRead?: (sofar: RawEntries & { readonly spec: TableSpec }, from: number) => void,
  ): Promise<RawEntries & { readonly spec: TableSpec }> {
    const tell: OnRead | undefined = onRead && ((sofar, from) => onRead({ ...sofar, spec: table }, from));
    return { ...(await this.#storage(table).read(tell)), spec: table };
  }

  lookup(table: TableSpec, keys: Uint8Array): Promise<Uint8Array> {
    return this.#storage(table).lookup(keys);
  }

  write(table: TableSpec, keys: Uint8Array, values: Uint8Array): Promise<void> {
    return this.#storage(table).write(keys, values);
  }

  remove(table: TableSpec, keys: Uint8Array): Promise<void> {
    return this.#storage(table).remove(keys);
  }

  endOf(table: TableSpec): number {
    return Number(Atomics.load(this.#end(table).unsignedWords, 0));
  }

  async setEnd(table: TableSpec, end: number): Promise<void> {
    Atomics.store(this.#end(table).unsignedWords, 0, BigInt(end));
  }

  /** Half of an index is for the rules of one policy; see `checkIndexRoom`. */
  checkRoom(table: TableSpec, entries: IndexedEntries): void {
    checkIndexRoom(table, (name) => this.#source.map(name).entriesMax, entries);
  }

  /** The index before a table; undefined without one, or where tables are only looked at. */
  indexOf(table: TableSpec): TableIndex | undefined {
    return this.#indexes.get(table.name);
  }

  close(): void {
    for (const storage of this.#storages.values()) storage.close();
    for (const end of this.#ends.values()) end.close();
    for (const index of this.#indexes.values()) index.close();
    this.#generation.close();
  }

  #storage(table: TableSpec): TableStorage {
    const storage = this.#storages.get(table.name);
    if (storage === undefined) throw bug(`Cannot use table ${table.name}: it was not opened`);
    return storage;
  }

  #end(table: TableSpec): MapMemory {
    const end = this.#ends.get(table.name);
    if (end === undefined) throw bug(`Cannot bound ${table.name}: no program walks it`);
    return end;
  }

  #load(field: "current" | "last" | "oldest"): bigint {
    return Atomics.load(this.#generation.unsignedWords, offsetOf(generationLayout, field) / 8);
  }

  #store(field: "current" | "last" | "oldest", value: bigint): void {
    Atomics.store(this.#generation.unsignedWords, offsetOf(generationLayout, field) / 8, value);
  }
}
