// One open BPF map: raw bytes in, raw bytes out. What the bytes mean is the business of the codecs; this file
// only makes sure that the kernel never reads or writes past them.
import { bug } from "../base/index.ts";
import { MAP_FLAG, MAP_TYPE } from "./constants.ts";
import { type Descriptor, ownDescriptor } from "./descriptor.ts";
import { ERRNO } from "./errno.ts";
import { checkResult } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";
import { type BatchOptions, removeEntries, updateEntries, updateError } from "./map-batch.ts";
import { type MapMemory, mapArrayMemory } from "./map-memory.ts";
import { type OnChunk, type ReadOptions, readEntries, type ScannedEntries, scanEntries } from "./map-scan.ts";
import { type MapInfo, readMapInfo } from "./object-info.ts";
import { openPin, pinObject } from "./pins.ts";

/** `any` creates or replaces, `noexist` only creates (EEXIST), `exist` only replaces (ENOENT). */
export type UpdateMode = "any" | "noexist" | "exist";

const UPDATE_FLAGS: Readonly<Record<UpdateMode, number>> = { any: 0, noexist: 1, exist: 2 };

const PER_CPU: readonly number[] = [MAP_TYPE.perCpuHash, MAP_TYPE.perCpuArray, MAP_TYPE.lruPerCpuHash];

/** An open map. Close it when done; what is pinned lives on. */
export class BpfMap {
  /** Full name; the kernel keeps only 15 bytes of it. */
  readonly name: string;
  readonly type: number;
  readonly keyBytes: number;
  /**
   * Bytes of one value as user space sees it: the value's size, or for a per-CPU map `valueStride` times
   * `cpuCount`, one value after the other in the order of CPU numbers.
   */
  readonly valueBytes: number;
  /** Bytes from one value to the next where values lie side by side: the value's size rounded up to 8. */
  readonly valueStride: number;
  /** Values in one entry: the possible CPUs for a per-CPU map, else 1. */
  readonly cpuCount: number;
  readonly entriesMax: number;
  readonly flags: number;
  readonly id: number;
  readonly #descriptor: Descriptor;

  /** Takes over `descriptor`; `name` overrides the kernel's shortened name. */
  constructor(descriptor: Descriptor, name?: string) {
    const info = readMapInfo(descriptor.fd, `map ${name ?? "without a name"}`);
    this.#descriptor = descriptor;
    this.name = name ?? info.name;
    this.id = info.id;
    this.type = info.type;
    this.keyBytes = info.keySize;
    this.valueStride = (info.valueSize + 7) & ~7;
    this.cpuCount = PER_CPU.includes(info.type) ? possibleCpus() : 1;
    this.valueBytes = PER_CPU.includes(info.type) ? this.valueStride * this.cpuCount : info.valueSize;
    this.entriesMax = info.maxEntries;
    this.flags = info.flags;
  }

  /** The descriptor's number. Throws `invariant-broken` once the map was closed. */
  get fd(): number {
    return this.#descriptor.fd;
  }

  /** Fresh facts from the kernel. */
  info(): MapInfo {
    return readMapInfo(this.fd, this.#label());
  }

  /** The value of `key`, in `into` or in new bytes; undefined if there is no such key. */
  lookup(key: Uint8Array, into?: Uint8Array): Uint8Array | undefined {
    this.#checkSize("key", key, this.keyBytes);
    const value = into ?? new Uint8Array(this.valueBytes);
    this.#checkSize("value", value, this.valueBytes);
    const result = libbpf().bpf_map_lookup_elem(this.fd, key, value);
    if (result === -ERRNO.ENOENT) return undefined;
    checkResult(result, { action: "look up a key of", object: this.#label(), call: "bpf_map_lookup_elem" });
    return value;
  }

  /** Writes one entry. Throws `kernel-call-failed`: E2BIG or ENOSPC when full, EEXIST and ENOENT by `mode`. */
  update(key: Uint8Array, value: Uint8Array, mode: UpdateMode = "any"): void {
    this.#checkSize("key", key, this.keyBytes);
    this.#checkSize("value", value, this.valueBytes);
    const result = libbpf().bpf_map_update_elem(this.fd, key, value, UPDATE_FLAGS[mode]);
    if (result < 0) throw updateError(this, -result, { call: "bpf_map_update_elem" });
  }

  /** Adds a value to a map without keys (a Bloom filter). Throws `kernel-call-failed`. */
  push(value: Uint8Array): void {
    this.#checkSize("value", value, this.valueBytes);
    const result = libbpf().bpf_map_update_elem(this.fd, null, value, 0);
    if (result < 0) throw updateError(this, -result, { call: "bpf_map_update_elem" });
  }

  /** Removes one entry; false if there was none. */
  remove(key: Uint8Array): boolean {
    this.#checkSize("key", key, this.keyBytes);
    const result = libbpf().bpf_map_delete_elem(this.fd, key);
    if (result === -ERRNO.ENOENT) return false;
    checkResult(result, { action: "remove a key of", object: this.#label(), call: "bpf_map_delete_elem" });
    return true;
  }

  /** Hands every entry to `onChunk`, in packed chunks. See scanEntries. */
  scan(onChunk: OnChunk, options?: BatchOptions): Promise<number> {
    return scanEntries(this, onChunk, options);
  }

  /** Every entry, packed. See readEntries. */
  readAll(options?: ReadOptions): Promise<ScannedEntries> {
    return readEntries(this, options);
  }

  /** Writes packed entries (n times `keyBytes`, n times `valueBytes`). See updateEntries. */
  updateAll(keys: Uint8Array, values: Uint8Array, options?: BatchOptions): Promise<number> {
    return updateEntries(this, { keys, values }, options);
  }

  /** Removes packed keys; keys that are not there are passed over. See removeEntries. */
  removeAll(keys: Uint8Array, options?: BatchOptions): Promise<number> {
    return removeEntries(this, keys, options);
  }

  /** The values of an array map with BPF_F_MMAPABLE as memory: a store is seen by programs at once. */
  mmap(): MapMemory {
    const mapable = this.type === MAP_TYPE.array && (this.flags & MAP_FLAG.mmapable) !== 0;
    if (!mapable) throw bug(`Cannot mmap ${this.#label()}: it is not an array with BPF_F_MMAPABLE`);
    return mapArrayMemory(this);
  }

  /** Pins the map at `path`, replacing what is pinned there. */
  pin(path: string): void {
    pinObject(this.fd, this.#label(), path);
  }

  close(): void {
    this.#descriptor.close();
  }

  #label(): string {
    return `map ${this.name}`;
  }

  #checkSize(what: string, bytes: Uint8Array, expected: number): void {
    if (bytes.length === expected) return;
    throw bug(`Cannot use ${this.#label()}: a ${what} has ${bytes.length} bytes, not ${expected}`);
  }
}

/** Opens the map pinned at `path`; undefined if nothing is pinned there. */
export function openPinnedMap(path: string, name?: string): BpfMap | undefined {
  const descriptor = openPin(path, `map ${name ?? path.slice(path.lastIndexOf("/") + 1)}`);
  return descriptor === undefined ? undefined : adoptMap(descriptor, name);
}

/** Opens the map with this id, as found in a map of maps. Throws `kernel-call-failed`. */
export function openMapById(id: number, name?: string): BpfMap {
  const call = "bpf_map_get_fd_by_id";
  const fd = checkResult(libbpf()[call](id), { action: "open", object: `map with id ${id}`, call });
  return adoptMap(ownDescriptor(fd, `map with id ${id}`), name);
}

export interface MapLayout {
  readonly name: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly entriesMax: number;
  readonly flags?: number;
  /** For map-in-map types: a map of the layout of the inner maps. */
  readonly inner?: BpfMap;
  /** map_extra: hash functions of a Bloom filter. */
  readonly extra?: number;
}

/** Makes a map that belongs to no object file. Throws `kernel-call-failed`. */
export function createMap(layout: MapLayout): BpfMap {
  const { name, type, keySize, valueSize, entriesMax } = layout;
  // struct bpf_map_create_opts: sz at 0, inner_map_fd at 24, map_flags at 28, map_extra at 32.
  const opts = new DataView(new ArrayBuffer(48));
  opts.setBigUint64(0, 48n, true);
  opts.setUint32(24, layout.inner?.fd ?? 0, true);
  opts.setUint32(28, layout.flags ?? 0, true);
  opts.setBigUint64(32, BigInt(layout.extra ?? 0), true);
  const call = "bpf_map_create";
  const kernelName = name.slice(0, 15);
  const fd = libbpf()[call](type, kernelName, keySize, valueSize, entriesMax, new Uint8Array(opts.buffer));
  checkResult(fd, { action: "create", object: `map ${name}`, call });
  return adoptMap(ownDescriptor(fd, `map ${name}`), name);
}

/** Closes the descriptor if it turns out not to be a usable map. */
function adoptMap(descriptor: Descriptor, name: string | undefined): BpfMap {
  try {
    return new BpfMap(descriptor, name);
  } catch (cause) {
    descriptor.close();
    throw cause;
  }
}

let cpus: number | undefined;

/** Possible CPUs: the number of values in an entry of a per-CPU map. */
export function possibleCpus(): number {
  const call = "libbpf_num_possible_cpus";
  cpus ??= checkResult(libbpf()[call](), { action: "count", object: "possible CPUs", call });
  return cpus;
}
