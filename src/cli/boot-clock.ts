// Times since boot, as the datapath gives them, in wall-clock time.
import { readFileSync } from "node:fs";

/** How long a measured difference is relied on: the wall clock may be set meanwhile. */
const trustedMs = 60_000;

export class BootClock {
  #differenceMs = 0;
  #measuredAtMs = Number.NEGATIVE_INFINITY;

  /** Milliseconds since the epoch; exact to 10 ms, which is how /proc/uptime counts. */
  wallClockMs(bootNs: bigint): number {
    const now = Date.now();
    if (Math.abs(now - this.#measuredAtMs) > trustedMs) {
      this.#measuredAtMs = now;
      const uptimeMs = Number.parseFloat(readFileSync("/proc/uptime", "latin1")) * 1000;
      this.#differenceMs = now - uptimeMs;
    }
    return Math.round(this.#differenceMs + Number(bootNs / 1000n) / 1000);
  }
}
