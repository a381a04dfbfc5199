// Read back before the commit: a write that the kernel did not take as it was meant is found, whatever byte of it is
// wrong and however the table is read, and packets see what they saw.
import { describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/index.ts";
import { type DesiredState, PackedTableBuilder, type TableSpec } from "../../src/compile/index.ts";
import { appliedEntries, makePlan, observe, runTransaction } from "../../src/reconcile/index.ts";
import { MemoryDatapath } from "../fixtures/memory-datapath.ts";
import { leftovers, viewPackets } from "../fixtures/packet-view.ts";
import { keyedTable, prefixTable } from "../fixtures/shape-tables.ts";

/** Takes one byte of the first value that it is given otherwise than it is. */
class ForgetfulDatapath extends MemoryDatapath {
  forgets: { readonly byte: number } | undefined;

  override async write(spec: TableSpec, keys: Uint8Array, values: Uint8Array): Promise<void> {
    if (this.forgets === undefined) return super.write(spec, keys, values);
    const wrong = Uint8Array.from(values);
    wrong[this.forgets.byte] = (wrong[this.forgets.byte] ?? 0) ^ 1;
    this.forgets = undefined;
    await super.write(spec, keys, wrong);
  }
}

function words(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

function entries(spec: TableSpec, count: number, what: number): DesiredState {
  const builder = new PackedTableBuilder(spec);
  for (let i = 0; i < count; i++) {
    if (spec === keyedTable) builder.add(words(i), words(1, what), 0);
    else builder.add(words(64, 1, i), Uint8Array.of(1, 0, what, 0), 0);
  }
  return {
    tables: new Map([[spec.name, builder.build()]]),
    attachments: [],
    origins: [undefined],
    names: [],
    validUntil: Number.POSITIVE_INFINITY,
  };
}

async function commit(datapath: MemoryDatapath, desired: DesiredState): Promise<void> {
  const observed = await observe(datapath);
  const applied = appliedEntries(undefined);
  const plan = await makePlan({ desired, observed, datapath, kinds: [], applied, interfaces: [] });
  await runTransaction(datapath, plan.transaction, { clock: systemClock });
}

describe.each([
  ["keyed", keyedTable],
  ["prefix", prefixTable],
] as const)("a %s table", (_, spec) => {
  // 5000 entries are read all at once.
  it.each([10, 5000])("of %i entries is not committed with any byte of one wrong", async (count) => {
    const bytes = Array.from({ length: spec.valueSize }, (_, byte) => byte).filter((byte) => byte % 3 === 0);
    for (const byte of count > 1000 ? bytes.slice(0, 6) : bytes) {
      const datapath = new ForgetfulDatapath([spec], 8192);
      await commit(datapath, entries(spec, count, 1));
      const seen = await viewPackets(datapath, {});
      datapath.forgets = { byte };
      await expect(commit(datapath, entries(spec, count, 2))).rejects.toMatchObject({
        code: "read-back-differs",
      });
      expect(await viewPackets(datapath, {})).toEqual(seen);
      expect(await leftovers(datapath)).toEqual([]);
    }
  });
});
