// Tables of every shape under real transactions, looked at by a program after every single operation: whatever was
// done so far, all that a packet finds is of its own generation, and the filter knows every key of the table.
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { createTestRunner, type TestRunner } from "../../src/bpf/index.ts";
import { recover } from "../../src/reconcile/index.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { FaultyDatapath } from "../fixtures/faulty-datapath.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { commitNext, ShapesDatapath, type Tally } from "../fixtures/shapes-datapath.ts";

/** What the tables hold repeats itself after so many generations, but for the numbers in it. */
const period = 24;
/** Enough for every key of every table to be looked up. */
const packets = 16;

const faultless = { mixes: 0, missing: 0, foreign: 0, failed: 0, denied: 0, dangling: 0 };

describeKernel("tables of every shape", () => {
  let datapath: ShapesDatapath;
  let runner: TestRunner;
  let before: Tally;

  beforeAll(async () => {
    datapath = new ShapesDatapath(compileBpf("shapes"));
    runner = createTestRunner(datapath.object.program("xdp_shapes"));
    await commitNext(datapath);
  });
  beforeEach(() => {
    before = datapath.tally();
  });
  afterAll(() => {
    datapath?.close();
  });

  /** Faults since the test began. */
  const faults = () => {
    const after = datapath.tally();
    const names = Object.keys(faultless) as (keyof typeof faultless)[];
    return Object.fromEntries(names.map((name) => [name, after[name] - before[name]]));
  };
  const look = async (operation: string) => {
    for (let i = 0; i < packets; i++) runner.run(new Uint8Array(64));
    expect({ operation, ...faults() }, datapath.examples().join("\n")).toEqual({ operation, ...faultless });
  };
  /** Fails never, and has a look after each operation. */
  const watched = () =>
    new FaultyDatapath(datapath, { failAt: Number.POSITIVE_INFINITY, kind: "once" }, look);
  const filterId = () => datapath.object.map("flows_filter").lookup(new Uint8Array(4))?.join();

  it("show one generation after every operation of a transaction", async () => {
    for (let i = 0; i < period; i++) await commitNext(datapath, { through: watched() });
  });

  for (const kind of ["once", "dead"] as const) {
    it(`show one generation when a transaction fails at any operation: ${kind}`, async () => {
      for (let failAt = 0, failed = true; failed; failAt++) {
        const faulty = new FaultyDatapath(datapath, { failAt, kind }, look);
        failed = await commitNext(datapath, { through: faulty }).then(
          ({ settleError }) => settleError !== undefined,
          () => true,
        );
        await look("afterwards");
        await recover(datapath);
        await look("recovered");
      }
    });
  }

  it("keep entries of a hash where they are, so that no program misses one that is being written", async () => {
    const flows = datapath.tables.find(({ name }) => name === "flows") ?? expect.fail("no table of flows");
    // A replaced entry becomes the first of its bucket; many buckets hold several.
    const { keys, values } = await datapath.read(flows);
    await datapath.write(flows, keys, values);
    expect(Buffer.from((await datapath.read(flows)).keys)).toEqual(Buffer.from(keys));
    await datapath.object.map("flows").updateAll(keys, values);
    expect(Buffer.from((await datapath.read(flows)).keys)).not.toEqual(Buffer.from(keys));
  });

  it("are never denied a key by their filter, while it is made anew", async () => {
    const flows = datapath.tables.find(({ name }) => name === "flows") ?? expect.fail("no table of flows");
    const stale = Buffer.concat(Array.from({ length: 200 }, () => datapath.content.guestKeys));
    for (let i = 0; i < period; i++) {
      const old = filterId();
      await datapath.remove(flows, stale);
      expect(filterId()).not.toBe(old);
      await look("made anew");
      await commitNext(datapath, { through: watched() });
    }
  });
});
