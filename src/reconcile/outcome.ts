// What comes of an attempt, of a scan and of a look ahead.
import type { PenstockError, Revision } from "../base/index.ts";
import type { DescribedChanges } from "./changes.ts";
import type { DriftReport } from "./drift.ts";
import type { Plan } from "./plan.ts";
import type { TransactionResult } from "./transaction.ts";

/** A commit, and what it was. */
export interface CommittedOutcome {
  readonly kind: "applied" | "unchanged" | "rolled-back" | "healed";
  readonly revision: Revision;
  readonly plan: Plan;
  readonly changes: DescribedChanges;
  readonly result: TransactionResult;
  readonly warnings: readonly string[];
}

/** What came of an attempt to bring the kernel to a revision. */
export type Outcome =
  | { readonly kind: "up-to-date"; readonly revision: Revision }
  | { readonly kind: "held"; readonly revision: Revision }
  | CommittedOutcome
  | { readonly kind: "refused"; readonly revision: Revision; readonly findings: readonly string[] }
  | {
      readonly kind: "failed";
      readonly revision: Revision | undefined;
      readonly error: PenstockError;
      /** Whether trying the same again can help: the world may change. */
      readonly retry: boolean;
    };

/** What a scan found, and whether it was put right. */
export interface ScanOutcome {
  readonly drift: DriftReport | undefined;
  readonly healed: boolean;
  readonly error: PenstockError | undefined;
}

/** What would happen, for reviewers. */
export type Preview =
  | {
      readonly kind: "plan";
      readonly revision: Revision;
      readonly plan: Plan;
      readonly changes: DescribedChanges;
      /** The plan's. */
      readonly digest: string;
      readonly drift: DriftReport | undefined;
      readonly warnings: readonly string[];
    }
  | { readonly kind: "refused"; readonly revision: Revision; readonly findings: readonly string[] };
