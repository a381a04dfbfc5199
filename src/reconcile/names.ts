// Ids and names, as the kernel's directory has them.
import {
  decodeDirectoryEntry,
  directoryTable,
  entryAt,
  type IdSpace,
  type KnownId,
} from "../compile/index.ts";
import type { TableDiff } from "./diff.ts";
import { forEachVisible, type ObservedState } from "./observe.ts";

/** All ids that the current generation uses. */
export function knownIds(observed: ObservedState): KnownId[] {
  const raw = observed.tables.get(directoryTable.name);
  const known: KnownId[] = [];
  if (raw === undefined) return known;
  forEachVisible(raw, observed, (entry, at) => {
    const key = entryAt(raw.keys, directoryTable.keySize, entry);
    const id = decodeDirectoryEntry(key, raw.values.subarray(at, at + directoryTable.payloadSize));
    if (id !== undefined) known.push(id);
  });
  return known;
}

/** Looks names up among the observed ids. */
export function namesIn(observed: ObservedState): (space: IdSpace, id: number) => string | undefined {
  const names = new Map(knownIds(observed).map(({ space, id, name }) => [`${space} ${id}`, name]));
  return (space, id) => names.get(`${space} ${id}`);
}

/** Rule ids that the diffs give a new meaning: their counters must start at zero. */
export function freshRuleIds(diffs: readonly TableDiff[]): number[] {
  const diff = diffs.find((d) => d.spec.name === directoryTable.name);
  if (diff === undefined) return [];
  const fresh: number[] = [];
  for (let n = 0; n < diff.changes.count; n++) {
    const i = diff.changes.desiredAt(n);
    if (i < 0 || diff.changes.kindAt(n) === "repair") continue;
    const key = entryAt(diff.desired.keys, directoryTable.keySize, i);
    const payload = entryAt(diff.desired.payloads, directoryTable.payloadSize, i);
    const id = decodeDirectoryEntry(key, payload);
    if (id?.space === "rule") fresh.push(id.id);
  }
  return fresh;
}
