// The stress suite `crash`, cut short: agents that are killed at some points of each kind of transaction. All points
// are `npm run stress -- crash`.
import { expect, it } from "vitest";
import { stressCrash } from "../../stress/crash.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";

describeKernel("an agent that is killed with SIGKILL", () => {
  it("leaves the old state or the new one, a true audit log, and nothing else", {
    timeout: 300_000,
  }, async () => {
    const report = await stressCrash({
      seconds: undefined,
      packets: undefined,
      seed: 4,
      every: 48,
      recoverFrom: [0.5],
      signal: new AbortController().signal,
      progress: undefined,
    });
    expect(report.ok, report.text).toBe(true);
  });
});
