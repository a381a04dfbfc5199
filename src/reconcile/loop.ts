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
  readonly #waiting = new Map<string, () => Promise<unknown>>();
  readonly #source = new Backoff();
  readonly #host = new Backoff();
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
      schedule(this.#o.poll, () => this.#tick("poll", () => this.poll())),
      schedule(this.#o.scan, () => this.#tick("scan", () => this.#o.reconciler.scan("schedule"))),
    );
    return first;
  }

  /**
   * One poll: takes up interfaces that appeared, whether the repository answers or not; then asks the repository, and
   * reconciles if the ref moved or the last attempt has to be repeated.
   */
  async poll(): Promise<void> {
    const { reconciler, clock } = this.#o;
    if (this.#host.isOver(clock) && reconciler.hostChanged()) {
      const { error } = await reconciler.scan("poll");
      this.#host.note(error !== undefined, clock);
    }
    if (!this.#source.isOver(clock)) return;
    try {
      if (!this.#source.failed && (await reconciler.isCurrent())) return;
    } catch {
      // The repository did not answer the question: reconciling meets the same error and records it.
    }
    this.#note(await reconciler.reconcile("poll"));
  }

  /** No new work; returns when what is under way is done. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const task of this.#tasks) await task.destroy();
    await this.#under;
    await this.#o.reconciler.idle();
  }

  /** One thing at a time; a tick that comes while its like still waits is dropped, for that one sees the newest state. */
  #tick(kind: string, work: () => Promise<unknown>): void {
    if (this.#stopped) return;
    this.#waiting.set(kind, work);
    this.#under ??= this.#workOff().finally(() => {
      this.#under = undefined;
    });
  }

  async #workOff(): Promise<void> {
    for (let next = this.#take(); next !== undefined; next = this.#take()) {
      await next().catch((thrown: unknown) => {
        const error = asPenstockError(thrown);
        this.#o.log.error({ code: error.code }, error.message);
      });
    }
  }

  #take(): (() => Promise<unknown>) | undefined {
    const [first] = this.#waiting;
    if (first === undefined || this.#stopped) return undefined;
    this.#waiting.delete(first[0]);
    return first[1];
  }

  #note(outcome: Outcome): void {
    const again = outcome.kind === "failed" && outcome.retry;
    const waitMs = this.#source.note(again, this.#o.clock);
    if (again) this.#o.log.warn({ waitMs }, "Trying again after an error");
  }
}

/** Waits longer after each failure in a row. */
class Backoff {
  #failures = 0;
  #untilMs = 0;

  get failed(): boolean {
    return this.#failures > 0;
  }

  isOver(clock: Clock): boolean {
    return clock.monotonicMs() >= this.#untilMs;
  }

  /** Returns how long to wait, in milliseconds. */
  note(failed: boolean, clock: Clock): number {
    this.#failures = failed ? this.#failures + 1 : 0;
    const waitMs = failed ? backoffMs(this.#failures) : 0;
    this.#untilMs = clock.monotonicMs() + waitMs;
    return waitMs;
  }
}
