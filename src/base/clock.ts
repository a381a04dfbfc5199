// Time as a port, so that schedules and expiry can be tested without waiting.

export interface Clock {
  /** Milliseconds since the epoch (wall clock). */
  now(): number;
  /** Milliseconds from a fixed point, never going back; for durations. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
};
