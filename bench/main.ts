// Benchmarks: `npm run bench -- SUITE [--json FILE]`. Figures are ratios within one run; absolute times move from
// machine to machine. A target that is missed is said and changes no exit code.
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { benchCommit } from "./commit.ts";
import { benchDatapath } from "./datapath.ts";
import { benchLookup } from "./lookup.ts";
import { benchMemory } from "./memory.ts";
import { folder, removeAll } from "./places.ts";
import { formatTarget, type Report, type SuiteOptions } from "./report.ts";
import { benchScan } from "./scan.ts";

const suites: Readonly<Record<string, (options: SuiteOptions) => Promise<Report>>> = {
  commit: benchCommit,
  datapath: benchDatapath,
  lookup: benchLookup,
  scan: benchScan,
  memory: benchMemory,
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "string" },
    rules: { type: "string" },
    trace: { type: "string" },
    flags: { type: "string", default: "match" },
  },
});
const [name = ""] = positionals;
const suite = suites[name];
if (suite === undefined) {
  console.error(
    `usage: npm run bench -- SUITE [--json FILE]\nsuites: ${Object.keys(suites).join(", ")}\ndatapath: [--rules FILE [--trace FILE]] [--flags match|ignore]`,
  );
  process.exit(64);
}
const loadBefore = loadavg()[0] ?? 0;
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => {
    removeAll();
    process.exit(1);
  });
}
mkdirSync(folder, { recursive: true });
const report = await suite(values).finally(removeAll);
for (const [title, rows] of Object.entries(report.tables)) {
  if (rows.length === 0) continue;
  console.log(title);
  console.table(rows);
}
for (const note of report.notes) console.log(note);
for (const target of report.targets) console.log(formatTarget(target));
const machine = { processors: cpus().length, loadBefore };
if (values.json !== undefined) {
  const targets = report.targets.map((target) => ({ ...target, met: target.figure <= target.atMost }));
  const text = JSON.stringify({ suite: name, machine, ...report, targets }, null, 2);
  writeFileSync(values.json, `${text}\n`);
}
