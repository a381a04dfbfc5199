// Every program loads on the running kernel and on Linux 6.1, the oldest that is tried, far enough from the verifier's
// limit; and the loader that finds this out tells a refused program, and shares maps as the agent does.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { guestUnavailable, loadInGuest } from "../../scripts/verifier/guest.ts";
import {
  type KernelLoad,
  listObjects,
  loadHere,
  verifiedInstructionsMax,
} from "../../scripts/verifier/loader.ts";
import { formatLoad } from "../../scripts/verifier/report.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";

const shipped = listObjects(fileURLToPath(new URL("../../dist/objects", import.meta.url)));
/** What a program does with a plain packet when no policy is there. */
const permissive: Readonly<Record<string, readonly string[]>> = { xdp: ["pass"], sched_cls: ["next", "ok"] };
const guestMissing = guestUnavailable();
/** An emulated processor on a busy host takes its time. */
const timeout = 300_000;

function testLoading(load: (objects: readonly string[], folder: string) => KernelLoad): void {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "pk-verifier-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("takes every program, within the verifier's limit, and all let packets pass while there is no policy", {
    timeout,
  }, () => {
    const found = load(shipped, folder);
    process.stdout.write(`${formatLoad(found)}\n`);
    expect(found.refusals).toEqual([]);
    expect(new Set(found.programs.map(({ object }) => object)).size).toBe(shipped.length);
    for (const program of found.programs) {
      expect(program.jitedBytes, program.program).toBeGreaterThan(0);
      expect(program.verifiedInstructions, program.program).toBeGreaterThan(0);
      expect(program.verifiedInstructions, program.program).toBeLessThan(verifiedInstructionsMax);
      expect(permissive[program.type] ?? [program.verdict], program.program).toContain(program.verdict);
    }
  });

  it("shares maps by name, and tells what is refused from what is not", { timeout }, () => {
    const turns = [compileBpf("turns"), compileBpf("turns", ["AGAIN"])];
    const { programs, refusals } = load([turns[0]!, compileBpf("refused"), turns[1]!], folder);
    expect(programs.map(({ program, verdict }) => [program, verdict])).toEqual([
      ["xdp_turn", "aborted"],
      ["xdp_turn", "drop"],
    ]);
    expect(refusals).toMatchObject([{ program: "xdp_unbounded", reason: "Permission denied" }]);
    expect(refusals[0]?.log.join("\n")).toContain("invalid access to packet, off=5");
  });
}

describeKernel("the running kernel", () => testLoading(loadHere));

if (guestMissing === undefined) {
  describeKernel("Linux 6.1 in a virtual machine", () => testLoading(loadInGuest));
} else {
  process.stderr.write(`SKIPPED Linux 6.1 in a virtual machine: ${guestMissing}\n`);
  describe.skip(`Linux 6.1 in a virtual machine (skipped: ${guestMissing})`, () => testLoading(loadInGuest));
}
