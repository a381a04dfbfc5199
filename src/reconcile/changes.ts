// Changes as people think of them: a rule added, changed, moved or removed, a prefix in a set. Kernel writes are
// in diff.ts; here ordered entries are told by their identity, and everything is put into words by the kinds.
import type { Position } from "../base/index.ts";
import {
  type DesiredState,
  type EntryText,
  entryAt,
  equalAt,
  KeyIndex,
  type KindDefinition,
  type Names,
  type PackedTable,
  packedKeySize,
} from "../compile/index.ts";
import type { TableDiff } from "./diff.ts";
import { forEachVisible, packedKeyOf } from "./observe.ts";
import type { RawTable } from "./ports.ts";

export type ChangeAction = "add" | "change" | "remove" | "move" | "repair";

/** One entry that differs between what packets see and what is wanted. */
export interface LogicalChange {
  readonly table: string;
  readonly action: ChangeAction;
  /** The map's key, or an ordered entry's identity. */
  readonly key: Uint8Array;
  readonly before: Uint8Array | undefined;
  readonly after: Uint8Array | undefined;
  /** Index into the desired state's origins; 0 for none. */
  readonly origin: number;
}

/** A change in words. */
export interface DescribedChange {
  readonly action: ChangeAction;
  readonly table: string;
  readonly subject: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
  /** Where the policy says so; absent for what goes. */
  readonly position: Position | undefined;
}

/** The changes of one table. `wanted` is the table as compiled. */
export function logicalChanges(diff: TableDiff, wanted: PackedTable, generation: bigint): LogicalChange[] {
  return diff.spec.shape === "ordered"
    ? orderedChanges(diff, wanted, generation)
    : keyedChanges(diff, generation);
}

function keyedChanges(diff: TableDiff, generation: bigint): LogicalChange[] {
  const { spec, observed, desired } = diff;
  const visible = visiblePayloads(observed, generation);
  return diff.changes.map(({ kind, observed: entry, desired: i }) => ({
    table: spec.name,
    action: kind,
    key: i >= 0 ? entryAt(desired.keys, spec.keySize, i) : entryAt(observed.keys, spec.keySize, entry),
    before: entry < 0 ? undefined : visible.get(entry),
    after: i < 0 ? undefined : entryAt(desired.payloads, spec.payloadSize, i),
    origin: i < 0 ? 0 : (desired.origins[i] ?? 0),
  }));
}

function orderedChanges(diff: TableDiff, wanted: PackedTable, generation: bigint): LogicalChange[] {
  const { spec, observed, desired } = diff;
  if (diff.changes.length === 0) return [];
  const size = packedKeySize(spec);
  const payloads = visiblePayloads(observed, generation);
  const index = new KeyIndex(wanted.keys, size);
  const changes: LogicalChange[] = [];
  const met = new Uint8Array(wanted.count);
  forEachVisible(observed, generation, (entry, at) => {
    const key = packedKeyOf(observed, entry, at);
    const before = payloads.get(entry);
    const i = index.find(key);
    if (i < 0 || met[i] === 1) {
      changes.push({ table: spec.name, action: "remove", key, before, after: undefined, origin: 0 });
      return;
    }
    met[i] = 1;
    const after = entryAt(wanted.payloads, spec.payloadSize, i);
    const same = before !== undefined && equalAt(before, 0, after, 0, spec.payloadSize);
    const moved = !equalAt(observed.keys, entry * spec.keySize, desired.keys, i * spec.keySize, spec.keySize);
    if (same && !moved) return;
    const action = same ? "move" : "change";
    changes.push({ table: spec.name, action, key, before, after, origin: wanted.origins[i] ?? 0 });
  });
  for (let i = 0; i < wanted.count; i++) {
    if (met[i] === 1) continue;
    changes.push({
      table: spec.name,
      action: "add",
      key: entryAt(wanted.keys, size, i),
      before: undefined,
      after: entryAt(wanted.payloads, spec.payloadSize, i),
      origin: wanted.origins[i] ?? 0,
    });
  }
  for (const change of diff.changes) {
    if (change.kind !== "repair") continue;
    const key = entryAt(observed.keys, spec.keySize, change.observed);
    changes.push({ table: spec.name, action: "repair", key, before: undefined, after: undefined, origin: 0 });
  }
  return changes;
}

function visiblePayloads(raw: RawTable, generation: bigint): Map<number, Uint8Array> {
  const payloads = new Map<number, Uint8Array>();
  forEachVisible(raw, generation, (entry, at) => {
    payloads.set(entry, raw.values.subarray(at, at + raw.spec.payloadSize));
  });
  return payloads;
}

export interface Describer {
  readonly kinds: readonly KindDefinition[];
  readonly names: Names;
  /** For positions; absent where there is no policy to point at. */
  readonly desired: DesiredState | undefined;
}

/** Puts changes into words; changes of one subject (a rule in several records) become one. */
export function describeChanges(changes: readonly LogicalChange[], describer: Describer): DescribedChange[] {
  const described = new Map<string, DescribedChange>();
  for (const change of changes) {
    const kind = describer.kinds.find((k) => k.tables.some((t) => t.name === change.table));
    if (kind === undefined) continue;
    const words = (payload: Uint8Array | undefined): EntryText | undefined =>
      payload === undefined ? undefined : kind.describe(change.table, change.key, payload, describer.names);
    const before = words(change.before);
    const after = words(change.after);
    const subject = after?.subject ?? before?.subject ?? `damaged entry of ${change.table}`;
    const id = `${change.table} ${subject}`;
    const known = described.get(id);
    described.set(id, {
      action: known === undefined || known.action === change.action ? change.action : "change",
      table: change.table,
      subject,
      before: joinDetails(known?.before, before?.detail),
      after: joinDetails(known?.after, after?.detail),
      position: known?.position ?? positionOf(change, describer.desired),
    });
  }
  return [...described.values()];
}

function joinDetails(known: string | undefined, detail: string | undefined): string | undefined {
  if (known === undefined || known === detail) return detail ?? known;
  return detail === undefined ? known : `${known}; ${detail}`;
}

function positionOf(change: LogicalChange, desired: DesiredState | undefined): Position | undefined {
  const origin = change.after === undefined ? undefined : desired?.origins[change.origin];
  return origin?.document.locate(origin.path);
}
