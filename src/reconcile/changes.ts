// Changes as people think of them: a rule added, changed, moved or removed, a prefix in a set. Kernel writes are
// in diff.ts; here ordered entries are told by their identity, and everything is put into words by the kinds.
import type { Position } from "../base/index.ts";
import {
  appliedTable,
  type DesiredState,
  decodeApplied,
  decodeDirectoryEntry,
  directoryTable,
  type EntryText,
  entryAt,
  equalAt,
  indexFewKeys,
  type KindDefinition,
  type Names,
  type Owner,
  type PackedTable,
  packedKeySize,
  wordsOf,
} from "../compile/index.ts";
import type { TableDiff } from "./diff.ts";
import { forEachVisible, packedKeyOf } from "./observe.ts";
import { isOwn, ownerName, ownerOf, viewOf, visiblePayload } from "./versions.ts";

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
  /** Whose the entry is that the kernel holds, or else shall hold. */
  readonly owner: Owner;
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
  /** Whose the entry is, or was before Git's took its place. */
  readonly owner: Owner;
}

/** Changes in words, up to a number that anybody would look at; the rest is counted. */
export interface DescribedChanges {
  readonly items: readonly DescribedChange[];
  readonly more: Readonly<Record<"add" | "change" | "remove", number>>;
}

/** Changes that are put into words. */
const describedMost = 10_000;

/** Counts as people count: a move or a repair is a change. */
export function countedAs(action: ChangeAction): "add" | "change" | "remove" {
  return action === "add" || action === "remove" ? action : "change";
}

/** The changes of one table, one after the other. `wanted` is the table as compiled. */
export function logicalChanges(
  diff: TableDiff,
  wanted: PackedTable,
  generation: bigint,
): Iterable<LogicalChange> {
  const changes = diff.spec.shape === "ordered" ? orderedChanges : keyedChanges;
  return { [Symbol.iterator]: () => changes(diff, wanted, generation) };
}

function* keyedChanges(diff: TableDiff, _: PackedTable, generation: bigint): Generator<LogicalChange> {
  const { spec, observed, desired, changes } = diff;
  const see = observedReader(diff, generation);
  for (let n = 0; n < changes.count; n++) {
    const entry = changes.observedAt(n);
    const i = changes.desiredAt(n);
    const seen = see(entry);
    yield {
      table: spec.name,
      action: changes.kindAt(n),
      key: i >= 0 ? entryAt(desired.keys, spec.keySize, i) : entryAt(observed.keys, spec.keySize, entry),
      before: seen.payload,
      after: i < 0 ? undefined : entryAt(desired.payloads, spec.payloadSize, i),
      origin: i < 0 ? 0 : (desired.origins[i] ?? 0),
      owner: seen.owner === undefined ? diff.owner : ownerName(seen.owner),
    };
  }
}

/** What packets see of an observed entry, and whose it is. */
function observedReader({ spec, observed }: TableDiff, generation: bigint) {
  const view = viewOf(observed.values);
  return (
    entry: number,
  ): { readonly payload: Uint8Array | undefined; readonly owner: number | undefined } => {
    if (entry < 0) return { payload: undefined, owner: undefined };
    const at = { offset: entry * spec.valueSize, generation: Number(generation) };
    const payload = visiblePayload(spec, view, at);
    if (!isOwn(spec, view, payload)) return { payload: undefined, owner: undefined };
    return {
      payload: observed.values.subarray(payload, payload + spec.payloadSize),
      owner: ownerOf(spec, view, payload),
    };
  };
}

function* orderedChanges(diff: TableDiff, wanted: PackedTable, generation: bigint): Generator<LogicalChange> {
  const { spec, observed, desired } = diff;
  if (diff.changes.count === 0) return;
  const size = packedKeySize(spec);
  const common = { table: spec.name, owner: diff.owner };
  const index = indexFewKeys(wanted.keys, size);
  const met = new Uint8Array(wanted.count);
  const visible: { readonly entry: number; readonly at: number }[] = [];
  forEachVisible(observed, { generation }, (entry, at) => visible.push({ entry, at }));
  for (const { entry, at } of visible) {
    const key = packedKeyOf(observed, entry, at);
    const before = observed.values.subarray(at, at + spec.payloadSize);
    const i = index.find(wordsOf(key));
    if (i < 0 || met[i] === 1) {
      yield { ...common, action: "remove", key, before, after: undefined, origin: 0 };
      continue;
    }
    met[i] = 1;
    const after = entryAt(wanted.payloads, spec.payloadSize, i);
    const same = equalAt(before, 0, after, 0, spec.payloadSize);
    const moved = !equalAt(observed.keys, entry * spec.keySize, desired.keys, i * spec.keySize, spec.keySize);
    if (same && !moved) continue;
    yield { ...common, action: same ? "move" : "change", key, before, after, origin: wanted.origins[i] ?? 0 };
  }
  for (let i = 0; i < wanted.count; i++) {
    if (met[i] === 1) continue;
    const key = entryAt(wanted.keys, size, i);
    const after = entryAt(wanted.payloads, spec.payloadSize, i);
    yield { ...common, action: "add", key, before: undefined, after, origin: wanted.origins[i] ?? 0 };
  }
  for (let n = 0; n < diff.changes.count; n++) {
    if (diff.changes.kindAt(n) !== "repair") continue;
    const key = entryAt(observed.keys, spec.keySize, diff.changes.observedAt(n));
    yield { ...common, action: "repair", key, before: undefined, after: undefined, origin: 0 };
  }
}

export interface Describer {
  readonly kinds: readonly KindDefinition[];
  readonly names: Names;
  /** For positions; absent where there is no policy to point at. */
  readonly desired: DesiredState | undefined;
  /** Whether tables that no kind owns are described too. */
  readonly core: boolean;
}

/** Puts changes into words; changes of one subject (a rule in several records) become one. */
export function describeChanges(changes: Iterable<LogicalChange>, describer: Describer): DescribedChanges {
  const described = new Map<string, DescribedChange>();
  const more = { add: 0, change: 0, remove: 0 };
  for (const change of changes) {
    if (described.size >= describedMost) {
      more[countedAs(change.action)]++;
      continue;
    }
    const kind = describer.kinds.find((k) => k.tables.some((t) => t.name === change.table));
    if (kind === undefined && !describer.core) continue;
    const words = (payload: Uint8Array | undefined): EntryText | undefined => {
      if (payload === undefined) return undefined;
      return kind === undefined
        ? describeCore(change, payload)
        : kind.describe(change.table, change.key, payload, describer.names);
    };
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
      owner: known?.owner ?? change.owner,
    });
  }
  return { items: [...described.values()], more };
}

/** An entry of a table that no kind owns. */
function describeCore({ table, key }: LogicalChange, payload: Uint8Array): EntryText {
  if (table === appliedTable.name)
    return { subject: "the applied revision", detail: decodeApplied(payload, 0).commit };
  const named = table === directoryTable.name ? decodeDirectoryEntry(key, payload) : undefined;
  return named === undefined
    ? { subject: `entry ${Buffer.from(key).toString("hex")} of ${table}`, detail: "" }
    : { subject: `name of ${named.space} ${named.id}`, detail: named.name };
}

function joinDetails(known: string | undefined, detail: string | undefined): string | undefined {
  if (known === undefined || known === detail) return detail ?? known;
  return detail === undefined ? known : `${known}; ${detail}`;
}

function positionOf(change: LogicalChange, desired: DesiredState | undefined): Position | undefined {
  return change.after === undefined ? undefined : desired?.origins[change.origin];
}
