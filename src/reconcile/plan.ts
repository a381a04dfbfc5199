// The plan: what a transaction will write, and what that means in words; capacity is checked here, before the
// kernel could refuse. Changes (the policy moved) and drift (the kernel moved) are kept apart.
import { createHash } from "node:crypto";
import { startPace } from "../base/index.ts";
import type { DesiredState, HostInterface, KindDefinition, PackedTable } from "../compile/index.ts";
import { appliedTable, type Owner, wordsOf } from "../compile/index.ts";
import {
  countedAs,
  type DescribedChanges,
  describeChanges,
  type LogicalChange,
  logicalChanges,
} from "./changes.ts";
import { countGone, diffTable, type TableDiff } from "./diff.ts";
import { freshRuleIds, goneRuleIds, namesIn } from "./names.ts";
import type { ObservedState } from "./observe.ts";
import { emptyTable } from "./observe.ts";
import type { Attached, Datapath } from "./ports.ts";
import { tableFull } from "./refusals.ts";
import type { TransactionPlan } from "./transaction.ts";
import { isArray, isVersioned } from "./versions.ts";

export interface TableSummary {
  readonly table: string;
  /** Entries as people count them. */
  readonly add: number;
  readonly change: number;
  readonly remove: number;
  /** Kernel entries that the transaction writes, and those it deletes when settling. */
  readonly writes: number;
  readonly deletes: number;
  readonly entriesBefore: number;
  readonly entriesAfter: number;
  /** Entries that are not the revision's to change: of feeds, or of the datapath itself. */
  readonly others: number;
  readonly capacity: number;
}

export interface Plan {
  readonly transaction: TransactionPlan;
  readonly tables: readonly TableSummary[];
  /** Sums over the tables of policy (ids and bookkeeping are not counted). */
  readonly summary: { readonly add: number; readonly change: number; readonly remove: number };
  /** Programs to attach and to detach, as `xdp_firewall on eth0`. */
  readonly attach: readonly string[];
  readonly detach: readonly string[];
  /** One after the other, made while they are read: there may be a million. */
  readonly changes: Iterable<LogicalChange>;
  /** Hex SHA-256 over everything that would be written; computed when it is asked for. */
  readonly digest: () => Promise<string>;
  /** True if the kernel holds what is wanted, in every table. */
  readonly empty: boolean;
}

export interface PlanInput {
  readonly desired: DesiredState;
  readonly observed: ObservedState;
  readonly datapath: Pick<Datapath, "tables" | "capacityOf" | "endOf" | "checkRoom">;
  readonly kinds: readonly KindDefinition[];
  /** What shall be recorded as applied. */
  readonly applied: PackedTable;
  readonly interfaces: readonly HostInterface[];
  /** Whose entries are desired; those of others stay. Default: Git's. */
  readonly owner?: Owner;
}

/** Makes the plan that turns what is observed into what is desired; throws `table-full` if it cannot fit. */
export async function makePlan(input: PlanInput): Promise<Plan> {
  const { desired, observed, datapath } = input;
  const diffs: TableDiff[] = [];
  const tables: TableSummary[] = [];
  const changes: Iterable<LogicalChange>[] = [];
  for (const spec of datapath.tables) {
    const wanted = spec.name === appliedTable.name ? input.applied : desired.tables.get(spec.name);
    if (wanted === undefined) continue;
    const capacity = datapath.capacityOf(spec);
    const raw = observed.tables.get(spec.name) ?? emptyTable(spec);
    const { generation } = observed;
    const diff = await diffTable(raw, wanted, {
      generation,
      capacity,
      ...(input.owner === undefined ? {} : { owner: input.owner }),
    });
    const logical = logicalChanges(diff, wanted, generation);
    diffs.push(diff);
    tables.push(summarise(diff, logical, capacity));
    checkCapacity(diff, capacity);
    if (diff.changes.count > 0) datapath.checkRoom(spec, diff.desired);
    changes.push(logical);
  }
  const attach = desired.attachments.filter(
    (a) =>
      !observed.attached.some((x) => x.program === a.program && x.index === a.index && fitsMode(x, a.mode)),
  );
  const detach = observed.attached.filter(
    (x) => !desired.attachments.some((a) => a.program === x.program && a.index === x.index),
  );
  const counted = tables.filter((t) =>
    input.kinds.some((k) => k.tables.some((spec) => spec.name === t.table)),
  );
  const ends = diffs.some((d) => d.spec.shape === "ordered" && datapath.endOf(d.spec) !== d.endBefore);
  return {
    transaction: {
      generation: observed.generation,
      diffs,
      attach,
      detach,
      freshRuleIds: freshRuleIds(diffs, observed.generation),
      goneRuleIds: goneRuleIds(diffs),
    },
    tables,
    summary: {
      add: sum(counted, (t) => t.add),
      change: sum(counted, (t) => t.change),
      remove: sum(counted, (t) => t.remove),
    },
    attach: attach.map((a) => `${a.program} on ${a.interface}`),
    detach: detach.map((a) => `${a.program} on ${a.interface ?? `interface ${a.index}`}`),
    // The shortest first: a feed of a million prefixes must not push the rules out of what is put into words.
    changes: joined(byLength(diffs, changes)),
    digest: once(() => digestOf(diffs, [...attach, ...detach])),
    empty: tables.every((t) => t.writes === 0) && attach.length === 0 && detach.length === 0 && !ends,
  };
}

/** True if nothing but entries of one table would be written. */
export function touchesOnly(plan: Plan, table: string): boolean {
  const { attach, detach } = plan.transaction;
  return (
    !plan.empty &&
    attach.length + detach.length === 0 &&
    plan.tables.every((t) => t.writes > 0 === (t.table === table))
  );
}

/** The plan's changes in words; positions point into the policy that it was made from. */
export function describePlan(
  plan: Plan,
  input: PlanInput,
  options: {
    readonly only?: (change: LogicalChange) => boolean;
    /** Whether ids and the record of what is applied are told too: where they drift they are news. */
    readonly core?: boolean;
  } = {},
): DescribedChanges {
  const { only = () => true, core = false } = options;
  const before = namesIn(input.observed);
  const after = new Map(input.desired.names.map(({ space, id, name }) => [`${space} ${id}`, name]));
  return describeChanges(filtered(plan.changes, only), {
    kinds: input.kinds,
    names: {
      nameOf: (space, id) => after.get(`${space} ${id}`) ?? before(space, id),
      interfaceName: (index) => input.interfaces.find((i) => i.index === index)?.name,
    },
    desired: input.desired,
    core,
  });
}

function once<T>(compute: () => T): () => T {
  let known: { readonly value: T } | undefined;
  return () => {
    known ??= { value: compute() };
    return known.value;
  };
}

function byLength<T>(diffs: readonly TableDiff[], parts: readonly T[]): T[] {
  const length = (i: number) => diffs[i]?.changes.count ?? 0;
  const order = parts.map((_, i) => i).sort((a, b) => length(a) - length(b));
  return order.map((i) => parts[i] as T);
}

function joined<T>(parts: readonly Iterable<T>[]): Iterable<T> {
  return {
    *[Symbol.iterator]() {
      for (const part of parts) yield* part;
    },
  };
}

function* filtered<T>(items: Iterable<T>, only: (item: T) => boolean): Iterable<T> {
  for (const item of items) if (only(item)) yield item;
}

/** The modes of interface groups are those of XDP: TC programs are attached in one way only. */
function fitsMode(attached: Attached, mode: "native" | "generic" | "auto"): boolean {
  return attached.current && (mode === "auto" || attached.mode === "tcx" || attached.mode === mode);
}

function summarise(diff: TableDiff, logical: Iterable<LogicalChange>, capacity: number): TableSummary {
  const { spec, changes } = diff;
  return {
    table: spec.name,
    ...(spec.shape === "ordered" ? countLogical(logical) : countEntries(diff)),
    writes: changes.count - (isVersioned(spec) ? 0 : changes.countOf("remove")),
    deletes: isArray(spec) ? 0 : countGone(diff),
    entriesBefore: diff.visibleBefore,
    entriesAfter: diff.visibleAfter,
    others: diff.others,
    capacity,
  };
}

/** Records of an ordered table stand for one rule wherever they move. */
function countLogical(logical: Iterable<LogicalChange>) {
  const counts = { add: 0, change: 0, remove: 0 };
  for (const { action } of logical) counts[countedAs(action)]++;
  return counts;
}

function countEntries({ changes }: TableDiff) {
  return {
    add: changes.countOf("add"),
    change: changes.countOf("change") + changes.countOf("repair"),
    remove: changes.countOf("remove"),
  };
}

/** Old and new entries stand side by side until the transaction has settled. */
function checkCapacity({ spec, peak, visibleAfter, others }: TableDiff, capacity: number): void {
  if (peak > capacity) throw tableFull(spec, { wanted: visibleAfter, peak, capacity, others });
}

const kindNumber = { add: 1, change: 2, remove: 3, repair: 4 } as const;

/** Entries that are hashed at once. */
const hashedEntries = 4096;

async function digestOf(
  diffs: readonly TableDiff[],
  programs: readonly { readonly program: string; readonly index: number; readonly mode: string }[],
): Promise<string> {
  const hash = createHash("sha256");
  for (const { program, index, mode } of programs) hash.update(`${program} ${index} ${mode}\n`);
  for (const diff of diffs) {
    const { spec, changes } = diff;
    hash.update(`${spec.name} ${changes.count}\n`);
    const from = tablesOf(diff);
    const [keyWords, payloadWords] = [spec.keySize / 4, spec.payloadSize / 4];
    const chunk = new Uint32Array(Math.min(hashedEntries, changes.count) * (1 + keyWords + payloadWords));
    const pace = startPace("hash the plan");
    let at = 0;
    for (let n = 0; n < changes.count; n++) {
      const desired = changes.desiredAt(n);
      const [keys, entry] = desired < 0 ? [from.gone, changes.observedAt(n)] : [from.keys, desired];
      chunk[at++] = kindNumber[changes.kindAt(n)];
      for (let i = 0; i < keyWords; i++) chunk[at++] = keys[entry * keyWords + i] ?? 0;
      for (let i = 0; i < payloadWords; i++)
        chunk[at++] = desired < 0 ? 0 : (from.payloads[desired * payloadWords + i] ?? 0);
      if (at < chunk.length) continue;
      hash.update(chunk);
      at = 0;
      await pace.step(n);
    }
    hash.update(chunk.subarray(0, at));
  }
  return hash.digest("hex");
}

/** What changes are made of, as words. */
function tablesOf({ desired, observed }: TableDiff) {
  return {
    keys: wordsOf(desired.keys),
    payloads: wordsOf(desired.payloads),
    gone: wordsOf(observed.keys),
  };
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
