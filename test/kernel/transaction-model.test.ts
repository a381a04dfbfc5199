// The life of a set of tables, in the kernel: see test/fixtures/transaction-model.ts.
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, it } from "vitest";
import { readObjectAbi } from "../../src/abi/index.ts";
import { appliedTable, directoryTable, referencesSpec, tableSpec } from "../../src/compile/index.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { TablesDatapath } from "../fixtures/tables-datapath.ts";
import { lives, TransactionWorld } from "../fixtures/transaction-model.ts";

const names = {
  keyed: "shape_keyed",
  prefix: "shape_prefix",
  ordered: "shape_ordered",
  bank: "shape_bank",
  references: "shape_devices",
} as const;

function openShapes(): TablesDatapath {
  const path = compileBpf("small-shapes");
  const { maps } = readObjectAbi("small_shapes", readFileSync(path));
  const map = (name: string) => {
    const found = maps[name];
    if (found === undefined) throw new Error(`no map ${name}`);
    return found;
  };
  return new TablesDatapath(path, {
    tables: [
      tableSpec(map(names.keyed), { shape: "keyed", presence: "present", filtered: true }),
      tableSpec(map(names.prefix), { shape: "prefix", presence: "presence" }),
      tableSpec(map(names.ordered), { shape: "ordered", presence: "present", identity: ["id"] }),
      tableSpec(map(names.bank), { shape: "slots", presence: "present" }),
      referencesSpec(map(names.references), "device"),
      directoryTable,
      appliedTable,
    ],
  });
}

describeKernel("transactions over tables of every shape", () => {
  it("show packets what the model says, whatever happens in whichever order", async () => {
    await fc.assert(
      fc.asyncProperty(lives, async (steps) => {
        const datapath = openShapes();
        try {
          const world = new TransactionWorld(datapath, names);
          for (const step of steps) await step(world);
        } finally {
          datapath.close();
        }
      }),
      { numRuns: 25 },
    );
    expect.hasAssertions();
  }, 120_000);
});
