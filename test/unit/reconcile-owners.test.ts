// Owners: a plan for Git leaves alone what is a feed's or the datapath's, counts it, and says so where Git takes a
// key over.
import { describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/index.ts";
import { type DesiredState, owners, PackedTableBuilder } from "../../src/compile/index.ts";
import { appliedEntries, makePlan, observe, runTransaction } from "../../src/reconcile/index.ts";
import { MemoryDatapath } from "../fixtures/memory-datapath.ts";
import { prefixTable } from "../fixtures/shape-tables.ts";

function host(last: number): Uint8Array {
  return new Uint8Array([64, 0, 0, 0, 1, 0, 0, 0, 192, 0, 2, last]);
}

function desired(hosts: readonly number[], owner: keyof typeof owners): DesiredState {
  const builder = new PackedTableBuilder(prefixTable);
  for (const last of hosts) builder.add(host(last), Uint8Array.of(1, owners[owner], 0, 0), 0);
  return {
    tables: new Map([[prefixTable.name, builder.build()]]),
    attachments: [],
    origins: [undefined],
    names: [],
    validUntil: Number.POSITIVE_INFINITY,
  };
}

async function plan(datapath: MemoryDatapath, hosts: readonly number[], owner: "git" | "feed") {
  return makePlan({
    desired: desired(hosts, owner),
    observed: await observe(datapath),
    datapath,
    kinds: [],
    applied: appliedEntries(undefined),
    interfaces: [],
    owner,
  });
}

async function apply(datapath: MemoryDatapath, hosts: readonly number[], owner: "git" | "feed") {
  const { transaction } = await plan(datapath, hosts, owner);
  await runTransaction(datapath, transaction, { clock: systemClock });
}

describe("a table with several owners", () => {
  it("loses to a commit of one owner only what is that owner's", async () => {
    const datapath = new MemoryDatapath([prefixTable], 16);
    await apply(datapath, [1, 2], "git");
    await apply(datapath, [3, 4, 5], "feed");
    await apply(datapath, [2], "git");
    const { tables } = await plan(datapath, [2], "git");
    expect(tables).toMatchObject([{ writes: 0, entriesBefore: 1, entriesAfter: 1, others: 3 }]);
    expect((await datapath.read(prefixTable)).count).toBe(4);
  });

  it("shows whose entry it is that Git takes the place of", async () => {
    const datapath = new MemoryDatapath([prefixTable], 16);
    await apply(datapath, [3], "feed");
    const { changes, tables } = await plan(datapath, [3, 4], "git");
    expect([...changes].map(({ action, owner }) => [action, owner])).toEqual([
      ["change", "feed"],
      ["add", "git"],
    ]);
    expect(tables).toMatchObject([{ writes: 2, others: 1 }]);
  });

  it("never lets a feed take what is Git's", async () => {
    const datapath = new MemoryDatapath([prefixTable], 16);
    await apply(datapath, [3], "git");
    expect((await plan(datapath, [3], "feed")).empty).toBe(true);
  });

  it("is full with everybody's entries, and the refusal says so", async () => {
    const datapath = new MemoryDatapath([prefixTable], 4);
    await apply(datapath, [1, 2, 3], "feed");
    await expect(plan(datapath, [4, 5], "git")).rejects.toMatchObject({
      code: "table-full",
      data: { table: prefixTable.name, wanted: 2, others: 3, peak: 5, capacity: 4 },
    });
  });
});
