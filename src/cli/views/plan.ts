// A plan for reviewers: what the policy changes, apart from what drift there is to put right.
import type { DescribedChanges, DriftReport, Plan, Preview } from "../../reconcile/index.ts";
import { alignColumns, type Style } from "../style.ts";
import { countOf, formatCount, plain } from "../text.ts";
import { type ChangeList, changeKey, renderChanges, viewChanges } from "./changes.ts";
import { type DriftView, renderDepartures, viewDrift } from "./drift.ts";
import { type RevisionView, renderRevision, viewRevision } from "./revision.ts";

/** What the plan was made against. */
export type PlanBase =
  | { readonly kind: "kernel"; readonly generation: number; readonly applied: string | null }
  | { readonly kind: "empty"; readonly reason: string };

export interface TableView {
  readonly table: string;
  readonly writes: number;
  readonly deletes: number;
  readonly entriesBefore: number;
  readonly entriesAfter: number;
  /** Entries of feeds and of the datapath itself, which policy leaves alone. */
  readonly others: number;
  readonly capacity: number;
}

export interface PlanView {
  readonly kind: "plan";
  readonly revision: RevisionView;
  readonly base: PlanBase;
  /** Whether applying would change what the policy says; drift alone does not count. */
  readonly pending: boolean;
  readonly changes: ChangeList;
  readonly attach: readonly string[];
  readonly detach: readonly string[];
  /** Null if there is none. */
  readonly drift: DriftView | null;
  /** Tables in which the kernel writes or deletes something. */
  readonly tables: readonly TableView[];
  /** True if this revision was rolled back: it is not applied until the ref moves. */
  readonly held: boolean;
  readonly warnings: readonly string[];
  readonly digest: string;
}

export interface RefusedView {
  readonly kind: "refused";
  readonly revision: RevisionView;
  readonly findings: readonly string[];
}

export function viewPreview(
  preview: Preview,
  about: { readonly base: PlanBase; readonly inForce: string; readonly held: string | undefined },
): PlanView | RefusedView {
  const revision = viewRevision(preview.revision);
  if (preview.kind === "refused") return { kind: "refused", revision, findings: preview.findings };
  const { plan, drift, warnings } = preview;
  const changes = viewChanges(withoutDrift(preview.changes, drift?.entries));
  const attach = plan.attach.filter((text) => !isMissing(text, drift));
  const pending = changes.total > 0 || attach.length > 0 || plan.detach.length > 0;
  return {
    kind: "plan",
    revision,
    base: about.base,
    pending,
    changes,
    attach,
    detach: plan.detach,
    drift: drift === undefined ? null : viewDrift(about.inForce, drift),
    tables: viewTables(plan),
    held: about.held === revision.commit,
    warnings,
    digest: preview.digest,
  };
}

/** What the policy changes: all that differs, less what differs because of drift. */
function withoutDrift(changes: DescribedChanges, drift: DescribedChanges | undefined): DescribedChanges {
  if (drift === undefined) return changes;
  const known = new Set(drift.items.map(changeKey));
  const less = (action: "add" | "change" | "remove") =>
    Math.max(0, changes.more[action] - drift.more[action]);
  return {
    items: changes.items.filter((change) => !known.has(changeKey(change))),
    more: { add: less("add"), change: less("change"), remove: less("remove") },
  };
}

/** True if the drift report says that the program is missing where the plan attaches it. */
function isMissing(attachment: string, drift: DriftReport | undefined): boolean {
  return drift?.attachments.includes(attachment.replace(" on ", " is not attached to ")) === true;
}

function viewTables(plan: Plan): TableView[] {
  return plan.tables
    .filter((t) => t.writes > 0 || t.deletes > 0)
    .map(({ table, writes, deletes, entriesBefore, entriesAfter, others, capacity }) => ({
      table,
      writes,
      deletes,
      entriesBefore,
      entriesAfter,
      others,
      capacity,
    }));
}

export function renderPlan(view: PlanView, style: Style): string[] {
  return [
    `Revision  ${renderRevision(view.revision, style)}`,
    `Against   ${describeBase(view.base, style)}`,
    ...renderDriftPart(view.drift, style),
    ...renderChangePart(view, style),
    ...renderTables(view.tables, style),
    "",
    ...(view.held
      ? [style.yellow("Held back: this revision was rolled back, and is not applied until the ref moves.")]
      : []),
    renderSummary(view, style),
  ];
}

function describeBase(base: PlanBase, style: Style): string {
  if (base.kind === "empty") return style.yellow(`an empty kernel: ${plain(base.reason)}`);
  const applied =
    base.applied === null ? "which nothing was applied to yet" : `which holds ${plain(base.applied)}`;
  return `this kernel at generation ${base.generation}, ${applied}`;
}

function renderDriftPart(drift: DriftView | null, style: Style): string[] {
  if (drift === null) return [];
  const places = countOf(drift.entries.total + drift.attachments.length, "place");
  const head = `${style.yellow("Drift:")} the kernel departs from ${plain(drift.revision)} in ${places}. Applying puts this right.`;
  return ["", head, ...renderDepartures(drift, style)];
}

function renderChangePart(view: PlanView, style: Style): string[] {
  if (!view.pending) return [];
  const programs = [
    ...view.attach.map((text) => `  ${style.green("+")} ${plain(text)}`),
    ...view.detach.map((text) => `  ${style.red("-")} ${plain(text)}`),
  ];
  return [
    ...(view.changes.total === 0 ? [] : ["", style.bold("Policy"), ...renderChanges(view.changes, style)]),
    ...(programs.length === 0 ? [] : ["", style.bold("Programs"), ...programs]),
  ];
}

function renderTables(tables: readonly TableView[], style: Style): string[] {
  if (tables.length === 0) return [];
  const head = ["Table", "writes", "deletes", "entries", "capacity"].map((text) => ({
    text,
    paint: style.dim,
  }));
  const rows = tables.map((t) => [
    t.table,
    formatCount(t.writes),
    formatCount(t.deletes),
    `${formatCount(t.entriesBefore)} -> ${formatCount(t.entriesAfter)}${t.others === 0 ? "" : `, ${formatCount(t.others)} not Git's`}`,
    formatCount(t.capacity),
  ]);
  return ["", ...alignColumns([head, ...rows], { right: [1, 2, 3, 4], indent: 2 })];
}

function renderSummary(view: PlanView, style: Style): string {
  const { add, change, remove } = view.changes;
  if (view.pending) return `${style.bold("Plan:")} ${add} to add, ${change} to change, ${remove} to remove.`;
  if (view.drift !== null)
    return `${style.bold("No changes.")} The policy is the applied one; only drift is to be put right.`;
  return view.tables.length === 0
    ? `${style.bold("No changes.")} The kernel holds what the policy says.`
    : `${style.bold("No changes.")} The kernel holds what the policy says; applying only records the revision.`;
}
