// Ordered entries under the slots that they get: the packed table that the rest of a plan works on.
import { indexFewKeys, type PackedTable, packedKeySize, wordsOf } from "../compile/index.ts";
import { forEachVisible } from "./observe.ts";
import { placeEntries } from "./place.ts";
import type { RawTable } from "./ports.ts";
import { tableFull } from "./refusals.ts";
import { viewOf } from "./versions.ts";

/**
 * Gives every entry of an ordered table a slot, close to what the kernel has; keys become slot numbers. Throws
 * `table-full`.
 */
export function placeInSlots(
  observed: RawTable,
  wanted: PackedTable,
  at: { readonly generation: bigint; readonly capacity: number },
): PackedTable {
  const { spec } = observed;
  const size = packedKeySize(spec);
  const identities = new Uint8Array(observed.count * size);
  const slotOf = new Int32Array(observed.count).fill(-1);
  const keys = viewOf(observed.keys);
  let visible = 0;
  forEachVisible(observed, at, (entry, payload) => {
    const identity = payload + (spec.identity?.offset ?? 0);
    identities.set(observed.values.subarray(identity, identity + size), visible * size);
    slotOf[visible++] = keys.getUint32(entry * spec.keySize, true);
  });
  const index = indexFewKeys(identities.subarray(0, visible * size), size);
  const words = wordsOf(wanted.keys);
  const current = new Int32Array(wanted.count).fill(-1);
  for (let i = 0; i < wanted.count; i++) {
    const found = index.find(words, (i * size) / 4);
    if (found >= 0) current[i] = slotOf[found] ?? -1;
  }
  const slots = placeEntries(current, at.capacity);
  if (slots === undefined)
    throw tableFull(spec, { wanted: wanted.count, capacity: at.capacity, peak: wanted.count });
  const slotKeys = new Uint8Array(wanted.count * spec.keySize);
  const view = viewOf(slotKeys);
  slots.forEach((slot, i) => {
    view.setUint32(i * spec.keySize, slot, true);
  });
  return { ...wanted, spec: { ...spec, identity: undefined }, keys: slotKeys };
}
