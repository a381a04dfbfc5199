// The suite `differential`: the firewall's program and the reference model judge the same packets under the same
// policies, and must say the same of every one.
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { inNamespace, unpinAll } from "../src/bpf/index.ts";
import { type DifferentialReport, DifferentialRun, readCapturedFrames } from "./differential-run.ts";
import type { StressOptions, StressReport } from "./main.ts";

const packetsLeast = 1_000_000;
/** Random policies that every frame of the captures is judged under. */
const policiesForCaptures = 100;

export async function stressDifferential(options: StressOptions): Promise<StressReport> {
  const { seed, seconds, signal, progress, packets = packetsLeast } = options;
  const name = `pk-${process.pid}-stress-differential`;
  const pins = `/sys/fs/bpf/${name}`;
  const path = `/run/netns/${name}`;
  execute("ip", "netns", "add", name);
  mkdirSync(pins);
  try {
    const place = {
      run: (command: string, ...args: string[]) =>
        execute("nsenter", `--net=${path}`, "--", command, ...args),
      enter: <T>(work: () => T) => inNamespace(path, work),
    };
    const run = await DifferentialRun.start({ seed, place, pins });
    try {
      await run.captured(readCapturedFrames(), policiesForCaptures);
      const captured = run.report().triples;
      await run.random((soFar) => {
        progress?.(`${soFar.triples} triples, ${soFar.policies} policies`);
        if (signal.aborted) return true;
        return seconds === undefined ? soFar.triples - captured >= packets : soFar.seconds >= seconds;
      });
      return reportOf(run.report(), captured, options);
    } finally {
      run.close();
    }
  } finally {
    unpinAll(pins);
    rmSync(pins, { recursive: true, force: true });
    execute("ip", "netns", "delete", name);
  }
}

function reportOf(found: DifferentialReport, captured: number, { seed }: StressOptions): StressReport {
  const { difference, triples, policies, refused, rulesHit, reasons, seconds } = found;
  const ok = difference === undefined;
  const count = (number: number) => number.toLocaleString("en");
  const byReason = Object.entries(reasons).sort(([, a], [, b]) => b - a);
  const text = [
    `differential: seed ${seed}: ${ok ? "program and model agree" : "program and model differ"}`,
    `${count(triples)} triples of policy, state and packet, ${count(captured)} of them from captures`,
    `${count(policies)} policies (${count(refused)} refused), ${count(rulesHit)} of their rules met by packets`,
    ...byReason.map(([reason, packets]) => `  ${reason.padEnd(28)}${count(packets).padStart(12)}`),
    `${seconds.toFixed(0)} s, ${count(Math.round(triples / seconds))} triples/s`,
    ...(ok ? [] : [`FAILED ${difference}`]),
  ].join("\n");
  return { ok, text, facts: { ...found, captured } };
}

function execute(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
  return stdout;
}
