// A table that somebody else fills between the plan and the transaction: the kernel's own refusal.
import { afterAll, beforeAll, expect, it } from "vitest";
import { PenstockError, systemClock } from "../../src/base/index.ts";
import type { KernelDatapath } from "../../src/bpf/index.ts";
import { runTransaction } from "../../src/reconcile/index.ts";
import { addressSet, firewall, policyOf } from "../fixtures/firewall-documents.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { leftovers, probesOf, viewPackets } from "../fixtures/packet-view.ts";
import { applyDocuments, openTestDatapath, planDocuments } from "../fixtures/test-datapath.ts";

describeKernel("a table that fills up under a transaction", () => {
  const pins = makePinDirectory();
  let datapath: KernelDatapath;
  beforeAll(async () => {
    datapath = await openTestDatapath(pins, { addressesMax: 32 });
  });
  afterAll(() => {
    datapath?.uninstall();
    datapath?.close();
  });

  const hosts = (count: number) => Array.from({ length: count }, (_, i) => `192.0.2.${i}`);
  const policy = (count: number) =>
    policyOf(
      addressSet("s", hosts(count)),
      firewall("edge", [{ name: "s", match: { source: { sets: ["s"] } } }]),
    );
  const key = (i: number) => new Uint8Array([64, 0, 0, 0, 77, 0, 0, 0, 10, 0, 0, i]);

  it("aborts, leaves what packets see, and says what is wanted, present and possible", async () => {
    await applyDocuments(datapath, policy(4), { interfaces: [] });
    const { plan } = await planDocuments(datapath, policy(20), { interfaces: [] });
    const map = datapath.object.map("address_set_v4");
    for (let i = 0; i < 20; i++) map.update(key(i), new Uint8Array(16).fill(0));
    const probes = await probesOf(datapath);
    const seen = await viewPackets(datapath, probes);
    const thrown = await runTransaction(datapath, plan.transaction, { clock: systemClock }).catch((e) => e);
    expect(thrown).toBeInstanceOf(PenstockError);
    expect(thrown.data).toMatchObject({
      errno: "ENOSPC",
      table: "address_set_v4",
      wanted: 20,
      present: 4,
      capacity: 32,
    });
    expect(await viewPackets(datapath, probes)).toEqual(seen);
    for (let i = 0; i < 20; i++) map.remove(key(i));
    expect(await leftovers(datapath)).toEqual([]);
    await applyDocuments(datapath, policy(20), { interfaces: [] });
    const { tables } = (await planDocuments(datapath, policy(20), { interfaces: [] })).plan;
    expect(tables.find(({ table }) => table === "address_set_v4")).toMatchObject({
      writes: 0,
      entriesBefore: 20,
    });
  });

  it("is refused while planning where it is known before", async () => {
    await expect(planDocuments(datapath, policy(33), { interfaces: [] })).rejects.toMatchObject({
      code: "table-full",
      remedy: expect.stringContaining("limits.addressesMax"),
      data: { table: "address_set_v4", wanted: 33, peak: 33, capacity: 32 },
    });
  });
});
