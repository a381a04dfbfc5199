// Carries what a map holds into a new map of another layout or capacity. Policy, and whatever else must be there when
// the first packet meets the new program, is copied before; what programs count is added afterwards, when no program
// counts in the old map any more.
import { type FieldType, sizeOfType } from "../abi/index.ts";
import { startPace } from "../base/index.ts";
import type { TableSpec } from "../compile/index.ts";
import { isZero, visibleSide } from "./convert.ts";
import { CountAdder } from "./count-adder.ts";
import type { BpfMap } from "./map.ts";
import {
  beginsAnew,
  capacityRefused,
  downgradeRefused,
  isArrayMap,
  isCounted,
  type MapChange,
} from "./map-change.ts";
import type { ScannedEntries } from "./map-scan.ts";

export interface CarryOptions {
  /** By which packets are judged: it says which side of an entry they see. */
  readonly generation: bigint;
  /** Puts right what a value says about itself (sums), after it was converted. */
  readonly reseal?: ((table: TableSpec, key: Uint8Array, value: Uint8Array) => void) | undefined;
}

/**
 * Copies every entry into the empty map `to`; counts are left for `addCounts`, but it is made sure that they fit.
 * Throws `migration-refused` if there are too many, `downgrade-refused` if one uses what the new layout lacks.
 */
export async function copyEntries(change: MapChange, to: BpfMap, options: CarryOptions): Promise<void> {
  const { from } = change;
  if (beginsAnew(from)) return;
  const used = await readUsed(from);
  const present = isArrayMap(from) ? highestIndex(used) + 1 : used.count;
  const squeezes = change.table?.shape === "ordered" && present > change.entriesMax;
  if (present > change.entriesMax && !squeezes) throw capacityRefused(change, present);
  if (isCounted(from)) return;
  const converted = await convertAll(change, used, options);
  const { keys, values } = squeezes ? squeeze(change, converted, options.generation) : converted;
  await to.updateAll(keys, values);
}

/**
 * Adds what is counted in `change.from` to `to`, in which the new program counts already, and takes it out of `from`:
 * whoever is killed meanwhile can begin again, and counts one entry twice at worst. Nobody else may write `from` any
 * more. What processors counted one by one becomes the count of one of them.
 */
export async function addCounts(change: MapChange, to: BpfMap): Promise<void> {
  const { from, types } = change;
  const used = await readUsed(from);
  const words = types.value === undefined ? [] : countedWords(types.value, 0);
  const adder = new CountAdder(to, words);
  const pace = startPace(`add the counts of map ${from.name}`);
  try {
    for (let i = 0; i < used.count; i++) {
      const [key, value] = entryOf(from, used, i);
      const counted = convertCounts(change, value, to);
      const fits = !isArrayMap(to) || indexOf(key) < to.entriesMax;
      if (fits && !adder.add(key, sumOf(counted, words, to))) to.update(key, counted);
      if (isArrayMap(from)) from.update(key, new Uint8Array(from.valueBytes));
      else from.remove(key);
      if (i % 256 === 255) await pace.step(i);
    }
  } finally {
    adder.close();
  }
}

/** Copies what programs have entered into a hash since it was copied. What the new program knows is the newer. */
export async function addMissing(change: MapChange, to: BpfMap, options: CarryOptions): Promise<void> {
  const converted = await convertAll(change, await readUsed(change.from), options);
  const pace = startPace(`complete map ${to.name}`);
  for (let i = 0; i < converted.count; i++) {
    const [key, value] = entryOf(to, converted, i);
    if (to.lookup(key) === undefined) to.update(key, value);
    if (i % 256 === 255) await pace.step(i);
  }
}

/** Entries in which anything stands, packed: those of an array that are all zero are as good as new. */
export async function readUsed(map: BpfMap): Promise<ScannedEntries> {
  const all = await map.readAll();
  if (!isArrayMap(map)) return all;
  const { keys, values } = all;
  let count = 0;
  for (let i = 0; i < all.count; i++) {
    const at = i * map.valueBytes;
    if (isZero(values, at, map.valueBytes)) continue;
    keys.copyWithin(count * map.keyBytes, i * map.keyBytes, (i + 1) * map.keyBytes);
    values.copyWithin(count * map.valueBytes, at, at + map.valueBytes);
    count++;
  }
  return {
    count,
    keys: keys.subarray(0, count * map.keyBytes),
    values: values.subarray(0, count * map.valueBytes),
  };
}

type EntrySizes = Pick<BpfMap, "keyBytes" | "valueBytes">;

function entryOf(sizes: EntrySizes, { keys, values }: ScannedEntries, i: number): [Uint8Array, Uint8Array] {
  const { keyBytes, valueBytes } = sizes;
  return [
    keys.subarray(i * keyBytes, (i + 1) * keyBytes),
    values.subarray(i * valueBytes, (i + 1) * valueBytes),
  ];
}

function highestIndex({ keys, count }: ScannedEntries): number {
  let most = -1;
  for (let i = 0; i < count; i++) most = Math.max(most, indexOf(keys.subarray(i * 4)));
  return most;
}

function indexOf(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset).getUint32(0, true);
}

/** Every entry as the new layout has it. Throws `downgrade-refused` if one uses what that lacks. */
export async function convertAll(
  change: MapChange,
  used: ScannedEntries,
  { generation, reseal }: CarryOptions,
): Promise<ScannedEntries> {
  const { from, name, table } = change;
  const { count } = used;
  const sizes = sizesOf(change);
  const converted = {
    count,
    keys: new Uint8Array(count * sizes.keyBytes),
    values: new Uint8Array(count * sizes.valueBytes),
  };
  const pace = startPace(`convert map ${name}`);
  for (let i = 0; i < count; i++) {
    const [oldKey, oldValue] = entryOf(from, used, i);
    const [key, value] = entryOf(sizes, converted, i);
    const misfit = change.key.run(oldKey, key, generation) ?? change.value.run(oldValue, value, generation);
    if (misfit !== undefined)
      throw downgradeRefused(`map ${name}`, `this version has no room for what its field ${misfit} holds`);
    if (table !== undefined) reseal?.(table, key, value);
    if (i % 1024 === 1023) await pace.step(i);
  }
  return converted;
}

function sizesOf({ types, from }: MapChange): EntrySizes {
  return {
    keyBytes: types.key === undefined ? from.keyBytes : sizeOfType(types.key),
    valueBytes: types.value === undefined ? from.valueBytes : sizeOfType(types.value),
  };
}

/** Entries that packets walk in order may have gaps between them: only their order means something. */
function squeeze(change: MapChange, all: ScannedEntries, generation: bigint): ScannedEntries {
  const { table, entriesMax } = change;
  if (table === undefined) return all;
  const seen: { readonly slot: number; readonly value: Uint8Array }[] = [];
  for (let i = 0; i < all.count; i++) {
    const [key, value] = entryOf(sizesOf(change), all, i);
    const side = visibleSide(new DataView(value.buffer, value.byteOffset, value.byteLength), generation);
    const presence = value[table.sideOffset + side * table.payloadSize + table.presenceOffset];
    if (presence !== 0) seen.push({ slot: indexOf(key), value });
  }
  const count = seen.length;
  if (count > entriesMax) throw capacityRefused(change, count);
  seen.sort((a, b) => a.slot - b.slot);
  const room = Math.min(entriesMax, count * 2);
  const slots = Uint32Array.from(seen, (_, i) => Math.floor(((i + 0.5) * room) / count));
  return { count, keys: new Uint8Array(slots.buffer), values: Buffer.concat(seen.map(({ value }) => value)) };
}

function convertCounts(change: MapChange, value: Uint8Array, to: BpfMap): Uint8Array {
  const { from } = change;
  const converted = new Uint8Array(to.valueBytes);
  for (let cpu = 0; cpu < to.cpuCount; cpu++) {
    const before = value.subarray(cpu * from.valueStride, (cpu + 1) * from.valueStride);
    change.value.run(before, converted.subarray(cpu * to.valueStride, (cpu + 1) * to.valueStride), 0n);
  }
  return converted;
}

/** Where 64-bit numbers stand that count something: all but points in time, which their unit tells. */
function countedWords(type: FieldType, at: number): number[] {
  switch (type.kind) {
    case "uint":
      return type.bits === 64 ? [at] : [];
    case "struct":
      return type.layout.fields
        .filter(({ name, padding }) => padding !== true && !name.endsWith("Ns"))
        .flatMap((field) => countedWords(field.type, at + field.offset));
    case "array": {
      const step = sizeOfType(type.element);
      return Array.from({ length: type.count }, (_, i) => countedWords(type.element, at + i * step)).flat();
    }
    default:
      return [];
  }
}

/** For each word, the sum over all processors. */
function sumOf(counted: Uint8Array, words: readonly number[], { cpuCount, valueStride }: BpfMap): bigint[] {
  const view = new DataView(counted.buffer, counted.byteOffset, counted.byteLength);
  return words.map((word) => {
    let sum = 0n;
    for (let cpu = 0; cpu < cpuCount; cpu++) sum += view.getBigUint64(cpu * valueStride + word, true);
    return BigInt.asUintN(64, sum);
  });
}
