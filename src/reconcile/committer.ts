// One piece of work through plan and transaction to its record. Before the store of the commit anything may fail and
// nothing has changed; after it the revision is in force, whatever else fails: that is cleaned up, confirmed or
// recorded later.
import {
  asPenstockError,
  type Clock,
  formatDiagnostic,
  formatRevision,
  type Revision,
} from "../base/index.ts";
import { appliedTable } from "../compile/index.ts";
import { readApplied } from "./applied.ts";
import type { AttemptWriter, Written } from "./attempts.ts";
import { digestDesired, digestObserved } from "./digest.ts";
import type { Drafts } from "./drafts.ts";
import type { ObservedState } from "./observe.ts";
import type { CommittedOutcome, Outcome } from "./outcome.ts";
import { describePlan, makePlan, type Plan, type PlanInput, touchesOnly } from "./plan.ts";
import type { AttemptLog, Datapath, Logger, Trigger } from "./ports.ts";
import type { PreparedPolicy } from "./prepare-policy.ts";
import { type Recovery, recover } from "./recover.ts";
import { runTransaction, type TransactionResult } from "./transaction.ts";
import { verbOf } from "./words.ts";

/** What shall be in force, and why. */
export interface Work {
  readonly revision: Revision;
  readonly prepared: PreparedPolicy & { readonly ok: true };
  readonly observed: ObservedState;
  /** Milliseconds since the epoch: the time that the policy was compiled for. */
  readonly now: number;
  readonly trigger: Trigger;
  /** A commit that must not be applied again by itself. */
  readonly held: string | undefined;
  readonly rollback: boolean;
  /** Whether drift is what there is to put right. */
  readonly heal: boolean;
}

export interface CommitterOptions {
  readonly datapath: Datapath;
  readonly clock: Clock;
  readonly log: Logger;
  readonly attempts: AttemptLog;
  readonly confirm?: () => Promise<void>;
}

export class Committer {
  readonly #o: CommitterOptions;
  readonly #drafts: Drafts;
  readonly #writer: AttemptWriter;
  /** Something was left in the tables that packets do not see. */
  #untidy = false;
  /** The record of a commit that could not be written. */
  #unwritten: (() => Promise<Written>) | undefined;

  constructor(options: CommitterOptions, drafts: Drafts, writer: AttemptWriter) {
    this.#o = options;
    this.#drafts = drafts;
    this.#writer = writer;
  }

  /** Does what an earlier attempt could not: before anything is observed, or it would be taken for drift. */
  async tidy(): Promise<void> {
    if (this.#unwritten !== undefined) {
      await this.#writer.write(await this.#unwritten());
      this.#unwritten = undefined;
    }
    if (this.#untidy) await this.repair();
  }

  /** Puts every table at rest. */
  async repair(): Promise<Recovery> {
    const recovery = await recover(this.#o.datapath);
    this.#untidy = false;
    if (recovery.restored + recovery.removed > 0) {
      this.#o.log.warn({ recovery }, "Repaired what an interrupted transaction left behind");
    }
    return recovery;
  }

  /** Throws if nothing was committed; never afterwards. */
  async commit(work: Work): Promise<CommittedOutcome | (Outcome & { readonly kind: "up-to-date" })> {
    const { revision, prepared, observed } = work;
    // What is written is what the policy says at this time: drift is measured against it from now on.
    const record = this.#drafts.appliedFor(revision, work.held, work.now);
    const input = this.#drafts.planInput(prepared.desired, observed, record);
    const plan = await makePlan(input);
    if (plan.empty || onlyTheTimeMoved(plan, work)) return { kind: "up-to-date", revision };
    const changes = describePlan(plan, input);
    await this.#o.attempts.reserve();
    const result = await this.#transact(plan);
    const kind = kindOf(work, plan);
    const warnings = prepared.diagnostics.map(formatDiagnostic);
    await this.#record(async () => ({
      outcome: kind,
      reason: "Succeeded",
      message: `${verbOf(kind)} ${formatRevision(revision)}: ${plan.summary.add} added, ${plan.summary.change} changed, ${plan.summary.remove} removed${prepared.geo === undefined ? "" : `; countries from ${prepared.geo}`}`,
      revision,
      trigger: work.trigger,
      plan,
      result,
      digests: { before: await digestObserved(observed), after: await digestWanted(input) },
      diagnostics: warnings,
    }));
    return { kind, revision, plan, changes, result, warnings };
  }

  async #transact(plan: Plan): Promise<TransactionResult> {
    try {
      const { datapath, clock, confirm } = this.#o;
      const options = confirm === undefined ? { clock } : { clock, confirm };
      const result = await runTransaction(datapath, plan.transaction, options);
      if (result.settleError !== undefined) {
        this.#untidy = true;
        const { message } = result.settleError;
        this.#o.log.warn({ error: message }, "Committed, but cleaning up failed; it is tried again");
      }
      return result;
    } catch (error) {
      // A failed abort says so; any other failure was cleaned up, and looking again costs little.
      this.#untidy = true;
      throw error;
    }
  }

  /** The digests are taken after the store: whatever goes wrong then, the commit stands. */
  async #record(compose: () => Promise<Written>): Promise<void> {
    try {
      await this.#writer.write(await compose());
    } catch (thrown) {
      this.#unwritten = compose;
      const { message } = asPenstockError(thrown);
      this.#o.log.error(
        { error: message },
        "Committed, but the record could not be written; it is tried again",
      );
    }
  }
}

/** The same revision, held as before, and no entry that is not as it should be: there is nothing to record. */
function onlyTheTimeMoved(plan: Plan, { revision, observed, held }: Work): boolean {
  const before = readApplied(observed);
  return before?.commit === revision.commit && before.held === held && touchesOnly(plan, appliedTable.name);
}

/** What the transaction has read back before its commit: that this is what packets will see. */
async function digestWanted({ desired, applied }: PlanInput): Promise<Record<string, string>> {
  const digests: Record<string, string> = {};
  for (const [name, table] of desired.tables) digests[name] = await digestDesired(table);
  digests[appliedTable.name] = await digestDesired(applied);
  return digests;
}

function kindOf(work: Work, plan: Plan): CommittedOutcome["kind"] {
  if (work.rollback) return "rolled-back";
  if (work.heal) return "healed";
  const { add, change, remove } = plan.summary;
  const isNew = readApplied(work.observed)?.commit !== work.revision.commit;
  return isNew && add + change + remove === 0 ? "unchanged" : "applied";
}
