// The kernel as reconciling sees it: policy tables, the generation word, programs on interfaces. Opens the objects,
// takes over what is pinned, and pins what is new, so that everything stays in force without this process.
import {
  counterLayout,
  fwSettingsLayout,
  mergeAbis,
  type ObjectAbi,
  objectAbis,
  offsetOf,
} from "../abi/index.ts";
import type { PenstockError } from "../base/index.ts";
import type { Attachment, TableSpec } from "../compile/index.ts";
import { type AttachedProgram, Attachments } from "./attachments.ts";
import { listInterfacesAndProcessors, processorCapacities } from "./interfaces.ts";
import { type FileLock, lockDirectory } from "./lock.ts";
import { type BpfMap, openPinnedMap } from "./map.ts";
import type { MapMemory } from "./map-memory.ts";
import { mapPinPath, programPinPath } from "./object-reuse.ts";
import { type DatapathObject, type ObjectSet, proveLayouts } from "./object-set.ts";
import { pinsForeign, pinsIncomplete } from "./pin-errors.ts";
import { finishPins, unpinAll } from "./pins.ts";
import { type BpfProgram, openPinnedProgram } from "./program.ts";
import type { TableIndex } from "./table-index.ts";
import { type MapSource, VersionedTables } from "./tables.ts";
import { type TcChain, tcCommands } from "./tc-chain.ts";
import { createTestRunner } from "./test-run.ts";
import { type InstallOptions, installObjects } from "./upgrade.ts";

export interface DatapathOptions {
  /** The compiled programs, see `datapathObjects`. They share maps by name. */
  readonly objects: readonly DatapathObject[];
  /** A directory on bpffs that belongs to this instance. */
  readonly pinDirectory: string;
  readonly tables: readonly TableSpec[];
  /** Capacity by map name; maps that are not named keep the object's. */
  readonly maxEntries: Readonly<Record<string, number>>;
  /** Bound on packet events of each CPU. */
  readonly eventsPerSecondMax: number;
  /** Bound on answers to rejected packets, of all CPUs together. */
  readonly rejectsPerSecondMax: number;
  /** Recomputes what a table's value says about itself, after its layout was changed. */
  readonly reseal?: InstallOptions["reseal"];
  /** Where TC programs stand; that of the programs that this build was made for unless tests say otherwise. */
  readonly chain?: TcChain;
  /** Is told each step of an upgrade; for tests. */
  readonly observe?: InstallOptions["observe"];
}

/** One instance of the datapath in the kernel: its tables, generation, counters and attachments. */
export class KernelDatapath<Source extends MapSource = ObjectSet> extends VersionedTables {
  readonly object: Source;
  readonly #pinDirectory: string;
  readonly #settings: MapMemory;
  readonly #attachments: Attachments;
  readonly #installed: ReadonlyMap<string, BpfProgram>;
  /** What became other than it was when this version was put in force, one sentence each. */
  readonly changes: readonly string[];
  /** Held by whoever may change what is pinned. */
  readonly #lock: FileLock | undefined;

  /** `installed` are the programs that links run, or shall run. */
  constructor(
    object: Source,
    options: Pick<DatapathOptions, "tables" | "pinDirectory" | "chain">,
    installed: ReadonlyMap<string, BpfProgram>,
    owned: {
      readonly lock?: FileLock;
      readonly changes?: readonly string[];
      readonly indexes?: ReadonlyMap<string, TableIndex>;
    } = {},
  ) {
    const { indexes = new Map() } = owned;
    super(object, options.tables, { programs: [...installed.values()], indexes });
    this.#lock = owned.lock;
    this.object = object;
    this.#pinDirectory = options.pinDirectory;
    this.#settings = object.map("fw_settings").mmap();
    this.#installed = installed;
    this.#attachments = new Attachments(options.pinDirectory, installed, options.chain);
    // Only who holds the lock may change what is attached.
    const back = owned.lock === undefined ? [] : this.#attachments.finishSwitches();
    this.changes = [...(owned.changes ?? []), ...back];
  }

  /** Bounds packet events of each CPU; 0 sends none. */
  boundEvents(perSecondMax: number): void {
    this.#set("eventsPerSecond", perSecondMax);
  }

  /** Bounds answers to rejected packets, of all CPUs together; 0 sends none. */
  boundRejects(perSecondMax: number): void {
    this.#set("rejectsPerSecond", perSecondMax);
  }

  #set(setting: "eventsPerSecond" | "rejectsPerSecond", value: number): void {
    const words = new Uint32Array(this.#settings.bytes.buffer);
    Atomics.store(words, offsetOf(fwSettingsLayout, setting) / 4, value);
  }

  async clearCounters(ruleIds: readonly number[]): Promise<void> {
    const map = this.object.map("rule_counters");
    // Somebody else may have named an id that no counter has.
    const ids = Uint32Array.from(ruleIds.filter((id) => id < map.entriesMax));
    await map.updateAll(new Uint8Array(ids.buffer), new Uint8Array(ids.length * map.valueBytes));
  }

  /** Packets and bytes by index of a counter map (`rule_counters`, `fw_reasons`), summed over CPUs. */
  async readCounters(name: string): Promise<{ readonly packets: bigint; readonly bytes: bigint }[]> {
    const map: BpfMap = this.object.map(name);
    const { count, keys, values } = await map.readAll();
    const index = new DataView(keys.buffer, keys.byteOffset);
    const view = new DataView(values.buffer, values.byteOffset);
    const sums = Array.from({ length: map.entriesMax }, () => ({ packets: 0n, bytes: 0n }));
    for (let i = 0; i < count; i++) {
      const sum = { packets: 0n, bytes: 0n };
      for (let cpu = 0; cpu < map.cpuCount; cpu++) {
        const at = i * map.valueBytes + cpu * map.valueStride;
        sum.packets += view.getBigUint64(at + offsetOf(counterLayout, "packets"), true);
        sum.bytes += view.getBigUint64(at + offsetOf(counterLayout, "bytes"), true);
      }
      sums[index.getUint32(i * map.keyBytes, true)] = sum;
    }
    return sums;
  }

  /** A program by its name. Throws `pins-incomplete` if it is not there. */
  program(name: string): BpfProgram {
    return this.#installed.get(name) ?? throwError(pinsIncomplete(this.#pinDirectory, [`program ${name}`]));
  }

  interfaces(): ReturnType<typeof listInterfacesAndProcessors> {
    return listInterfacesAndProcessors();
  }

  attached(): readonly AttachedProgram[] {
    // Interfaces come and go: who may change pins tidies up whenever it looks.
    if (this.#lock !== undefined) this.#attachments.dropDead();
    return this.#attachments.list();
  }

  attach(attachment: Attachment): (() => void) | undefined {
    return this.#attachments.attach(attachment);
  }

  detach(program: string, index: number): void {
    this.#attachments.detach(program, index);
  }

  /** Takes everything out of the kernel: programs from interfaces first, then every pin. */
  uninstall(): { readonly detached: number; readonly unpinned: number } {
    const { detached, unpinned } = removeInstalled(this.#pinDirectory);
    return { detached: detached.length, unpinned };
  }

  /** Lets go of everything; what is pinned stays in force. */
  override close(): void {
    super.close();
    this.#settings.close();
    for (const program of this.#installed.values()) program.close();
    this.object.close();
    this.#lock?.release();
  }
}

/**
 * Loads the datapath in place of whatever version is pinned, see upgrade.ts. Throws what `installObjects` throws,
 * `object-mismatch` if an object is not the one that this build was made for, and `layout-conflict` if objects cannot
 * share a map.
 */
export async function openDatapath(options: DatapathOptions): Promise<KernelDatapath> {
  const { pinDirectory, objects } = options;
  const maxEntries = { ...ofMaps(objects, processorCapacities()), ...options.maxEntries };
  for (const object of objects) proveLayouts(object);
  const abi = mergeAbis(objects.map((object) => object.abi));
  // Two agents with different run directories could otherwise share the pins, and each other's generations.
  const lock = lockDirectory(pinDirectory);
  try {
    finishPins(pinDirectory);
    new Attachments(pinDirectory, new Map()).dropDead();
    const { object, programs, changes, indexes } = await installObjects({ ...options, maxEntries, abi });
    try {
      const datapath = new KernelDatapath(object, options, programs, { lock, changes, indexes });
      datapath.boundEvents(options.eventsPerSecondMax);
      datapath.boundRejects(options.rejectsPerSecondMax);
      takeOverTimer(object);
      return datapath;
    } catch (cause) {
      object.close();
      throw cause;
    }
  } catch (cause) {
    lock.release();
    throw cause;
  }
}

/** The capacities of maps that the objects have: tests open others than those that ship. */
function ofMaps(
  objects: readonly DatapathObject[],
  capacities: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  const has = (name: string) => objects.some(({ abi }) => Object.hasOwn(abi.maps, name));
  return Object.fromEntries(Object.entries(capacities).filter(([name]) => has(name)));
}

/**
 * Connections end by a timer that runs in the program which set it, over that program's maps: it has to be one of this
 * version. The program takes keys of connections behind 16 bytes; there are none.
 */
function takeOverTimer(object: { readonly programs: ReadonlyMap<string, BpfProgram> }): void {
  const program = object.programs.get(tcCommands.adopt);
  if (program !== undefined) createTestRunner(program).run(new Uint8Array(16));
}

/**
 * The datapath that is pinned, for looking at it: loads, attaches and pins nothing. Undefined if none is pinned.
 * Throws `kernel-call-failed` without the right to open pins, `pins-incomplete` if some maps are missing,
 * `pins-foreign` if another version made them.
 */
export function openPinnedDatapath(
  options: Pick<DatapathOptions, "tables" | "pinDirectory"> & {
    /** What the objects are together; those of this build unless tests say otherwise. */
    readonly abi?: ObjectAbi;
  },
): KernelDatapath<MapSource> | undefined {
  const { pinDirectory, abi = mergeAbis(objectAbis) } = options;
  const maps = new Map<string, BpfMap>();
  const close = () => {
    for (const map of maps.values()) map.close();
  };
  const missing: string[] = [];
  const foreign: string[] = [];
  for (const { name, keySize, valueSize } of Object.values(abi.maps)) {
    const map = openPinnedMap(mapPinPath(pinDirectory, name), name);
    if (map === undefined) {
      missing.push(name);
      continue;
    }
    maps.set(name, map);
    const info = map.info();
    if (info.keySize !== keySize || info.valueSize !== valueSize) foreign.push(name);
  }
  if (maps.size === 0) return undefined;
  try {
    if (foreign.length > 0) throw pinsForeign(pinDirectory, foreign);
    if (missing.length > 0) throw pinsIncomplete(pinDirectory, missing);
    const map = (name: string) => maps.get(name) ?? throwError(pinsIncomplete(pinDirectory, [name]));
    return new KernelDatapath<MapSource>({ map, close }, options, openPinnedPrograms(pinDirectory, abi));
  } catch (cause) {
    close();
    throw cause;
  }
}

interface Uninstalled {
  readonly detached: readonly AttachedProgram[];
  /** How many pins there were. */
  readonly unpinned: number;
}

/**
 * Takes everything of this directory out of the kernel, whatever version made it: programs from their interfaces
 * first, then every pin. From then on packets pass unjudged. Throws `already-running` while an agent works with it.
 */
export function uninstallDatapath(pinDirectory: string): Uninstalled {
  const lock = lockDirectory(pinDirectory);
  try {
    return removeInstalled(pinDirectory);
  } finally {
    lock.release();
  }
}

/** For whoever holds the directory's lock. */
function removeInstalled(pinDirectory: string): Uninstalled {
  const attachments = new Attachments(pinDirectory, new Map());
  const detached = attachments.list();
  for (const { program, index } of detached) attachments.detach(program, index);
  return { detached, unpinned: unpinAll(pinDirectory) };
}

function openPinnedPrograms(pinDirectory: string, abi: ObjectAbi): Map<string, BpfProgram> {
  const programs = new Map<string, BpfProgram>();
  for (const { name } of abi.programs) {
    const program = openPinnedProgram(programPinPath(pinDirectory, name), name);
    if (program !== undefined) programs.set(name, program);
  }
  return programs;
}

function throwError(error: PenstockError): never {
  throw error;
}
