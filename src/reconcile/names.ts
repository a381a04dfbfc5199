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
import { viewOf } from "./versions.ts";

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

/**
 * Rule ids that the diffs give a new meaning: their counters must start at zero. An id that packets see in a rule has
 * its meaning already, whatever became of its name.
 */
export function freshRuleIds(diffs: readonly TableDiff[], generation: bigint): number[] {
  const diff = diffs.find((d) => d.spec.name === directoryTable.name);
  if (diff === undefined) return [];
  const inUse = rulesInUse(diffs, generation);
  const fresh: number[] = [];
  for (let n = 0; n < diff.changes.count; n++) {
    const i = diff.changes.desiredAt(n);
    if (i < 0 || diff.changes.kindAt(n) === "repair") continue;
    const key = entryAt(diff.desired.keys, directoryTable.keySize, i);
    const payload = entryAt(diff.desired.payloads, directoryTable.payloadSize, i);
    const id = decodeDirectoryEntry(key, payload);
    if (id?.space === "rule" && !inUse.has(id.id)) fresh.push(id.id);
  }
  return fresh;
}

/** Rule ids that nobody uses after the commit: what they counted is nobody's any more. */
export function goneRuleIds(diffs: readonly TableDiff[]): number[] {
  const diff = diffs.find((d) => d.spec.name === directoryTable.name);
  if (diff === undefined) return [];
  const gone: number[] = [];
  for (let n = 0; n < diff.changes.count; n++) {
    if (diff.changes.kindAt(n) !== "remove") continue;
    const key = entryAt(diff.observed.keys, directoryTable.keySize, diff.changes.observedAt(n));
    const id = decodeDirectoryEntry(key, new Uint8Array(directoryTable.payloadSize));
    if (id?.space === "rule") gone.push(id.id);
  }
  return gone;
}

/** Ids of rules that packets see: an ordered entry's identity begins with its rule's. */
function rulesInUse(diffs: readonly TableDiff[], generation: bigint): Set<number> {
  const ids = new Set<number>();
  for (const { spec, observed } of diffs) {
    const { identity } = spec;
    if (identity === undefined) continue;
    const view = viewOf(observed.values);
    forEachVisible(observed, { generation }, (_, at) => ids.add(view.getUint32(at + identity.offset, true)));
  }
  return ids;
}
