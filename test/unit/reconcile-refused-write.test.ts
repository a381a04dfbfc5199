// A write that the kernel refuses, in any table and with any errno: the transaction is aborted, packets see what they
// saw, nothing is left behind, and the error names table, limit, wanted and present.
import { expect, it } from "vitest";
import { PenstockError, systemClock } from "../../src/base/index.ts";
import type { TableSpec } from "../../src/compile/index.ts";
import { policyTables } from "../../src/kinds/index.ts";
import { runTransaction } from "../../src/reconcile/index.ts";
import { addressSet, firewall, policyOf } from "../fixtures/firewall-documents.ts";
import { MemoryDatapath } from "../fixtures/memory-datapath.ts";
import { leftovers, probesOf, viewPackets } from "../fixtures/packet-view.ts";
import { applyDocuments, planDocuments } from "../fixtures/test-datapath.ts";

const capacity = 64;
const host = { interfaces: [{ name: "eth0", index: 7 }] };

/** Writes half of what it is given to one table, and refuses the rest. */
class RefusingDatapath extends MemoryDatapath {
  refused: { readonly table: string; readonly errno: string } | undefined;

  override async write(spec: TableSpec, keys: Uint8Array, values: Uint8Array): Promise<void> {
    if (this.refused?.table !== spec.name) return super.write(spec, keys, values);
    const { errno } = this.refused;
    // Only once: what aborts writes too.
    this.refused = undefined;
    const half = Math.floor(keys.length / spec.keySize / 2);
    await super.write(spec, keys.subarray(0, half * spec.keySize), values.subarray(0, half * spec.valueSize));
    throw new PenstockError({
      code: "kernel-call-failed",
      disposition: errno === "ENOSPC" ? "stalled" : "transient",
      message: `Cannot update map ${spec.name}: ${errno}`,
      remedy: "Make room",
      data: { errno, written: half },
    });
  }
}

const before = policyOf(
  addressSet("office", ["192.0.2.0/24", "2001:db8::/32"]),
  firewall("edge", [{ name: "office", match: { source: { sets: ["office"] } } }]),
);
const after = policyOf(
  addressSet("office", ["192.0.2.0/25", "192.0.2.128/26", "2001:db8:1::/48", "2001:db8:2::/48"]),
  firewall("edge", [
    { name: "web", match: { protocol: "tcp" } },
    { name: "office", action: "drop", match: { source: { sets: ["office"] } } },
  ]),
  firewall("other", [{ name: "all" }]),
);

const written = ["fw_rules", "address_set_v4", "address_set_v6", "directory", "applied"];
const cases = written.flatMap((table) =>
  ["ENOSPC", "ENOMEM", "EBUSY"].map((errno) => [table, errno] as const),
);

it.each(cases)("%s: %s", async (table, errno) => {
  const datapath = new RefusingDatapath(policyTables, capacity);
  await applyDocuments(datapath, before, { ...host, commit: "1".repeat(40) });
  const { plan } = await planDocuments(datapath, after, { ...host, commit: "2".repeat(40) });
  const probes = await probesOf(datapath);
  const seen = await viewPackets(datapath, probes);
  datapath.refused = { table, errno };
  const thrown = await runTransaction(datapath, plan.transaction, { clock: systemClock }).catch((e) => e);
  expect(datapath.refused).toBeUndefined();
  expect(thrown).toBeInstanceOf(PenstockError);
  const summary = plan.tables.find((t) => t.table === table);
  expect(thrown.data).toMatchObject({
    errno,
    table,
    capacity,
    wanted: summary?.entriesAfter,
    present: summary?.entriesBefore,
  });
  expect(thrown.message).toContain(`Cannot prepare ${table}: Cannot update map ${table}: ${errno}`);
  expect(thrown.message).toContain(`${summary?.entriesAfter} are wanted, and it holds ${capacity}`);
  expect(thrown.remedy).toBe("Make room");
  expect(await viewPackets(datapath, probes)).toEqual(seen);
  expect(await leftovers(datapath)).toEqual([]);
  const next = await applyDocuments(datapath, after, { ...host, commit: "2".repeat(40) });
  expect(next.result?.written).toBe(plan.tables.reduce((sum, { writes }) => sum + writes, 0));
});
