// The failure sweep over a model of the kernel, for random pairs of policies.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { policyTables } from "../../src/kinds/index.ts";
import { arbitraryPolicy, type PolicyDocuments, pooledInterfaces } from "../fixtures/firewall-arbitraries.ts";
import { MemoryDatapath } from "../fixtures/memory-datapath.ts";
import { PolicyRefused } from "../fixtures/test-datapath.ts";
import { sweepTransaction } from "../fixtures/transaction-sweep.ts";

const interfaces = pooledInterfaces.map((name, i) => ({ name, index: i + 1 }));

async function sweep(before: PolicyDocuments, after: PolicyDocuments): Promise<number> {
  const datapath = new MemoryDatapath(policyTables, 4096);
  datapath.hostInterfaces = interfaces;
  try {
    return await sweepTransaction(datapath, before, after, { interfaces, attach: true });
  } catch (thrown) {
    if (thrown instanceof PolicyRefused) return 0;
    throw thrown;
  }
}

describe("a transaction that fails at operation k, for every k", () => {
  it("shows packets the old policy or the new one, for any two policies", { timeout: 120_000 }, async () => {
    const seed = Number(process.env["PENSTOCK_SEED"] ?? Date.now() % 0x7fffffff);
    const pairs = fc.sample(fc.tuple(arbitraryPolicy, arbitraryPolicy), { seed, numRuns: 5 });
    let points = 0;
    for (const [before, after] of pairs) points += await sweep(before, after);
    expect({ seed, enough: points > 60 }).toEqual({ seed, enough: true });
  });
});
