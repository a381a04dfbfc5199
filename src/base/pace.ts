// Long work in chunks: gives the event loop its turn when a time budget is used up, and stops when told to.
import { setImmediate as nextTurn } from "node:timers/promises";
import { PenstockError } from "./errors.ts";

export interface PaceOptions {
  /** Stops the work between two chunks with an error of code `aborted`. */
  readonly signal?: AbortSignal | undefined;
  /** Longest time without a turn of the event loop, one chunk apart; default 5 ms. */
  readonly budgetMs?: number | undefined;
}

export interface Pace {
  /** To be awaited between chunks. `done` is what was finished so far, for the error. */
  step(done: number): Promise<void>;
}

const BUDGET_MS = 5;

/** Checks the signal at once and then between chunks. `action` reads after "Cannot": `scan map flows`. */
export function startPace(action: string, options: PaceOptions = {}): Pace {
  const { signal, budgetMs = BUDGET_MS } = options;
  let turnStart = performance.now();
  const check = (done: number) => {
    if (signal?.aborted === true) throw abortedError(action, signal.reason, done);
  };
  check(0);
  return {
    async step(done) {
      check(done);
      if (performance.now() - turnStart < budgetMs) return;
      await nextTurn();
      turnStart = performance.now();
      check(done);
    },
  };
}

/** Code `aborted`: somebody gave the signal; `done` entries or steps were finished by then. */
export function abortedError(action: string, reason: unknown, done: number): PenstockError {
  return new PenstockError({
    code: "aborted",
    disposition: "transient",
    message: `Cannot ${action}: aborted after ${done}`,
    data: { done },
    cause: reason,
  });
}
