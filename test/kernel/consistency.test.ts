// The race of `npm run stress -- consistency`, for some seconds: packets and transactions on two processors.
import { expect, it } from "vitest";
import { race } from "../../stress/consistency-run.ts";
import { allowedProcessors, bindTo } from "../../stress/processors.ts";
import { Random } from "../../stress/random.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";

const processors = allowedProcessors();
const [writer = 0, reader = 0] = [processors[0], processors.at(-1)];
const patienceS = 30;

describeKernel("packets and transactions side by side", () => {
  const raceFor = async (defines: readonly string[], enough: Parameters<typeof race>[0]["enough"]) => {
    bindTo([writer]);
    try {
      return await race({ defines, abortsMost: 6, random: new Random(1), processor: reader, enough });
    } finally {
      bindTo(processors);
    }
  };

  it("make no verdict of two revisions, of a foreign key, or of half of the entries", async () => {
    const { examples, ...counts } = await raceFor([], ({ seconds }) => seconds > 8);
    const faultless = { mixes: 0, missing: 0, foreign: 0, denied: 0, dangling: 0 };
    expect(counts, examples.join("\n")).toMatchObject(faultless);
    expect(counts.verdicts).toBeGreaterThan(0);
    expect(counts.commits).toBeGreaterThan(0);
  });

  it("make mixes where tables have no versions", async () => {
    const defines = ["PENSTOCK_UNVERSIONED"];
    const { mixes } = await raceFor(defines, (found) => found.mixes > 0 || found.seconds > patienceS);
    expect(mixes).toBeGreaterThan(0);
  });

  it("go on where entries have no sums", async () => {
    // Values of foreign keys are found here most times, but not each time: the long run alone insists on them.
    const defines = ["PENSTOCK_UNCHECKED"];
    const found = await raceFor(defines, ({ foreign, seconds }) => foreign > 0 || seconds > 4);
    expect(found).toMatchObject({ mixes: 0, missing: 0, denied: 0, dangling: 0 });
  });
});
