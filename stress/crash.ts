// The suite `crash`: an agent is killed (SIGKILL) at every point of a transaction of every kind, and each time the
// host must hold the old state or the new one, kernel and audit log must agree, and nothing may be left behind.
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { datapathObjects } from "../src/bpf/index.ts";
import { objectDirectory } from "../src/cli/places.ts";
import { compileAgent } from "./crash-child.ts";
import { CrashHost } from "./crash-host.ts";
import { type Kind, kinds, recoveryFrom } from "./crash-kinds.ts";
import { choosePolicies } from "./crash-policies.ts";
import { type AgentCode, Broken, CrashRun, type Death, type Undisturbed } from "./crash-run.ts";
import type { StressOptions, StressReport } from "./main.ts";
import { Random } from "./random.ts";

/** After so many failures more of them tell nothing new. */
const failuresMax = 10;
const recoverFromAll = [0.2, 0.4, 0.6, 0.8, 0.95];

interface Failure {
  readonly kind: string;
  /** Undefined if the run without a kill failed already. */
  readonly point: { readonly number: number; readonly name: string } | undefined;
  readonly message: string;
  readonly leaks: readonly string[];
}

interface KindReport {
  readonly kind: string;
  /** Names of all points at which the transaction can be killed. */
  readonly points: readonly string[];
  readonly deaths: Record<Death, number>;
}

export interface CrashOptions extends StressOptions {
  /** Of so many points only one; 1 if absent. */
  readonly every?: number;
  /** Points of `apply`, as parts of all of them, from which recoveries start; five if absent. */
  readonly recoverFrom?: readonly number[];
}

export async function stressCrash(options: CrashOptions): Promise<StressReport> {
  const folder = fileURLToPath(new URL(`../build/stress-${process.pid}`, import.meta.url));
  mkdirSync(folder, { recursive: true });
  try {
    // An upgrade changes the program and the size of some tables: the way back shrinks them again.
    const limits = { addressesMax: 300, rulesMax: 80 };
    const builds = [{ objectDirectory }, { objectDirectory: buildAnother(folder), limits }];
    return await sweep(options, { program: compileAgent(folder), builds });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function sweep(options: CrashOptions, code: AgentCode): Promise<StressReport> {
  const running = new Sweep(options, code);
  try {
    await running.run();
  } finally {
    await running.close();
  }
  return running.report();
}

class Sweep {
  readonly #options: CrashOptions;
  readonly #code: AgentCode;
  readonly #started = performance.now();
  readonly #kinds: KindReport[] = [];
  readonly #failures: Failure[] = [];
  #run: CrashRun | undefined;

  constructor(options: CrashOptions, code: AgentCode) {
    this.#options = options;
    this.#code = code;
  }

  async run(): Promise<void> {
    const { recoverFrom = recoverFromAll } = this.#options;
    // Time that is short is short for other kinds with another seed; recoveries are known after `apply`.
    const [first, ...others] = kinds;
    const waiting = [first, ...this.#inOrder(others)].filter((kind) => kind !== undefined);
    for (let kind = waiting.shift(); kind !== undefined && !this.#enough(); kind = waiting.shift()) {
      // Whatever time is left is for all that are still to come.
      const points = await this.#sweep(kind, this.#leftMs() / (waiting.length + 1));
      if (kind.name !== "apply") continue;
      const recoveries = recoverFrom.map((part) => {
        const number = Math.floor(part * points.length);
        return recoveryFrom(number, points[number] ?? "");
      });
      waiting.push(...this.#inOrder(recoveries));
    }
  }

  async close(): Promise<void> {
    const run = this.#run;
    this.#run = undefined;
    await run?.close();
    run?.host.remove();
  }

  report(): StressReport {
    const seconds = Math.round((performance.now() - this.#started) / 1000);
    const { seed } = this.#options;
    const killed = this.#kinds.reduce((sum, { deaths }) => sum + deaths.old + deaths.new, 0);
    const leaks = this.#failures.flatMap((failure) => failure.leaks);
    const rows = this.#kinds.map(({ kind, points, deaths }) => [
      kind,
      ...[points.length, deaths.old + deaths.new, deaths.old, deaths.new].map(String),
    ]);
    const ok = this.#failures.length === 0 && killed > 0;
    const text = [
      `crash: seed ${seed}, ${killed} kills in ${seconds} s: ${ok ? "all came out as they must" : `${this.#failures.length} failures`}`,
      ...tableOf([["transaction", "points", "killed", "old", "new"], ...rows]),
      `leaks: ${leaks.length === 0 ? "none" : leaks.length}`,
      ...this.#failures.map(
        ({ kind, point, message }) =>
          `FAILED --seed ${seed}, ${kind}, ${point === undefined ? "nobody killed" : `killed ${point.name} (point ${point.number})`}:\n${message}`,
      ),
    ].join("\n");
    return { ok, text, facts: { seconds, kinds: this.#kinds, leaks, failures: this.#failures } };
  }

  async #sweep(kind: Kind, allowedMs: number): Promise<readonly string[]> {
    const until = performance.now() + allowedMs;
    const deaths = { old: 0, new: 0, "not reached": 0 };
    let expected = await this.#measure(kind);
    const points = expected?.points ?? [];
    this.#kinds.push({ kind: kind.name, points, deaths });
    for (const number of this.#choose(points.length)) {
      if (expected === undefined || this.#enough() || performance.now() > until) break;
      const name = points[number] ?? "";
      this.#options.progress?.(`${kind.name}: ${number + 1} of ${points.length}, ${name}`);
      try {
        const death = await this.#run?.killAt(kind, number, expected);
        if (death !== undefined) deaths[death]++;
      } catch (error) {
        await this.#fail(kind, { number, name }, error);
        expected = await this.#measure(kind);
      }
    }
    return points;
  }

  async #measure(kind: Kind): Promise<Undisturbed | undefined> {
    try {
      const policies = choosePolicies(new Random(this.#options.seed));
      this.#run ??= new CrashRun(new CrashHost(policies), this.#code);
      return await this.#run.measure(kind);
    } catch (error) {
      await this.#fail(kind, undefined, error);
      return undefined;
    }
  }

  /** Notes it, and goes on with another host: this one is broken. */
  async #fail(kind: Kind, point: Failure["point"], error: unknown): Promise<void> {
    const message = error instanceof Broken ? error.message : String(error);
    const leaks = error instanceof Broken ? error.leaks : [];
    this.#failures.push({ kind: kind.name, point, message, leaks });
    await this.close();
  }

  #choose(count: number): readonly number[] {
    const { every = 1, seed } = this.#options;
    const all = Array.from({ length: count }, (_, i) => i);
    return this.#inOrder(all.filter((i) => i % every === seed % every));
  }

  /** In turn if there is time for all, else in an order that follows from the seed. */
  #inOrder<T>(things: readonly T[]): readonly T[] {
    const { seconds, seed } = this.#options;
    return seconds === undefined ? things : new Random(seed).shuffle(things);
  }

  #leftMs(): number {
    const { seconds } = this.#options;
    if (seconds === undefined) return Number.POSITIVE_INFINITY;
    return Math.max(0, this.#started + seconds * 1000 - performance.now());
  }

  #enough(): boolean {
    return this.#options.signal.aborted || this.#leftMs() === 0 || this.#failures.length >= failuresMax;
  }
}

/** The same programs for a newer instruction set: others to the kernel, with the same maps. */
function buildAnother(folder: string): string {
  for (const { path } of datapathObjects(folder)) buildObject(path);
  return folder;
}

function buildObject(output: string): void {
  const source = fileURLToPath(new URL("../bpf/", import.meta.url));
  const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
  const flags = [
    "-O2",
    "-g",
    "-target",
    "bpf",
    "-mcpu=v4",
    "-fno-strict-aliasing",
    `-I${source}`,
    `-I/usr/include/${machine}-linux-gnu`,
  ];
  for (const compiler of ["clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang"]) {
    const { status } = spawnSync(compiler, [
      ...flags,
      "-c",
      join(source, `${basename(output, ".o")}.c`),
      "-o",
      output,
    ]);
    if (status === 0) return;
  }
  throw new Broken("Cannot compile the program: no clang does it");
}

function tableOf(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  "),
  );
}
