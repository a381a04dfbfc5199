// The kernel behind reconciling's port: loaded and taken over for work, opened from pins for looking, or none at all
// for plans on a machine that has no kernel to ask.
import { dirname } from "node:path";
import { type ObjectAbi, objectAbis } from "../abi/index.ts";
import { bug, PenstockError } from "../base/index.ts";
import {
  checkIndexRoom,
  datapathObjects,
  type KernelDatapath,
  listInterfacesAndProcessors,
  type MapSource,
  missingCapabilities,
  openDatapath,
  openPinnedDatapath,
  processorCapacities,
} from "../bpf/index.ts";
import { appliedTable } from "../compile/index.ts";
import { capacitiesFor, policyTables } from "../kinds/index.ts";
import { type Datapath, sealValue } from "../reconcile/index.ts";
import { objectDirectory } from "./places.ts";
import type { Settings } from "./settings.ts";

/** The datapath as it is pinned. */
export type PinnedDatapath = KernelDatapath<MapSource>;

/** Loads the datapath or takes over what is pinned. Throws `missing-capabilities` and what openDatapath throws. */
export async function openWorkingDatapath(settings: Settings): Promise<KernelDatapath> {
  const missing = missingCapabilities();
  if (missing.length > 0) {
    throw new PenstockError({
      code: "missing-capabilities",
      disposition: "stalled",
      message: `Cannot use the kernel's datapath: this process is without ${missing.join(", ")}`,
      remedy: "Run as root; penstock check says what else is needed",
      data: { missing },
    });
  }
  return openDatapath({
    objects: datapathObjects(objectDirectory),
    pinDirectory: settings.pinDirectory,
    tables: policyTables,
    maxEntries: capacitiesFor(settings.limits),
    eventsPerSecondMax: settings.events.perSecondMax,
    rejectsPerSecondMax: settings.rejects.perSecondMax,
    reseal: sealValue,
  });
}

/** What is pinned, for looking at it; undefined if nothing is. */
export function openInstalledDatapath(settings: Settings): PinnedDatapath | undefined {
  return openPinnedDatapath({ pinDirectory: settings.pinDirectory, tables: policyTables });
}

/** The same, where a command cannot go on without. Throws `nothing-installed`. */
export function requireInstalledDatapath(settings: Settings): PinnedDatapath {
  const datapath = openInstalledDatapath(settings);
  if (datapath !== undefined) return datapath;
  throw new PenstockError({
    code: "nothing-installed",
    disposition: "stalled",
    message: `Cannot read the datapath: nothing is installed in ${settings.pinDirectory}`,
    remedy: "Start the agent, or apply a revision: penstock apply",
    data: { pinDirectory: settings.pinDirectory },
  });
}

/** A kernel that holds nothing, with the capacity that the configuration gives it. Only for plans. */
export function emptyDatapath(settings: Settings): Datapath {
  const sizes: Readonly<Record<string, number>> = {
    ...processorCapacities(),
    ...capacitiesFor(settings.limits),
    [appliedTable.name]: 1,
  };
  const mapsOfOurs: ObjectAbi["maps"] = Object.assign({}, ...objectAbis.map(({ maps }) => maps));
  const refuse = (): never => {
    throw bug("Cannot change the kernel: this plan was made without one");
  };
  return {
    tables: policyTables,
    capacityOf: (table) => sizes[table.name] ?? 0,
    generation: () => ({ current: 0n, last: 0n }),
    takeGeneration: refuse,
    commit: refuse,
    grace: refuse,
    retire: refuse,
    read: async (spec) => ({ spec, count: 0, keys: new Uint8Array(0), values: new Uint8Array(0) }),
    lookup: refuse,
    write: refuse,
    remove: refuse,
    checkRoom: (table, entries) =>
      checkIndexRoom(table, (map) => sizes[map] ?? mapsOfOurs[map]?.maxEntries ?? 0, entries),
    endOf: () => 0,
    setEnd: refuse,
    clearCounters: refuse,
    interfaces: listInterfacesAndProcessors,
    attached: () => [],
    attach: refuse,
    detach: refuse,
  };
}

/** Where the bpf file system should be mounted. */
export function bpffsOf(settings: Settings): string {
  return dirname(settings.pinDirectory);
}
