// Real filter sets, with the kernel's own verdicts: for headers made from the rules, the rule that decides and the
// verdict are those of a linear first match.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createTestRunner } from "../../src/bpf/index.ts";
import { compareWithOracle } from "../fixtures/classbench/compare.ts";
import { makeHeaders } from "../fixtures/classbench/headers.ts";
import { recordsOf } from "../fixtures/classbench/records.ts";
import { readFilterRules } from "../fixtures/classbench/rules.ts";
import { FilterWorld } from "../fixtures/classbench/world.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";

const folder = fileURLToPath(new URL("../../../shared/data/classbench", import.meta.url));
const sets = ["acl1_1k", "fw1_1k", "ipc1_1k", "acl1_10k", "fw1_10k", "ipc1_10k"];
const headerCount = 20_000;
const seed = Number(process.env["PENSTOCK_SEED"] ?? 2026);

if (!existsSync(folder)) process.stderr.write(`SKIPPED ClassBench sets: ${folder} is not there\n`);

describeKernel("the classifier over ClassBench sets", () => {
  const pins = makePinDirectory();
  let world: FilterWorld;

  beforeAll(async () => {
    world = await FilterWorld.open(pins, 16_384);
  });
  afterAll(() => {
    world?.close();
  });

  it.skipIf(!existsSync(folder)).each(sets)(
    "finds the first rule that matches in %s",
    async (set) => {
      const rules = readFilterRules(`${folder}/${set}.rules.gz`);
      await world.apply(rules.flatMap((rule, i) => recordsOf(rule, i, "match")));
      const runner = createTestRunner(world.datapath.object.program("xdp_firewall"));
      const counters = world.datapath.object.map("rule_counters");
      const headers = makeHeaders(rules, headerCount, seed);
      const { wrong } = compareWithOracle({ rules, headers, runner, counters, flags: "match" });
      expect(wrong.slice(0, 5), `seed ${seed}`).toEqual([]);
    },
    60_000,
  );
});
