// What changes of rules cost: entries written to the rule table, words written to its index, and time.
import { ruleTable } from "../src/kinds/firewall/tables.ts";
import { randomFrom } from "../test/fixtures/classbench/headers.ts";
import type { FlagsMode } from "../test/fixtures/classbench/oracle.ts";
import { recordsOf } from "../test/fixtures/classbench/records.ts";
import type { FilterRule } from "../test/fixtures/classbench/rules.ts";
import type { FilterWorld } from "../test/fixtures/classbench/world.ts";
import { type Row, round } from "./report.ts";

/** Changes, and how many of them one transaction makes. */
const steps = [
  [1, 1],
  [1000, 1000],
  [100_000, 1000],
] as const;

/** Each change gives a rule the match of another, at its own place. */
export async function benchChanges(
  world: FilterWorld,
  rules: readonly FilterRule[],
  flags: FlagsMode,
): Promise<Row[]> {
  const random = randomFrom(1);
  const now = [...rules];
  const apply = () => world.apply(now.flatMap((rule, i) => recordsOf(rule, i, flags)));
  await apply();
  const rows: Row[] = [];
  for (const [changes, each] of steps) {
    const index = world.datapath.indexOf(ruleTable);
    const wordsBefore = index?.written ?? 0;
    let entries = 0;
    let ms = 0;
    for (let done = 0; done < changes; done += each) {
      for (let i = 0; i < each; i++) {
        const [from, to] = [random(), random()].map((part) => Math.floor(part * rules.length));
        now[to ?? 0] = rules[from ?? 0] as FilterRule;
      }
      const { written, timingsMs } = await apply();
      entries += written;
      ms += timingsMs.prepare + timingsMs.readBack + timingsMs.commit + timingsMs.settle;
    }
    rows.push({
      changes,
      transactions: changes / each,
      "entries written": entries,
      "index words (4 bytes)": (index?.written ?? 0) - wordsBefore,
      "ms, grace periods apart": round(ms),
    });
  }
  return rows;
}
