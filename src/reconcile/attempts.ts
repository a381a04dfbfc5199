// Writes attempts to the audit log, and the same facts to the log that people read along. A failure that repeats
// at every poll is recorded when it begins and when it changes, not a thousand times.
import type { PenstockError, Revision } from "../base/index.ts";
import type { Plan } from "./plan.ts";
import type { Attempt, AttemptLog, AttemptOutcome, Logger, Trigger } from "./ports.ts";
import type { TransactionResult } from "./transaction.ts";
import { reasonOf } from "./words.ts";

export interface Written {
  readonly outcome: AttemptOutcome;
  readonly reason: string;
  readonly message: string;
  readonly revision: Revision | undefined;
  readonly trigger: Trigger;
  readonly plan?: Plan;
  readonly result?: TransactionResult;
  readonly digests?: Attempt["digests"];
  readonly diagnostics?: readonly string[];
}

export interface AttemptWriterOptions {
  readonly attempts: AttemptLog;
  readonly log: Logger;
  readonly host: string;
  readonly version: string;
}

export class AttemptWriter {
  readonly #o: AttemptWriterOptions;
  #lastFailure: string | undefined;

  constructor(options: AttemptWriterOptions) {
    this.#o = options;
  }

  async write(written: Written): Promise<void> {
    const { outcome, reason, message, revision, trigger, plan, result } = written;
    this.#lastFailure = undefined;
    const facts = { outcome, reason, commit: revision?.commit, trigger, timingsMs: result?.timingsMs };
    if (outcome === "refused" || outcome === "drift") this.#o.log.warn(facts, message);
    else this.#o.log.info(facts, message);
    await this.#o.attempts.append({
      outcome,
      reason,
      message,
      revision: revision === undefined ? null : identityOf(revision),
      generation:
        result === undefined
          ? null
          : { before: Number(result.generation.before), after: Number(result.generation.after) },
      plan: plan === undefined ? null : await summaryOf(plan),
      digests: written.digests ?? null,
      timingsMs: { ...result?.timingsMs },
      ...(written.diagnostics === undefined || written.diagnostics.length === 0
        ? {}
        : { diagnostics: written.diagnostics }),
      host: this.#o.host,
      agentVersion: this.#o.version,
      trigger,
    });
  }

  /** Records a failure, unless the last thing that happened was the same failure at a poll. */
  async writeFailure(failure: {
    readonly outcome: AttemptOutcome;
    readonly error: PenstockError;
    readonly revision: Revision | undefined;
    readonly trigger: Trigger;
  }): Promise<void> {
    const { outcome, error, revision, trigger } = failure;
    const message = error.remedy === undefined ? error.message : `${error.message}. ${error.remedy}`;
    const same = `${error.code} ${revision?.commit ?? ""}`;
    if (trigger === "poll" && this.#lastFailure === same) return;
    this.#o.log.error({ code: error.code, ...error.data }, message);
    try {
      await this.write({ outcome, reason: reasonOf(error), message, revision, trigger });
    } catch (thrown) {
      // The disk may be what failed in the first place; the log above has said it, and nothing was committed.
      this.#o.log.error({ error: String(thrown) }, "Cannot write the audit record of the failure");
    }
    this.#lastFailure = same;
  }
}

function identityOf(revision: Revision): Attempt["revision"] {
  const { commit, ref, tree, author, committer, subject } = revision;
  return { commit, ref, tree, author, committer, subject };
}

async function summaryOf(plan: Plan): Promise<Attempt["plan"]> {
  return {
    summary: plan.summary,
    digest: await plan.digest(),
    tables: plan.tables
      .filter((t) => t.writes > 0)
      .map(({ table, add, change, remove }) => ({ table, add, change, remove })),
  };
}
