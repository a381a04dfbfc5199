// What came of an attempt to bring the kernel to a revision, for apply, reconcile and rollback.
import { PenstockError } from "../../base/index.ts";
import type { Outcome, TransactionResult } from "../../reconcile/index.ts";
import { exitCode } from "../exit-codes.ts";
import type { Output } from "../output.ts";
import type { Style } from "../style.ts";
import { countOf, formatMs, plain } from "../text.ts";
import { type ChangeList, renderChanges, viewChanges } from "./changes.ts";
import { type RevisionView, renderRevision, viewRevision } from "./revision.ts";

export interface DoneView {
  readonly outcome: "applied" | "unchanged" | "rolled-back" | "healed";
  readonly revision: RevisionView;
  readonly generation: { readonly before: number; readonly after: number };
  readonly changes: ChangeList;
  readonly attached: readonly string[];
  readonly detached: readonly string[];
  readonly written: number;
  readonly removed: number;
  readonly timingsMs: TransactionResult["timingsMs"];
  readonly warnings: readonly string[];
  /** The commit stands, but cleaning up after it failed. */
  readonly settleError: string | null;
}

export type OutcomeView =
  | DoneView
  | { readonly outcome: "up-to-date"; readonly revision: RevisionView }
  | { readonly outcome: "held"; readonly revision: RevisionView }
  | { readonly outcome: "refused"; readonly revision: RevisionView; readonly findings: readonly string[] };

/** A failure is thrown as the error that it is. */
export function viewOutcome(outcome: Outcome): OutcomeView {
  if (outcome.kind === "failed") throw outcome.error;
  const revision = viewRevision(outcome.revision);
  if (outcome.kind === "refused") return { outcome: "refused", revision, findings: outcome.findings };
  if (outcome.kind === "up-to-date") return { outcome: "up-to-date", revision };
  if (outcome.kind === "held") return { outcome: "held", revision };
  const { kind, plan, changes, result, warnings } = outcome;
  return {
    outcome: kind,
    revision,
    generation: { before: Number(result.generation.before), after: Number(result.generation.after) },
    changes: viewChanges(changes),
    attached: plan.attach,
    detached: plan.detach,
    written: result.written,
    removed: result.removed,
    timingsMs: result.timingsMs,
    warnings,
    settleError: result.settleError?.message ?? null,
  };
}

/** Prints the outcome; returns the exit code, or throws what a person must know as an error. */
export function reportOutcome(view: OutcomeView, output: Output): number {
  switch (view.outcome) {
    case "refused":
      throw refusal(view.revision, view.findings, "apply");
    case "held":
      throw heldBack(view.revision);
    case "up-to-date":
      output.result(view, (_, style) => [
        `${style.green("Up to date.")} In force is ${renderRevision(view.revision, style)}`,
      ]);
      return exitCode.done;
    default:
      output.findings(view.warnings);
      if (view.settleError !== null) {
        output.warn(`Committed, but cleaning up failed, and is tried again later: ${view.settleError}`);
      }
      output.result(view, renderDone);
      return exitCode.done;
  }
}

/** What refused policy means for `verb` (apply, plan). */
export function refusal(
  revision: RevisionView,
  findings: readonly string[],
  verb: "apply" | "plan",
): PenstockError {
  const errors = findings.filter((finding) => !/^\S+:\d+:\d+ warning /.test(finding)).length;
  return new PenstockError({
    code: "invalid-policy",
    disposition: "stalled",
    message: `Cannot ${verb} ${revision.name}: the policy has ${countOf(errors, "error")}, and nothing was changed`,
    remedy: "Correct what is named above and push; penstock validate checks a working tree",
    data: { commit: revision.commit, findings },
  });
}

function heldBack(revision: RevisionView): PenstockError {
  return new PenstockError({
    code: "held-back",
    disposition: "stalled",
    message: `Cannot apply ${revision.name}: it was rolled back, and stays out until ${revision.ref} moves`,
    remedy: `Push a new commit, or take it back in: penstock rollback ${revision.commit.slice(0, 12)}`,
    data: { commit: revision.commit },
  });
}

const heads: Readonly<Record<DoneView["outcome"], string>> = {
  applied: "Applied",
  unchanged: "Applied, with nothing to change,",
  "rolled-back": "Rolled back to",
  healed: "Put drift right; in force is",
};

function renderDone(view: DoneView, style: Style): string[] {
  const programs = [
    ...view.attached.map((text) => `  ${style.green("+")} ${plain(text)}`),
    ...view.detached.map((text) => `  ${style.red("-")} ${plain(text)}`),
  ];
  const { add, change, remove } = view.changes;
  return [
    ...renderChanges(view.changes, style),
    ...programs,
    `${style.green(heads[view.outcome])} ${renderRevision(view.revision, style)}`,
    `${style.dim("Policy")}   ${add} added, ${change} changed, ${remove} removed`,
    `${style.dim("Kernel")}   ${describeWork(view)}`,
    `${style.dim("Timing")}   ${Object.entries(view.timingsMs)
      .filter(([stage, ms]) => stage !== "confirm" || ms > 0)
      .map(([stage, ms]) => `${stageNames[stage] ?? stage} ${formatMs(ms)}`)
      .join(", ")}`,
  ];
}

const stageNames: Readonly<Record<string, string>> = { readBack: "read back" };

function describeWork(view: DoneView): string {
  const { before, after } = view.generation;
  const written = countOf(view.written, "entry", "entries");
  return `generation ${before} -> ${after}, ${written} written, ${view.removed} removed`;
}
