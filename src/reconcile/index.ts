// The reconcile stage: observed and desired state -> plan -> transaction -> outcome, and everything that follows
// from it. Its ports are filled in by the command line.

export type { Owner } from "../compile/index.ts";
export { appliedEntries, readApplied, readAppliedNow } from "./applied.ts";
export type { ChangeAction, DescribedChange, DescribedChanges } from "./changes.ts";
export type { DriftReport } from "./drift.ts";
export { backoffMs, Loop, type LoopOptions } from "./loop.ts";
export { knownIds } from "./names.ts";
export { type ObservedState, observe } from "./observe.ts";
export type { Outcome, Preview, ScanOutcome } from "./outcome.ts";
export { makePlan, type Plan, type PlanInput, type TableSummary } from "./plan.ts";
export type {
  Attached,
  Attempt,
  AttemptLog,
  AttemptOutcome,
  Datapath,
  Logger,
  RawTable,
  RecordedAttempt,
  RevisionSource,
  Trigger,
} from "./ports.ts";
export {
  type PolicyInput,
  type PreparedDocuments,
  type PreparedPolicy,
  preparePolicy,
} from "./prepare-policy.ts";
export { Reconciler, type ReconcilerOptions } from "./reconciler.ts";
export { type Recovery, recover } from "./recover.ts";
export { policyTooCostly } from "./refusals.ts";
export type { Condition, HistoryEntry, Status, TableUse } from "./status.ts";
export {
  runTransaction,
  type TransactionOptions,
  type TransactionPlan,
  type TransactionResult,
} from "./transaction.ts";
export { sealValue } from "./versions.ts";
