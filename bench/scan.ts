// What a full drift scan costs: everything is read and compared with what was applied, beside the bare batch lookup of
// the same map in the same run.
import { observe } from "../src/reconcile/index.ts";
import { listAddresses } from "./addresses.ts";
import { timeBareLookup } from "./bare-map.ts";
import { median, type Report, type Row, round, rounds, type Target } from "./report.ts";
import { applyList, type LargeTable, openLargeTable, planFor, type TableName } from "./tables.ts";

const names: readonly TableName[] = ["hash", "lpm"];
const sizes = [1_000, 100_000, 1_000_000];

export async function benchScan(): Promise<Report> {
  const rows: Row[] = [];
  const targets: Target[] = [];
  for (const name of names) {
    for (const entries of sizes) {
      const table = await openLargeTable(name, entries + 16);
      try {
        const { bareMs, observeMs, compareMs } = await measureScans(table, entries);
        const ratio = (observeMs + compareMs) / bareMs;
        rows.push({
          table: name,
          entries,
          "observe ms": round(observeMs),
          "compare ms": round(compareMs),
          "bare lookup ms": round(bareMs),
          "scan / bare": round(ratio),
          "resident MiB": Math.round(process.memoryUsage.rss() / 2 ** 20),
        });
        const what = `${name}, scan of ${entries} entries over bare batch lookup`;
        if (entries === Math.max(...sizes)) targets.push({ what, figure: ratio, atMost: 2, unit: "" });
      } finally {
        table.close();
      }
    }
  }
  return { tables: { scan: rows }, targets, notes: [] };
}

async function measureScans(table: LargeTable, entries: number) {
  const { desired } = await applyList(table, table.parse(listAddresses(table.style, entries)));
  const figures: { bareMs: number; observeMs: number; compareMs: number }[] = [];
  // The first scan makes the index of what was applied, which the agent keeps.
  for (let i = 0; i <= rounds; i++) {
    const started = performance.now();
    const observed = await observe(table.datapath);
    const seen = performance.now();
    const plan = await planFor(table, observed, desired);
    const compared = performance.now();
    if (!plan.empty) throw new Error("The table departs from what was applied");
    const bareMs = timeBareLookup(table.map, entries);
    if (i > 0) figures.push({ bareMs, observeMs: seen - started, compareMs: compared - seen });
  }
  return {
    bareMs: median(figures.map((f) => f.bareMs)),
    observeMs: median(figures.map((f) => f.observeMs)),
    compareMs: median(figures.map((f) => f.compareMs)),
  };
}
