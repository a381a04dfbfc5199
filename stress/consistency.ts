// The suite `consistency`: packets on one processor, transactions on another, over tables of every shape. What each
// table holds follows from the generation's number, so every verdict tells whether all that it was made of was of one
// generation and of the keys that were asked for. The same race without versions must find mixes, and without sums
// values of foreign keys: a race that finds nothing there would prove nothing here.
import { type RaceReport, race } from "./consistency-run.ts";
import type { StressOptions, StressReport } from "./main.ts";
import { allowedProcessors, bindTo } from "./processors.ts";
import { Random } from "./random.ts";

interface Part {
  readonly name: string;
  /** Macros for the program. */
  readonly defines: readonly string[];
  /** Of the seconds that the run may take. */
  readonly share: number;
  /** Where the run's time is not bounded: enough to have looked for long. */
  readonly thorough: (report: RaceReport) => boolean;
  /** What must have come out; undefined if it did. */
  readonly problem: (report: RaceReport) => string | undefined;
}

const verdictsLeast = 100_000_000;
const commitsLeast = 1_000;
/** What a run without bound waits for at most, where it has to find something. */
const patienceS = 600;

const parts: readonly Part[] = [
  {
    name: "as shipped",
    defines: [],
    share: 0.6,
    thorough: ({ verdicts, commits }) => verdicts >= verdictsLeast && commits >= commitsLeast,
    problem: ({ verdicts, commits, mixes, missing, foreign, denied, dangling }) => {
      if (verdicts === 0 || commits === 0) return "nothing was judged, or nothing committed";
      const faults = mixes + missing + foreign + denied + dangling;
      return faults === 0 ? undefined : `${faults} verdicts were of no single revision`;
    },
  },
  {
    name: "no versions",
    defines: ["PENSTOCK_UNVERSIONED"],
    share: 0.15,
    thorough: ({ mixes, verdicts }) => mixes > 0 && verdicts >= verdictsLeast / 20,
    problem: ({ mixes }) => (mixes > 0 ? undefined : "without versions there must be mixes"),
  },
  {
    name: "no sums",
    defines: ["PENSTOCK_UNCHECKED"],
    share: 0.25,
    thorough: ({ foreign, verdicts }) => foreign > 0 && verdicts >= verdictsLeast / 10,
    problem: ({ foreign }) => (foreign > 0 ? undefined : "without sums there must be values of foreign keys"),
  },
];

/** Runs the race three times. */
export async function stressConsistency(options: StressOptions): Promise<StressReport> {
  const processors = allowedProcessors();
  const [writer, ...others] = processors;
  const reader = others.at(-1);
  if (writer === undefined || reader === undefined)
    return { ok: false, text: "consistency: this needs two processors", facts: { processors } };
  bindTo([writer]);
  try {
    const reports: RaceReport[] = [];
    for (const part of parts) if (!options.signal.aborted) reports.push(await runPart(part, options, reader));
    return reportOf(reports, options);
  } finally {
    bindTo(processors);
  }
}

function runPart(part: Part, options: StressOptions, processor: number): Promise<RaceReport> {
  const { seconds, seed, signal, progress } = options;
  return race({
    defines: part.defines,
    abortsMost: 6,
    random: new Random(seed),
    processor,
    enough: (soFar) => {
      progress?.(`${part.name}: ${soFar.verdicts} verdicts, ${soFar.commits} commits`);
      if (signal.aborted) return true;
      if (seconds !== undefined) return soFar.seconds >= seconds * part.share;
      return part.thorough(soFar) || (part !== parts[0] && soFar.seconds > patienceS);
    },
  });
}

function reportOf(reports: readonly RaceReport[], { seed, seconds, signal }: StressOptions): StressReport {
  const problems = reports.flatMap((report, i) => {
    const part = parts[i];
    // What was interrupted need not have found yet what it is there to find.
    const isCut = signal.aborted && part !== parts[0];
    const problem = isCut ? undefined : part?.problem(report);
    return problem === undefined ? [] : [`FAILED ${part?.name}: ${problem}`, ...report.examples];
  });
  const row = (name: string, of: (report: RaceReport) => number) => [
    name,
    ...reports.map((report) => Math.round(of(report)).toLocaleString("en")),
  ];
  const rows = [
    ["", ...reports.map((_, i) => parts[i]?.name ?? "")],
    row("verdicts", (r) => r.verdicts),
    row("commits", (r) => r.commits),
    row("aborted transactions", (r) => r.aborts),
    row("commits taken back", (r) => r.reverts),
    row("filters made anew", (r) => r.rebuilds),
    row("mixes", (r) => r.mixes),
    row("entries not found", (r) => r.missing),
    row("values of foreign keys", (r) => r.foreign),
    row("keys denied by the filter", (r) => r.denied),
    row("dangling references", (r) => r.dangling),
    row("lookups that gave up", (r) => r.failed),
    row("keyed lookups", (r) => r.lookups),
    row("repeated", (r) => r.retries),
    row("seconds", (r) => r.seconds),
    row("verdicts/s", (r) => r.verdicts / r.seconds),
    row("commits/s", (r) => r.commits / r.seconds),
  ];
  const ok = problems.length === 0;
  const bound = seconds === undefined ? "" : `, bound to ${seconds} s`;
  const soFar = signal.aborted ? "nothing came out as it must not so far" : "all came out as they must";
  const verdict = ok ? soFar : "something came out as it must not";
  const text = [`consistency: seed ${seed}${bound}: ${verdict}`, ...alignColumns(rows), ...problems].join(
    "\n",
  );
  const named = reports.map((report, i) => ({ part: parts[i]?.name, ...report }));
  return { ok, text, facts: { parts: named } };
}

function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widthOf = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0));
  return rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widthOf(i)) : cell.padStart(widthOf(i) + 2))).join(""),
  );
}
