// The life of a set of tables, in memory: see test/fixtures/transaction-model.ts.
import fc from "fast-check";
import { expect, it } from "vitest";
import { MemoryDatapath } from "../fixtures/memory-datapath.ts";
import { shapeTables } from "../fixtures/shape-tables.ts";
import { lives, TransactionWorld } from "../fixtures/transaction-model.ts";

const names = {
  keyed: "shape_keyed",
  prefix: "shape_prefix",
  ordered: "shape_ordered",
  bank: "shape_bank",
  references: "shape_devices",
} as const;

it("shows packets what the model says, whatever happens in whichever order", async () => {
  await fc.assert(
    fc.asyncProperty(lives, async (steps) => {
      const world = new TransactionWorld(new MemoryDatapath(shapeTables, 64), names);
      for (const step of steps) await step(world);
    }),
    { numRuns: 600 },
  );
  expect.hasAssertions();
}, 60_000);
