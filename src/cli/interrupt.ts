// Signals that ask a command to end: it finishes what it is at, and exits by itself.

export interface Interrupt {
  readonly signal: AbortSignal;
  /** Gives the signals back their usual effect. */
  end(): void;
}

/** Aborts at SIGINT or SIGTERM; a second one ends the process at once. */
export function untilInterrupted(): Interrupt {
  const controller = new AbortController();
  const end = () => {
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  };
  const stop = () => {
    end();
    controller.abort();
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  return { signal: controller.signal, end };
}
