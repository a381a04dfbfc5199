// Benchmarks: `npm run bench -- SUITE [--json FILE]`. Figures are ratios within one run; absolute times move from
// machine to machine.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { benchCommit } from "./commit.ts";
import { benchLookup } from "./lookup.ts";

/** A row of figures under their names, with the unit in the name. */
export type Row = Readonly<Record<string, string | number>>;

const suites: Readonly<Record<string, () => Promise<readonly Row[]>>> = {
  commit: benchCommit,
  lookup: benchLookup,
};

const { positionals, values } = parseArgs({ allowPositionals: true, options: { json: { type: "string" } } });
const [name = ""] = positionals;
const suite = suites[name];
if (suite === undefined) {
  console.error(`usage: npm run bench -- SUITE [--json FILE]\nsuites: ${Object.keys(suites).join(", ")}`);
  process.exit(64);
}
const rows = await suite();
console.table(rows);
if (values.json !== undefined)
  writeFileSync(values.json, `${JSON.stringify({ suite: name, rows }, null, 2)}\n`);
