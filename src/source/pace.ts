// Long work on the processor (indexing, walking) breathes: it lets the event loop run, so that timers, sockets
// and the agent's deadlines are served, and it notices that it was cancelled.
import { setImmediate } from "node:timers/promises";
import { PenstockError } from "../base/index.ts";
import { cancelled } from "./errors.ts";

const sliceMs = 10;

export class Pace {
  readonly signal: AbortSignal;
  #since = performance.now();

  constructor(signal: AbortSignal) {
    this.signal = signal;
  }

  /** True if it is time to await `breathe()`; cheap enough for inner loops. */
  get due(): boolean {
    return performance.now() - this.#since > sliceMs;
  }

  async breathe(): Promise<void> {
    throwIfAborted(this.signal);
    if (!this.due) return;
    await setImmediate();
    this.#since = performance.now();
    throwIfAborted(this.signal);
  }
}

export function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw signal.reason instanceof PenstockError ? signal.reason : cancelled();
}
