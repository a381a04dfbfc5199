// What a transaction costs: address sets of several sizes loaded into an empty table and changed by one entry, beside
// the bare batch update of a map of the same layout in the same run.
import { rmSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { systemClock } from "../src/base/index.ts";
import { createMap, type KernelDatapath, MAP_FLAG, MAP_TYPE, openDatapath } from "../src/bpf/index.ts";
import { idRangesFor } from "../src/compile/index.ts";
import { capacitiesFor, kinds, policyTables } from "../src/kinds/index.ts";
import {
  appliedEntries,
  knownIds,
  makePlan,
  observe,
  type Plan,
  preparePolicy,
  runTransaction,
} from "../src/reconcile/index.ts";
import type { Row } from "./main.ts";

const sizes = [1_000, 10_000, 100_000, 1_000_000];
const rulesMax = 1024;

export async function benchCommit(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const size of sizes) {
    const pins = `/sys/fs/bpf/penstock-bench-${process.pid}`;
    const datapath = await open(pins, size + 16);
    try {
      const entries = Array.from(
        { length: size },
        (_, i) => `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`,
      );
      const load = await apply(datapath, entries);
      const bareMs = await bareUpdate(size);
      entries[Math.floor(size / 2)] = "192.0.2.1";
      const change = await apply(datapath, entries);
      rows.push({
        entries: size,
        "load: written": load.written,
        "load: plan ms": load.planMs,
        "load: transaction ms": load.transactionMs,
        "bare batch ms": bareMs,
        "load / bare": round(load.transactionMs / bareMs),
        "one changed: written": change.written,
        "one changed: plan ms": change.planMs,
        "one changed: transaction ms": change.transactionMs,
        "grace ms": change.graceMs,
      });
    } finally {
      datapath.uninstall();
      datapath.close();
      rmSync(pins, { recursive: true, force: true });
    }
  }
  return rows;
}

function open(pinDirectory: string, addressesMax: number): Promise<KernelDatapath> {
  return openDatapath({
    objectPath: new URL("../dist/objects/xdp_firewall.bpf.o", import.meta.url).pathname,
    pinDirectory,
    tables: policyTables,
    maxEntries: capacitiesFor({ rulesMax, addressesMax, interfacesMax: 64 }),
    eventsPerSecondMax: 1000,
  });
}

async function apply(datapath: KernelDatapath, prefixes: readonly string[]) {
  const document = {
    apiVersion: "penstock/v1",
    kind: "AddressSet",
    metadata: { name: "big" },
    spec: { prefixes },
  };
  const files = [{ path: "big.json", content: Buffer.from(JSON.stringify(document)) }];
  const started = performance.now();
  const observed = await observe(datapath);
  const idRanges = idRangesFor(rulesMax);
  const now = Date.now();
  const prepared = preparePolicy({
    files,
    labels: {},
    kinds,
    interfaces: [],
    knownIds: knownIds(observed),
    idRanges,
    now,
  });
  if (!prepared.ok) throw new Error("the benchmark's own policy was refused");
  const applied = appliedEntries({ commit: "b".repeat(40), held: undefined, timeS: 1 });
  const plan: Plan = await makePlan({
    desired: prepared.desired,
    observed,
    datapath,
    kinds,
    applied,
    interfaces: [],
  });
  const planMs = round(performance.now() - started);
  const result = await runTransaction(datapath, plan.transaction, { clock: systemClock });
  const { grace, ...stages } = result.timingsMs;
  const transactionMs = Object.values(stages).reduce((sum, ms) => sum + ms, 0);
  return { written: result.written, planMs, transactionMs: round(transactionMs), graceMs: round(grace) };
}

/** The same number of entries, in a trie of the same layout, through one batch after the other. */
async function bareUpdate(count: number): Promise<number> {
  const layout = { type: MAP_TYPE.lpmTrie, keySize: 12, valueSize: 16, flags: MAP_FLAG.noPrealloc };
  const map = createMap({ name: "bare", entriesMax: count, ...layout });
  const keys = new Uint8Array(count * 12);
  const view = new DataView(keys.buffer);
  for (let i = 0; i < count; i++) {
    view.setUint32(i * 12, 64, true);
    view.setUint32(i * 12 + 8, 0x0a000000 + i);
  }
  const started = performance.now();
  await map.updateAll(keys, new Uint8Array(count * 16));
  const ms = performance.now() - started;
  map.close();
  return round(ms);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
