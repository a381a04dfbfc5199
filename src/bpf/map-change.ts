// What became of a map between the version in force and this one: nothing, another capacity, another layout; and
// whether what the map holds can be carried over at all.
import { type EntryTypes, entryTypesOf, type FieldType, type MapLayout } from "../abi/index.ts";
import { PenstockError } from "../base/index.ts";
import type { TableSpec } from "../compile/index.ts";
import { MAP_TYPE, mapTypeName } from "./constants.ts";
import { type Conversion, copyBytes, planConversion } from "./convert.ts";
import type { KernelTypes } from "./kernel-types.ts";
import { type BpfMap, openMapById } from "./map.ts";
import { describeLayout } from "./object-reuse.ts";

/** One map of the version in force, and how its entries become those of this version. */
export interface MapChange {
  readonly name: string;
  readonly from: BpfMap;
  /** What the new map is made for. */
  readonly entriesMax: number;
  readonly key: Conversion;
  readonly value: Conversion;
  /** Types of the new map. */
  readonly types: EntryTypes;
  /** The policy table that lives in this map; programs do not write it then. */
  readonly table: TableSpec | undefined;
  /** In words: `fw_rules: 16,384 -> 32,768 entries`. Empty if the map can be taken over as it is. */
  readonly words: readonly string[];
}

export interface WantedMap {
  readonly layout: MapLayout;
  readonly entriesMax: number;
  readonly table: TableSpec | undefined;
}

const hashes: readonly number[] = [MAP_TYPE.hash, MAP_TYPE.lruHash];
const perCpu: readonly number[] = [MAP_TYPE.perCpuArray, MAP_TYPE.perCpuHash, MAP_TYPE.lruPerCpuHash];
const mapsOfMaps: readonly number[] = [MAP_TYPE.arrayOfMaps, MAP_TYPE.hashOfMaps];
const begunAnew: readonly number[] = [
  ...mapsOfMaps,
  MAP_TYPE.ringBuffer,
  MAP_TYPE.bloomFilter,
  MAP_TYPE.queue,
];

/** True for maps in which every processor has its own values: what programs count. */
export function isCounted(map: Pick<BpfMap, "type" | "name">): boolean {
  return perCpu.includes(map.type) && !beginsAnew(map);
}

/**
 * True for maps that hold nothing to carry over: records on their way, hints, what is derived from other maps, and what a
 * program knows of the packet that it is at (by their names, which end in `_scratch`).
 */
export function beginsAnew(map: Pick<BpfMap, "type" | "name">): boolean {
  return begunAnew.includes(map.type) || map.name.endsWith("_scratch");
}

export function isArrayMap(map: BpfMap): boolean {
  return map.type === MAP_TYPE.array || map.type === MAP_TYPE.perCpuArray;
}

/** Compares a map in force with what this version wants. Throws `migration-refused` if no entry could be carried over. */
export function compareMap(from: BpfMap, wanted: WantedMap, kernelTypes: KernelTypes): MapChange {
  const { layout, entriesMax, table } = wanted;
  const { name } = layout;
  const existing = kernelTypes.of(from);
  const types = entryTypesOf(layout);
  const info = from.info();
  const sizes = { key: [info.keySize, layout.keySize], value: [info.valueSize, layout.valueSize] } as const;
  const key = convertPart(existing.key, types.key, { map: from, sizes: sizes.key });
  const value = convertPart(existing.value, types.value, { map: from, sizes: sizes.value });
  const words: string[] = [];
  if (from.entriesMax !== entriesMax)
    words.push(`${formatCount(from.entriesMax)} -> ${formatCount(entriesMax)} entries`);
  words.push(...key.changes, ...value.changes);
  if (words.length === 0 && holdsOtherMaps(from, layout)) words.push("what it holds has another layout");
  const before = describeLayout(info);
  const after = describeLayout({ ...layout, maxEntries: entriesMax });
  if (words.length === 0 && before !== after) words.push(`is ${after} and was ${before}`);
  const change = {
    name,
    from,
    entriesMax,
    key,
    value,
    types,
    table,
    words: words.map((w) => `${name}: ${w}`),
  };
  if (words.length > 0) refuseUnrelated(change, layout);
  return change;
}

/** Maps of a map must all be alike: its first one tells what the program was made for. */
function holdsOtherMaps(from: BpfMap, layout: MapLayout): boolean {
  if (!mapsOfMaps.includes(from.type) || layout.inner === undefined) return false;
  const id = from.lookup(new Uint8Array(from.keyBytes));
  if (id === undefined) return false;
  const inner = openMapById(new DataView(id.buffer).getUint32(0, true));
  try {
    const { keySize, valueSize, type } = inner.info();
    return (
      keySize !== layout.inner.keySize || valueSize !== layout.inner.valueSize || type !== layout.inner.type
    );
  } finally {
    inner.close();
  }
}

function convertPart(
  from: FieldType | undefined,
  to: FieldType | undefined,
  { map, sizes }: { readonly map: BpfMap; readonly sizes: readonly [number, number] },
): Conversion {
  if (from !== undefined && to !== undefined) return planConversion(from, to);
  if (sizes[0] === sizes[1] || beginsAnew(map)) return copyBytes();
  throw migrationRefused(map.name, `the layout of its ${sizes[0]} bytes is not known`);
}

function refuseUnrelated(change: MapChange, layout: MapLayout): void {
  const { from, key } = change;
  const alike = from.type === layout.type || (hashes.includes(from.type) && hashes.includes(layout.type));
  if (!alike)
    throw migrationRefused(
      from.name,
      `it is of type ${mapTypeName(from.type)}, not ${mapTypeName(layout.type)}`,
    );
  // The length of a prefix counts the bits before it.
  if (from.type === MAP_TYPE.lpmTrie && key.changes.length > 0)
    throw migrationRefused(
      from.name,
      `the key of a prefix table has another layout (${key.changes.join(", ")})`,
    );
  if (isCounted(from) && key.changes.length > 0)
    throw migrationRefused(
      from.name,
      `the key of what is counted has another layout (${key.changes.join(", ")})`,
    );
  if (from.type === MAP_TYPE.programArray) throw migrationRefused(from.name, "it holds programs");
}

const remedy =
  "Run the version that made it; or run penstock detach and start the agent again: until it has applied the policy, packets pass unjudged";

/** The error for what cannot be carried over from one layout to another. */
export function migrationRefused(map: string, state: string): PenstockError {
  return new PenstockError({
    code: "migration-refused",
    disposition: "stalled",
    message: `Cannot take over map ${map}: ${state}`,
    remedy,
    data: { map },
  });
}

/** The error for state that this version has no place for. */
export function downgradeRefused(what: string, state: string): PenstockError {
  return new PenstockError({
    code: "downgrade-refused",
    disposition: "stalled",
    message: `Cannot take over ${what}: ${state}`,
    remedy,
    data: { what },
  });
}

/** The error for a capacity below what is there. */
export function capacityRefused(change: MapChange, present: number): PenstockError {
  const { name, entriesMax } = change;
  return new PenstockError({
    code: "migration-refused",
    disposition: "stalled",
    message: `Cannot make map ${name} smaller: ${formatCount(entriesMax)} entries are wanted, ${formatCount(present)} are in use`,
    remedy: "Raise the limit in the agent's configuration, or shorten the policy first",
    data: { map: name, wanted: entriesMax, present },
  });
}

/** `1,000,000` */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}
