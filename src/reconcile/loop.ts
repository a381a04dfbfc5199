// The agent's loop: polls the repository and scans for drift on cron schedules, one thing at a time, with backoff
// after transient errors, and stops without leaving anything half done.
import { type ScheduledTask, schedule } from "node-cron";
import { asPenstockError, type Clock } from "../base/index.ts";
import type { Outcome } from "./outcome.ts";
import type { Logger } from "./ports.ts";
import type { Reconciler } from "./reconciler.ts";

export interface LoopOptions {
  readonly reconciler: Reconciler;
  readonly clock: Clock;
  readonly log: Logger;
  /** Cron expressions; six fields begin with seconds. */
  readonly poll: string;
  readonly scan: string;
}

const backoffFirstMs = 1_000;
const backoffMostMs = 300_000;

/** How long to wait after the nth failure in a row (from 1), in milliseconds: doubling, bounded. */
export function backoffMs(failures: number): number {
  return Math.min(backoffMostMs, backoffFirstMs * 2 ** Math.min(failures - 1, 20));
}

/** Polls and scans on schedule until it is stopped. */
export class Loop {
  readonly #o: LoopOptions;
  readonly #tasks: ScheduledTask[] = [];
  #failures = 0;
  #retryAtMs = 0;
  #under: Promise<unknown> | undefined;
  #stopped = false;

  constructor(options: LoopOptions) {
    this.#o = options;
  }

  /** The first reconciliation, then the schedules. */
  async start(): Promise<Outcome> {
    const first = await this.#o.reconciler.reconcile("start");
    this.#note(first);
    if (this.#stopped) return first;
    this.#tasks.push(
      schedule(this.#o.poll, () => this.#tick(() => this.poll())),
      schedule(this.#o.scan, () => this.#tick(() => this.#o.reconciler.scan("schedule"))),
    );
    return first;
  }

  /** One poll: asks the repository, and reconciles if the ref moved or the last attempt has to be repeated. */
  async poll(): Promise<void> {
    if (this.#o.clock.monotonicMs() < this.#retryAtMs) return;
    try {
      if (this.#failures === 0 && (await this.#o.reconciler.isCurrent())) {
        if (this.#o.reconciler.hostChanged()) await this.#o.reconciler.scan("poll");
        return;
      }
      this.#note(await this.#o.reconciler.reconcile("poll"));
    } catch {
      // The repository did not answer the question: reconciling meets the same error and records it.
      this.#note(await this.#o.reconciler.reconcile("poll"));
    }
  }

  /** No new work; returns when what is under way is done. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const task of this.#tasks) await task.destroy();
    await this.#under;
    await this.#o.reconciler.idle();
  }

  /** A tick that comes while the one before is still busy is dropped: the next one will see the newest state. */
  #tick(work: () => Promise<unknown>): void {
    if (this.#stopped || this.#under !== undefined) return;
    this.#under = work()
      .catch((thrown: unknown) => {
        const error = asPenstockError(thrown);
        this.#o.log.error({ code: error.code }, error.message);
      })
      .finally(() => {
        this.#under = undefined;
      });
  }

  #note(outcome: Outcome): void {
    if (outcome.kind !== "failed" || outcome.error.disposition !== "transient") {
      this.#failures = 0;
      this.#retryAtMs = 0;
      return;
    }
    this.#failures++;
    const wait = backoffMs(this.#failures);
    this.#retryAtMs = this.#o.clock.monotonicMs() + wait;
    this.#o.log.warn({ failures: this.#failures, waitMs: wait }, "Trying again after a transient error");
  }
}
