// The plan: what a transaction will write, and what that means in words; capacity is checked here, before the
// kernel could refuse. Changes (the policy moved) and drift (the kernel moved) are kept apart.
import { createHash } from "node:crypto";
import type {
  DesiredState,
  HostInterface,
  KindDefinition,
  PackedTable,
  TableSpec,
} from "../compile/index.ts";
import { appliedTable, entryAt } from "../compile/index.ts";
import { type DescribedChange, describeChanges, type LogicalChange, logicalChanges } from "./changes.ts";
import { diffTable, isArray, type TableDiff, tableFull } from "./diff.ts";
import { freshRuleIds, namesIn } from "./names.ts";
import type { ObservedState } from "./observe.ts";
import { emptyTable } from "./observe.ts";
import type { Attached, Datapath } from "./ports.ts";
import type { TransactionPlan } from "./transaction.ts";

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
  readonly changes: readonly LogicalChange[];
  /** Hex SHA-256 over everything that would be written. */
  readonly digest: string;
  /** True if the kernel holds what is wanted, in every table. */
  readonly empty: boolean;
}

export interface PlanInput {
  readonly desired: DesiredState;
  readonly observed: ObservedState;
  readonly datapath: Pick<Datapath, "tables" | "capacityOf" | "endOf">;
  readonly kinds: readonly KindDefinition[];
  /** What shall be recorded as applied. */
  readonly applied: PackedTable;
  readonly interfaces: readonly HostInterface[];
}

/** Makes the plan that turns what is observed into what is desired; throws `table-full` if it cannot fit. */
export function makePlan(input: PlanInput): Plan {
  const { desired, observed, datapath } = input;
  const diffs: TableDiff[] = [];
  const tables: TableSummary[] = [];
  const changes: LogicalChange[] = [];
  for (const spec of datapath.tables) {
    const wanted = spec.name === appliedTable.name ? input.applied : desired.tables.get(spec.name);
    if (wanted === undefined) continue;
    const capacity = datapath.capacityOf(spec);
    const raw = observed.tables.get(spec.name) ?? emptyTable(spec);
    const diff = diffTable(raw, wanted, { generation: observed.generation, capacity });
    const logical = logicalChanges(diff, wanted, observed.generation);
    diffs.push(diff);
    const summary = summarise(diff, logical, capacity);
    checkCapacity(spec, summary);
    tables.push(summary);
    for (const change of logical) changes.push(change);
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
      freshRuleIds: freshRuleIds(diffs),
    },
    tables,
    summary: {
      add: sum(counted, (t) => t.add),
      change: sum(counted, (t) => t.change),
      remove: sum(counted, (t) => t.remove),
    },
    attach: attach.map((a) => `${a.program} on ${a.interface}`),
    detach: detach.map((a) => `${a.program} on ${a.interface ?? `interface ${a.index}`}`),
    changes,
    digest: digestOf(diffs),
    empty: tables.every((t) => t.writes === 0) && attach.length === 0 && detach.length === 0 && !ends,
  };
}

/** The plan's changes in words; positions point into the policy that it was made from. */
export function describePlan(plan: Plan, input: PlanInput): DescribedChange[] {
  const before = namesIn(input.observed);
  const after = new Map(input.desired.names.map(({ space, id, name }) => [`${space} ${id}`, name]));
  return describeChanges(plan.changes, {
    kinds: input.kinds,
    names: {
      nameOf: (space, id) => after.get(`${space} ${id}`) ?? before(space, id),
      interfaceName: (index) => input.interfaces.find((i) => i.index === index)?.name,
    },
    desired: input.desired,
  });
}

function fitsMode(attached: Attached, mode: "native" | "generic" | "auto"): boolean {
  return attached.current && (mode === "auto" || attached.mode === mode);
}

function summarise(diff: TableDiff, logical: readonly LogicalChange[], capacity: number): TableSummary {
  const count = (action: LogicalChange["action"]) => logical.filter((c) => c.action === action).length;
  return {
    table: diff.spec.name,
    add: count("add"),
    change: count("change") + count("move") + count("repair"),
    remove: count("remove"),
    writes: diff.changes.length,
    deletes: isArray(diff.spec) ? 0 : diff.changes.filter((c) => c.desired < 0).length,
    entriesBefore: diff.visibleBefore,
    entriesAfter: diff.visibleAfter,
    capacity,
  };
}

/** Old and new entries stand side by side until the transaction has settled. */
function checkCapacity(spec: TableSpec, summary: TableSummary): void {
  const peak = isArray(spec) ? summary.entriesAfter : summary.entriesAfter + summary.deletes;
  if (peak <= summary.capacity) return;
  throw tableFull(spec.name, { wanted: summary.entriesAfter, peak, capacity: summary.capacity });
}

function digestOf(diffs: readonly TableDiff[]): string {
  const hash = createHash("sha256");
  for (const { spec, changes, desired, observed } of diffs) {
    hash.update(`${spec.name} ${changes.length}\n`);
    for (const { kind, desired: i, observed: entry } of changes) {
      hash.update(kind);
      if (i < 0) hash.update(entryAt(observed.keys, spec.keySize, entry));
      else {
        hash.update(entryAt(desired.keys, spec.keySize, i));
        hash.update(entryAt(desired.payloads, spec.payloadSize, i));
      }
    }
  }
  return hash.digest("hex");
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
