// What a packet costs in the firewall, over ClassBench filter sets: parsing alone, the walk over all rules, and the
// index; and what changes of the rules cost. Headers come from a trace or are made from the rules, and what the program
// says of each is compared with a linear first match.
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { xdpFirewallAbi } from "../src/abi/index.ts";
import { type BpfObject, createTestRunner, openObject, type TestRunner } from "../src/bpf/index.ts";
import { compileObject } from "../test/fixtures/bpf-compiler.ts";
import { compareWithOracle } from "../test/fixtures/classbench/compare.ts";
import { frameOf, type Header, makeHeaders, readTrace } from "../test/fixtures/classbench/headers.ts";
import type { FlagsMode } from "../test/fixtures/classbench/oracle.ts";
import { recordsOf } from "../test/fixtures/classbench/records.ts";
import { type FilterRule, readFilterRules } from "../test/fixtures/classbench/rules.ts";
import { FilterWorld } from "../test/fixtures/classbench/world.ts";
import { folder, pinDirectory } from "./places.ts";
import { type Report, type Row, round, type SuiteOptions, type Target } from "./report.ts";
import { benchChanges } from "./rule-changes.ts";

const sets = fileURLToPath(new URL("../../shared/data/classbench", import.meta.url));
const names = ["acl1_1k", "fw1_1k", "ipc1_1k", "acl1_10k", "fw1_10k", "ipc1_10k"];
const sizes = [100, 1000, 10_000];
const rulesMax = 32_768;
const seed = 2026;
/** Headers that are compared with the oracle, and of these the first that are timed. */
const comparedHeaders = 20_000;
const timedHeaders = 80;
/** Runs of one header in one batch; the walk over all rules takes a thousand times as long. */
const repeat = 2000;
const linearRepeat = 20;

interface Filter {
  readonly name: string;
  readonly rules: readonly FilterRule[];
  readonly headers: readonly Header[];
}

/** Times in nanoseconds, one for each header, in rising order. */
interface Times {
  readonly parse: readonly number[];
  readonly linear: readonly number[];
  readonly ours: readonly number[];
}

export async function benchDatapath(options: SuiteOptions): Promise<Report> {
  const flags: FlagsMode = options.flags === "ignore" ? "ignore" : "match";
  const filters = options.rules === undefined ? sharedSets() : [readFilter(options.rules, options.trace)];
  if (filters.length === 0) return { tables: {}, targets: [], notes: [`left out: ${sets} is not there`] };
  const programs = new Programs();
  const world = await FilterWorld.open(pinDirectory, rulesMax);
  try {
    programs.load(world);
    const measured: { filter: Filter; times: Times; row: Row }[] = [];
    for (const filter of filters)
      measured.push({ filter, ...(await measure(world, programs, { filter, flags })) });
    const bySize = options.rules === undefined ? await measureSizes(world, programs, { filters, flags }) : [];
    const largest = filters.at(-1) as Filter;
    return {
      tables: {
        "ns a packet": measured.map(({ row }) => row),
        "ns a packet, by the first rules of a set": bySize,
        "changes of rules": await benchChanges(world, largest.rules, flags),
      },
      targets: [...targetsOf(measured), ...targetsBySize(bySize)],
      notes: [
        `Each figure is the median or the 99th of ${timedHeaders} headers, each the mean of ${repeat} runs (linear: ${linearRepeat}).`,
        "A rule with ports matches TCP and UDP alone; a header of another protocol has no ports, whatever its columns say.",
      ],
    };
  } finally {
    world.close();
    programs.close();
  }
}

function sharedSets(): Filter[] {
  if (!existsSync(sets)) return [];
  return names.map((name) => readFilter(join(sets, `${name}.rules.gz`), undefined));
}

function readFilter(path: string, trace: string | undefined): Filter {
  const rules = readFilterRules(path);
  const headers = trace === undefined ? makeHeaders(rules, comparedHeaders, seed) : readTrace(trace);
  return { name: basename(path).replace(/\.rules.*$/, ""), rules, headers };
}

/** The three programs; the linear one judges by the same maps as ours. */
class Programs {
  readonly #objects: BpfObject[] = [];
  runners: Readonly<Record<keyof Times, TestRunner>> | undefined;

  load(world: FilterWorld): void {
    const parse = this.#open("parse.bpf.c", new URL("./parse.bpf.c", import.meta.url), []);
    const source = new URL("../bpf/xdp_firewall.bpf.c", import.meta.url);
    const linear = this.#open("linear.bpf.c", source, ["PENSTOCK_LINEAR"], world);
    this.runners = {
      parse: createTestRunner(parse.program("xdp_parse")),
      linear: createTestRunner(linear.program("xdp_firewall")),
      ours: createTestRunner(world.datapath.object.program("xdp_firewall")),
    };
  }

  close(): void {
    for (const object of this.#objects) object.close();
  }

  #open(name: string, source: URL, defines: readonly string[], world?: FilterWorld): BpfObject {
    const path = join(folder, `${name}.o`);
    compileObject(fileURLToPath(source), path, defines);
    const own = [...(world?.datapath.object.maps ?? [])].filter(([map]) => map in xdpFirewallAbi.maps);
    const maxEntries = Object.fromEntries(own.map(([map, { entriesMax }]) => [map, entriesMax]));
    const object = openObject(path, { maxEntries, sharedMaps: Object.fromEntries(own) });
    this.#objects.push(object);
    return object;
  }
}

interface Subject {
  readonly filter: Filter;
  readonly flags: FlagsMode;
}

async function measure(world: FilterWorld, programs: Programs, { filter, flags }: Subject) {
  const { runners } = programs;
  if (runners === undefined) throw new Error("no programs are loaded");
  const { name, rules, headers } = filter;
  await world.apply(rules.flatMap((rule, i) => recordsOf(rule, i, flags)));
  const counters = world.datapath.object.map("rule_counters");
  const found = compareWithOracle({ rules, headers, runner: runners.ours, counters, flags });
  const times = timesOf(runners, headers.slice(0, timedHeaders));
  const row: Row = {
    set: name,
    rules: rules.length,
    headers: headers.length,
    "wrong verdicts": found.wrong.filter(({ verdictIsWrong }) => verdictIsWrong).length,
    "wrong rules": found.wrong.filter(({ ruleIsWrong }) => ruleIsWrong).length,
    ...(headers.some(({ expected }) => expected !== undefined)
      ? { "oracle not the trace": found.traceDiffers, "of these without ports": found.traceHasPorts }
      : {}),
    parse: at(times.parse, 0.5),
    "parse 99th": at(times.parse, 0.99),
    linear: at(times.linear, 0.5),
    "linear 99th": at(times.linear, 0.99),
    ours: at(times.ours, 0.5),
    "ours 99th": at(times.ours, 0.99),
    "times parse": round(at(times.ours, 0.5) / at(times.parse, 0.5)),
    "linear / ours": round(at(times.linear, 0.5) / at(times.ours, 0.5)),
  };
  return { times, row };
}

/** In turn for each header, so that whatever slows the machine down slows all of them down. */
function timesOf(runners: Readonly<Record<keyof Times, TestRunner>>, headers: readonly Header[]): Times {
  const times = { parse: [] as number[], linear: [] as number[], ours: [] as number[] };
  for (const header of headers) {
    const frame = frameOf(header);
    times.parse.push(runners.parse.run(frame, { repeat }).durationNs);
    times.ours.push(runners.ours.run(frame, { repeat }).durationNs);
    times.linear.push(runners.linear.run(frame, { repeat: linearRepeat }).durationNs);
  }
  for (const list of Object.values(times)) list.sort((a, b) => a - b);
  return times;
}

function at(sorted: readonly number[], part: number): number {
  return sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN;
}

/** The same sets, cut to their first rules and the last, which often takes everything. */
async function measureSizes(
  world: FilterWorld,
  programs: Programs,
  given: { filters: readonly Filter[]; flags: FlagsMode },
) {
  const rows: Row[] = [];
  for (const filter of given.filters.filter(({ name }) => name.endsWith("_10k"))) {
    const row: Record<string, string | number> = { set: filter.name };
    for (const size of sizes) {
      const step = Math.max(1, filter.rules.length / size);
      const rules = Array.from(
        { length: Math.min(size, filter.rules.length) },
        (_, i) => filter.rules[Math.floor(i * step)] as FilterRule,
      );
      const headers = makeHeaders(rules, timedHeaders, seed);
      const { times } = await measure(world, programs, { ...given, filter: { ...filter, rules, headers } });
      row[`${size} rules`] = at(times.ours, 0.5);
    }
    rows.push(row);
  }
  return rows;
}

function targetsOf(measured: readonly { readonly filter: Filter; readonly times: Times }[]): Target[] {
  const ratios = measured.map(({ times }) => at(times.ours, 0.5) / at(times.parse, 0.5));
  const mean = Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
  const large = measured.filter(({ filter }) => filter.rules.length > 5000);
  const slowest = large.map(({ times }) => at(times.ours, 0.5) / at(times.linear, 0.5));
  return [
    { what: "median over parse-only, geometric mean over sets", figure: mean, atMost: 8, unit: "" },
    ...(slowest.length === 0
      ? []
      : [
          {
            what: "median over linear, about 10,000 rules, the worst set",
            figure: Math.max(...slowest),
            atMost: 0.01,
            unit: "",
          },
        ]),
  ];
}

function targetsBySize(rows: readonly Row[]): Target[] {
  return rows.map((row) => ({
    what: `${row["set"]}: 10,000 rules over 100 rules`,
    figure: Number(row[`${sizes[2]} rules`]) / Number(row[`${sizes[0]} rules`]),
    atMost: 2,
    unit: "",
  }));
}
