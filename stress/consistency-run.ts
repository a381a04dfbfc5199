// One run of the race between packets and commits: a process on one processor does nothing but packets, this one on
// another does nothing but transactions, of which many are made to fail before their commit.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { PenstockError } from "../src/base/index.ts";
import { compileObject, fixtureSource } from "../test/fixtures/bpf-compiler.ts";
import { FaultyDatapath, InjectedFault } from "../test/fixtures/faulty-datapath.ts";
import { commitNext, ShapesDatapath, type Tally } from "../test/fixtures/shapes-datapath.ts";
import type { Random } from "./random.ts";

export interface RaceReport extends Tally {
  readonly seconds: number;
  readonly commits: number;
  /** Transactions that failed before their commit. */
  readonly aborts: number;
  /** Commits that were taken back while packets were judged by them. */
  readonly reverts: number;
  /** How often the filter was made anew. */
  readonly rebuilds: number;
  /** The last few faults, in words. */
  readonly examples: readonly string[];
}

export interface RaceOptions {
  /** Macros for the program. */
  readonly defines: readonly string[];
  /** Aborted transactions for each commit, at most. */
  readonly abortsMost: number;
  readonly random: Random;
  /** Where packets run. */
  readonly processor: number;
  /** Asked after each transaction. */
  readonly enough: (soFar: RaceReport) => boolean;
}

/** Of so many commits one is preceded by one that is taken back. */
const revertEvery = 8;

/** How often the guests' entries are replaced before each transaction. */
const guestRounds = 4096;

const packets = fileURLToPath(new URL("./consistency-packets.ts", import.meta.url));
const root = fileURLToPath(new URL("../", import.meta.url));

/** Runs packets and transactions side by side until it is enough. */
export async function race(options: RaceOptions): Promise<RaceReport> {
  const folder = mkdtempSync(join(tmpdir(), "pk-race-"));
  try {
    const object = join(folder, "shapes.bpf.o");
    compileObject(fixtureSource("shapes"), object, options.defines);
    const datapath = new ShapesDatapath(object);
    try {
      return await new Race(datapath, options).run();
    } finally {
      datapath.close();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

class Race {
  readonly #datapath: ShapesDatapath;
  readonly #options: RaceOptions;
  #started = performance.now();
  #commits = 0;
  #aborts = 0;
  #reverts = 0;
  #rebuilds = 0;
  #filter: number | undefined;
  #guests: Uint8Array = new Uint8Array(0);

  constructor(datapath: ShapesDatapath, options: RaceOptions) {
    this.#datapath = datapath;
    this.#options = options;
  }

  async run(): Promise<RaceReport> {
    const { abortsMost, random, enough } = this.#options;
    await this.#learnGuests();
    const sender = await this.#startPackets();
    try {
      this.#started = performance.now();
      for (;;) {
        await this.#churnGuests();
        for (let left = random.below(abortsMost + 1); left > 0; left--) await this.#abortOne();
        if (random.below(revertEvery) === 0) await this.#revertOne();
        await commitNext(this.#datapath);
        this.#commits++;
        this.#watchFilter();
        const report = this.report();
        if (enough(report)) return report;
        if (hasEnded(sender)) throw new Error("the process with the packets ended before it was told to");
      }
    } finally {
      sender.kill("SIGKILL");
      if (!hasEnded(sender)) await once(sender, "exit");
    }
  }

  report(): RaceReport {
    return {
      seconds: (performance.now() - this.#started) / 1000,
      commits: this.#commits,
      aborts: this.#aborts,
      reverts: this.#reverts,
      rebuilds: this.#rebuilds,
      ...this.#datapath.tally(),
      examples: this.#datapath.examples(),
    };
  }

  /** Returns when packets come. */
  async #startPackets(): Promise<ChildProcess> {
    const { id } = this.#datapath.object.program("xdp_shapes").info();
    const program = [process.execPath, "--import", "tsx", packets, String(id)];
    const sender = spawn("taskset", ["-c", String(this.#options.processor), ...program], {
      cwd: root,
      stdio: ["ignore", "ignore", "inherit"],
    });
    while (this.#datapath.tally().verdicts === 0 && !hasEnded(sender))
      await new Promise((resolve) => setTimeout(resolve, 10));
    return sender;
  }

  /** Lets a transaction make the guests' entries, so that they can be entered again as they are. */
  async #learnGuests(): Promise<void> {
    const { content } = this.#datapath;
    const flows = content.tables.find(({ name }) => name === "flows");
    if (flows === undefined) throw new Error("there is no table of flows");
    await commitNext(this.#datapath, { guests: true });
    this.#guests = await this.#datapath.lookup(flows, content.guestKeys);
    await commitNext(this.#datapath);
  }

  /**
   * Somebody else replaces entries of the table again and again, as programs do and with no grace period, and
   * removes them in the end: their elements are handed from one key to the next as fast as the kernel can.
   */
  async #churnGuests(): Promise<void> {
    const map = this.#datapath.object.map("flows");
    const keys = this.#datapath.content.guestKeys;
    await map.updateAll(repeated(keys, guestRounds), repeated(this.#guests, guestRounds));
    await map.removeAll(keys);
  }

  /** A commit that is found not to be well, and taken back. */
  async #revertOne(): Promise<void> {
    const confirm = async () => {
      throw new Error("the host is not well");
    };
    const refused = await commitNext(this.#datapath, { confirm }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (!(refused instanceof PenstockError) || refused.code !== "reverted") throw refused;
    this.#reverts++;
  }

  /** A transaction that fails at one of its operations before the commit, and puts everything back. */
  async #abortOne(): Promise<void> {
    // Prepared and read back: two operations for each table that changes.
    const failAt = 2 + this.#options.random.below(2 * this.#datapath.tables.length - 4);
    try {
      await commitNext(this.#datapath, {
        through: new FaultyDatapath(this.#datapath, { failAt, kind: "once" }),
      });
      this.#commits++;
    } catch (fault) {
      if (!isInjected(fault)) throw fault;
      this.#aborts++;
    }
  }

  #watchFilter(): void {
    const id = this.#datapath.object.map("flows_filter").lookup(new Uint8Array(4));
    const filter = id === undefined ? undefined : new DataView(id.buffer).getUint32(0, true);
    if (this.#filter !== undefined && filter !== this.#filter) this.#rebuilds++;
    this.#filter = filter;
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function repeated(bytes: Uint8Array, times: number): Uint8Array {
  return Buffer.concat(Array.from({ length: times }, () => bytes));
}

function isInjected(error: unknown): boolean {
  return error instanceof InjectedFault || (error instanceof Error && isInjected(error.cause));
}
