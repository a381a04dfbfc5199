// Desired against observed, table by table: which kernel entries have to be written so that packets see what
// is desired. Works on packed keys with one hash join; order and longest match are turned into plain keys first.
import { bug, PenstockError } from "../base/index.ts";
import {
  entryAt,
  equalAt,
  KeyIndex,
  type PackedTable,
  packedKeySize,
  type TableSpec,
} from "../compile/index.ts";
import { forEachVisible } from "./observe.ts";
import { placeEntries } from "./place.ts";
import type { RawTable } from "./ports.ts";
import { isAtRest, isOwn, sideOffset, viewOf, visibleSide } from "./versions.ts";

/** What happens to one entry. `repair` shows packets nothing new but puts a damaged or half-written entry right. */
export type ChangeKind = "add" | "change" | "remove" | "repair";

export interface EntryChange {
  readonly kind: ChangeKind;
  /** Number of the entry in the observed table, or -1. */
  readonly observed: number;
  /** Number of the entry in the desired table, or -1 if it goes. */
  readonly desired: number;
}

export interface TableDiff {
  readonly spec: TableSpec;
  readonly observed: RawTable;
  /** Desired entries under the map's own keys: for ordered tables these are slots. */
  readonly desired: PackedTable;
  readonly changes: readonly EntryChange[];
  /** Entries that packets see now, and shall see. */
  readonly visibleBefore: number;
  readonly visibleAfter: number;
  /** Ordered tables: behind the last slot that packets see now, and shall see. */
  readonly endBefore: number;
  readonly end: number;
}

/** Compares one table. `capacity` is the number of entries that the map can hold. */
export function diffTable(
  observed: RawTable,
  wanted: PackedTable,
  at: { readonly generation: bigint; readonly capacity: number },
): TableDiff {
  const { spec } = observed;
  if (wanted.spec.name !== spec.name) throw bug(`Cannot compare ${wanted.spec.name} with ${spec.name}`);
  const desired = spec.shape === "ordered" ? placeInSlots(observed, wanted, at) : wanted;
  const changes: EntryChange[] = [];
  const index = new KeyIndex(observed.keys, spec.keySize);
  const matched = new Uint8Array(observed.count);
  for (let i = 0; i < desired.count; i++) {
    const entry = index.find(desired.keys, i * spec.keySize);
    if (entry >= 0) matched[entry] = 1;
    const kind = compareEntry(observed, entry, desired, i, at.generation);
    if (kind !== undefined) changes.push({ kind, observed: entry, desired: i });
  }
  let visibleBefore = 0;
  let endBefore = 0;
  const slots = viewOf(observed.keys);
  const view = viewOf(observed.values);
  for (let entry = 0; entry < observed.count; entry++) {
    const value = entry * spec.valueSize;
    const payload = sideOffset(spec, value, visibleSide(view, value, at.generation));
    const own = isOwn(spec, observed.values, payload);
    if (own) {
      visibleBefore++;
      if (spec.shape === "ordered")
        endBefore = Math.max(endBefore, slots.getUint32(entry * spec.keySize, true) + 1);
    }
    if (matched[entry] === 1) continue;
    const rests = isAtRest(spec, entryAt(observed.keys, spec.keySize, entry), view, value, at.generation);
    // In arrays an absent slot at rest is simply free; in other maps nothing invisible may stay behind.
    if (own) changes.push({ kind: "remove", observed: entry, desired: -1 });
    else if (!rests || !isArray(spec)) changes.push({ kind: "repair", observed: entry, desired: -1 });
  }
  return {
    spec,
    observed,
    desired,
    changes,
    visibleBefore,
    visibleAfter: desired.count,
    endBefore,
    end: spec.shape === "ordered" ? lastSlot(desired) + 1 : 0,
  };
}

/** True for tables whose entries always exist and are written in place. */
export function isArray(spec: TableSpec): boolean {
  return spec.shape === "ordered" || spec.shape === "slots";
}

function compareEntry(
  observed: RawTable,
  entry: number,
  desired: PackedTable,
  wanted: number,
  generation: bigint,
): ChangeKind | undefined {
  if (entry < 0) return "add";
  const { spec } = observed;
  const view = viewOf(observed.values);
  const value = entry * spec.valueSize;
  const payload = sideOffset(spec, value, visibleSide(view, value, generation));
  if (!isOwn(spec, observed.values, payload)) return "add";
  if (!equalAt(observed.values, payload, desired.payloads, wanted * spec.payloadSize, spec.payloadSize)) {
    return "change";
  }
  const key = entryAt(observed.keys, spec.keySize, entry);
  return isAtRest(spec, key, view, value, generation) ? undefined : "repair";
}

/** Gives every entry of an ordered table a slot, close to what the kernel has; keys become slot numbers. */
function placeInSlots(
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
  forEachVisible(observed, at.generation, (entry, payload) => {
    const identity = payload + (spec.identity?.offset ?? 0);
    identities.set(observed.values.subarray(identity, identity + size), visible * size);
    slotOf[visible++] = keys.getUint32(entry * spec.keySize, true);
  });
  const index = new KeyIndex(identities.subarray(0, visible * size), size);
  const current = new Int32Array(wanted.count).fill(-1);
  for (let i = 0; i < wanted.count; i++) {
    const found = index.find(wanted.keys, i * size);
    if (found >= 0) current[i] = slotOf[found] ?? -1;
  }
  const slots = placeEntries(current, at.capacity);
  if (slots === undefined)
    throw tableFull(spec.name, { wanted: wanted.count, capacity: at.capacity, peak: wanted.count });
  const slotKeys = new Uint8Array(wanted.count * spec.keySize);
  const view = viewOf(slotKeys);
  slots.forEach((slot, i) => {
    view.setUint32(i * spec.keySize, slot, true);
  });
  return { ...wanted, spec: { ...spec, identity: undefined }, keys: slotKeys };
}

function lastSlot(desired: PackedTable): number {
  if (desired.count === 0) return -1;
  return viewOf(desired.keys).getUint32((desired.count - 1) * desired.spec.keySize, true);
}

/** The refusal of a plan that the kernel could not hold, with the numbers. */
export function tableFull(
  table: string,
  n: { readonly wanted: number; readonly capacity: number; readonly peak: number },
): PenstockError {
  const during = n.peak > n.wanted ? `, ${n.peak} while old and new stand side by side` : "";
  return new PenstockError({
    code: "table-full",
    disposition: "stalled",
    message: `Cannot prepare ${table}: the policy needs ${n.wanted} entries${during}, and the table holds ${n.capacity}`,
    remedy: "Raise the limit in the agent's configuration (limits), or make the policy smaller",
    data: { table, wanted: n.wanted, peak: n.peak, capacity: n.capacity },
  });
}
