// Stress runs: `npm run stress -- SUITE [--seconds N] [--packets N] [--seed N] [--json FILE]`. A suite looks for a way to break one
// promise; what it does follows from the seed. The exit code is 0 only if the promise held.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { stressConsistency } from "./consistency.ts";
import { stressCrash } from "./crash.ts";
import { stressDifferential } from "./differential.ts";

/** What every suite is told. */
export interface StressOptions {
  /** Bound on the run's time; undefined: everything once. */
  readonly seconds: number | undefined;
  /** How many packets to judge, for suites that count them; undefined: as many as the suite takes. */
  readonly packets: number | undefined;
  readonly seed: number;
  /** Ends the run early; what was made is removed all the same. */
  readonly signal: AbortSignal;
  /** Shows what is going on to somebody who waits; undefined: nobody does. */
  readonly progress: ((line: string) => void) | undefined;
}

/** What every suite gives back. */
export interface StressReport {
  /** Whether everything came out as it must. */
  readonly ok: boolean;
  /** The same for people, whole lines. */
  readonly text: string;
  /** Whatever else the suite found out, for `--json`. */
  readonly facts: object;
}

const suites: Readonly<Record<string, (options: StressOptions) => Promise<StressReport>>> = {
  consistency: stressConsistency,
  crash: stressCrash,
  differential: stressDifferential,
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "string" },
    packets: { type: "string" },
    seconds: { type: "string" },
    seed: { type: "string" },
  },
});
const suite = suites[positionals[0] ?? ""];
const numbers = [values.seconds, values.packets, values.seed].every(
  (text) => text === undefined || /^\d{1,9}$/.test(text),
);
if (suite === undefined || positionals.length > 1 || !numbers) {
  console.error(
    `usage: npm run stress -- SUITE [--seconds N] [--packets N] [--seed N] [--json FILE]\nsuites: ${Object.keys(suites).join(", ")}`,
  );
  process.exit(64);
}
const interrupt = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => interrupt.abort());
const seed = values.seed === undefined ? 1 : Number(values.seed);
const { ok, text, facts } = await suite({
  seconds: values.seconds === undefined ? undefined : Number(values.seconds),
  packets: values.packets === undefined ? undefined : Number(values.packets),
  seed,
  signal: interrupt.signal,
  progress: process.stderr.isTTY ? (line) => process.stderr.write(`\r\x1b[K${line}`) : undefined,
});
if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
console.log(text);
if (interrupt.signal.aborted) console.error("stress: Interrupted before everything was tried");
if (values.json !== undefined)
  writeFileSync(values.json, `${JSON.stringify({ suite: positionals[0], seed, ok, ...facts }, null, 2)}\n`);
process.exitCode = ok && !interrupt.signal.aborted ? 0 : 1;
