// The program against the reference model, as `npm run stress -- differential` does it, for as many triples of policy,
// state and packet as a check may take. PENSTOCK_SEED repeats a run, PENSTOCK_TRIPLES sets its length.
import { afterAll, beforeAll, expect, it } from "vitest";
import { DifferentialRun, readCapturedFrames } from "../../stress/differential-run.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeNamespace } from "../fixtures/network-namespace.ts";

const triples = Number(process.env["PENSTOCK_TRIPLES"] ?? 1_000_000);
const seed = Number(process.env["PENSTOCK_SEED"] ?? Date.now() % 0x7fffffff);
const captures = readCapturedFrames();

if (captures.length === 0) console.warn("SKIPPED: there are no captures");

describeKernel("xdp_firewall against the model", () => {
  let run: DifferentialRun;
  const pins = makePinDirectory();

  beforeAll(async () => {
    run = await DifferentialRun.start({ seed, place: makeNamespace(), pins });
  });
  afterAll(() => {
    run?.close();
  });

  it.skipIf(captures.length === 0)(
    "agrees on every frame of the captures",
    { timeout: 600_000 },
    async () => {
      await run.captured(captures, 40);
      expect(run.report().difference).toBeUndefined();
      expect(run.report().policies).toBeGreaterThan(20);
    },
  );

  it(`agrees on ${triples} triples of policy, state and packet`, { timeout: 600_000 }, async () => {
    console.log(`differential test: seed ${seed} (PENSTOCK_SEED=${seed} repeats it)`);
    const before = run.report().triples;
    await run.random((soFar) => soFar.triples - before >= triples);
    const { difference, policies, refused, reasons } = run.report();
    expect(difference, `seed ${seed}`).toBeUndefined();
    expect(refused).toBeLessThan(policies / 4);
    expect(Object.keys(reasons)).toEqual(expect.arrayContaining(["rule-pass", "rule-drop", "default-drop"]));
  });
});
