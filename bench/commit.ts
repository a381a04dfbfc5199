// What a transaction costs: large tables loaded from nothing and changed, beside the bare batch update of a map of the
// same layout and `nft -f` with the same addresses, all in the same run.
import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import { AddressList, listAddresses } from "./addresses.ts";
import { timeBareUpdate } from "./bare-map.ts";
import { type NftTimes, timeNftables } from "./nftables.ts";
import { median, type Report, type Row, round, rounds, type Target } from "./report.ts";
import { type Applied, applyList, openLargeTable, type TableName } from "./tables.ts";

const names: readonly TableName[] = ["hash", "lpm"];
const sizes = [1_000, 100_000, 1_000_000];
const changes = [1, 1_000, 100_000];

export async function benchCommit(): Promise<Report> {
  const tables = { "load into an empty table": [] as Row[], "change a table": [] as Row[], nft: [] as Row[] };
  const targets: Target[] = [];
  const notes = new Set<string>();
  for (const name of names) {
    for (const entries of sizes) {
      const measured: Round[] = [];
      for (let i = 0; i < rounds; i++) measured.push(await measureRound(name, entries));
      const nft = measureNft(name, entries);
      if (nft === undefined) notes.add("nft is not installed (package nftables): left out");
      else tables.nft.push(nftRow(name, entries, nft));
      tables["load into an empty table"].push(loadRow(name, entries, { measured, nft }));
      tables["change a table"].push(...changeRows(name, entries, measured));
      if (entries === Math.max(...sizes)) targets.push(...targetsOf(name, measured, nft));
    }
  }
  return { tables, targets, notes: [...notes] };
}

/** One table, loaded and changed once by each number of changes. */
interface Round {
  readonly load: Applied;
  readonly bareMs: number;
  /** Delays of the event loop from the end of compiling on. */
  readonly delayP99Ms: number;
  readonly delayMostMs: number;
  readonly changed: ReadonlyMap<number, Applied>;
}

async function measureRound(name: TableName, entries: number): Promise<Round> {
  const most = Math.max(...changes.filter((n) => n <= entries));
  const table = await openLargeTable(name, entries + 2 * most + 16);
  try {
    const list = new AddressList(table.style, entries);
    const parsed = table.parse(list.addresses);
    const delay = monitorEventLoopDelay({ resolution: 1 });
    const load = await applyList(table, (observed) => {
      const desired = parsed(observed);
      // Compiling is one piece of work: it has a column of its own.
      delay.enable();
      return desired;
    });
    delay.disable();
    const keys = load.desired.tables.get(table.spec.name)?.keys ?? new Uint8Array(0);
    const bareMs = timeBareUpdate(table.map, keys);
    const changed = new Map<number, Applied>();
    for (const count of changes) {
      if (count > entries) continue;
      list.change(count);
      changed.set(count, await applyList(table, table.parse(list.addresses)));
    }
    return { load, bareMs, ...delaysOf(delay), changed };
  } finally {
    table.close();
  }
}

function delaysOf(delay: IntervalHistogram) {
  return { delayP99Ms: delay.percentile(99) / 1e6, delayMostMs: delay.max / 1e6 };
}

function measureNft(name: TableName, entries: number): NftTimes | undefined {
  const style = name === "hash" ? "hosts" : "networks";
  const [one = "", ...list] = listAddresses(style, entries + 1).reverse();
  return timeNftables(style, list.reverse(), one);
}

function nftRow(name: TableName, entries: number, times: NftTimes): Row {
  return {
    "like table": name,
    entries,
    "load ms": round(times.loadMs),
    "replace ms": round(times.replaceMs),
    "one element ms": round(times.oneMs),
  };
}

interface Loads {
  readonly measured: readonly Round[];
  readonly nft: NftTimes | undefined;
}

function loadRow(table: TableName, entries: number, { measured, nft }: Loads): Row {
  const bareMs = median(measured.map((r) => r.bareMs));
  const committedMs = median(measured.map((r) => r.load.toCommittedMs));
  return {
    table,
    entries,
    ...stepsOf(measured.map((r) => r.load)),
    "bare batch ms": round(bareMs),
    "committed / bare": round(median(measured.map(overBare))),
    ...(nft === undefined ? {} : { "nft / committed": round(nft.loadMs / committedMs) }),
    "loop p99 ms": round(median(measured.map((r) => r.delayP99Ms))),
    "loop most ms": round(Math.max(...measured.map((r) => r.delayMostMs))),
  };
}

function changeRows(table: TableName, entries: number, measured: readonly Round[]): Row[] {
  return changes.flatMap((count) => {
    const applied = measured.flatMap((r) => r.changed.get(count) ?? []);
    if (applied.length === 0) return [];
    return [{ table, entries, changes: count, ...stepsOf(applied) }];
  });
}

/** Medians of each step. */
function stepsOf(applied: readonly Applied[]): Row {
  const of = (figure: (a: Applied) => number) => round(median(applied.map(figure)));
  return {
    written: of((a) => a.result.written),
    "compile ms": of((a) => a.compileMs),
    "observe ms": of((a) => a.observeMs),
    "plan ms": of((a) => a.planMs),
    "prepare ms": of((a) => a.result.timingsMs.prepare),
    "read back ms": of((a) => a.result.timingsMs.readBack),
    "commit ms": of((a) => a.result.timingsMs.commit),
    "grace ms": of((a) => a.result.timingsMs.grace),
    "settle ms": of((a) => a.result.timingsMs.settle),
    "policy to committed ms": of((a) => a.toCommittedMs),
  };
}

/** Both were measured one right after the other. */
function overBare({ load, bareMs }: Round): number {
  return load.toCommittedMs / bareMs;
}

function targetsOf(name: TableName, measured: readonly Round[], nft: NftTimes | undefined): Target[] {
  const ones = measured.flatMap((r) => r.changed.get(1) ?? []);
  const of = (figure: (r: Round) => number) => median(measured.map(figure));
  const targets = [
    {
      what: `${name}, one change: entries written`,
      figure: median(ones.map((a) => a.result.written)),
      atMost: 2,
      unit: "",
    },
    {
      what: `${name}, one change: transaction without grace`,
      figure: median(ones.map((a) => a.transactionMs)),
      atMost: 5,
      unit: " ms",
    },
    {
      what: `${name}, load: parsed policy to committed, over bare batch update`,
      figure: of(overBare),
      atMost: 1.5,
      unit: "",
    },
    {
      what: `${name}, load: p99 delay of the event loop after compiling`,
      figure: of((r) => r.delayP99Ms),
      atMost: 50,
      unit: " ms",
    },
  ];
  if (nft === undefined) return targets;
  const figure = of((r) => r.load.toCommittedMs) / nft.loadMs;
  const what = `${name}, load: parsed policy to committed, as a part of nft -f`;
  return [...targets, { what, figure, atMost: round(1 / 3), unit: "" }];
}
