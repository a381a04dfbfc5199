// Connections from several processors at once: limits are exact at every moment, and however connections end, what
// was counted for them goes exactly once.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import type { Endpoint, TrackedPacket } from "../../src/kinds/conntrack/model.ts";
import { ConntrackLab, commandFrame } from "../fixtures/conntrack-lab.ts";
import { frameOf } from "../fixtures/conntrack-packets.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import type { PacketWork } from "../fixtures/packet-process.ts";

const processes = 3;
const script = fileURLToPath(new URL("../fixtures/packet-process.ts", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "pk-parallel-"));
const running = new Set<ChildProcess>();
const counted = 128;
const host: Endpoint = { address: "192.0.2.1", port: 443 };

afterAll(() => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});

function syn(n: number): TrackedPacket {
  const tcp = { syn: true, ack: false, fin: false, rst: false, sequence: n, acknowledgement: 0 };
  return {
    kind: "packet",
    source: { address: `198.51.100.${n % 16}`, port: 1024 + n },
    destination: host,
    protocol: 6,
    tcp: { ...tcp, window: 1000, length: 0, scale: undefined },
  };
}

/** Runs all works at once; for each how often each verdict came, as `program:verdict`. */
async function runAll(
  works: readonly PacketWork[],
  meanwhile: () => void,
): Promise<Record<string, number>[]> {
  const children = works.map((work, i) => {
    const path = join(directory, `work-${i}.json`);
    writeFileSync(path, JSON.stringify(work));
    const child = spawn(process.execPath, ["--import", "tsx", script, path], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    running.add(child);
    return child;
  });
  const outputs = children.map(() => "");
  const isReady = children.map(
    (child, i) =>
      new Promise<void>((resolve) => {
        child.stdout?.on("data", (chunk: Buffer) => {
          outputs[i] += chunk.toString();
          if (outputs[i]?.includes("ready\n")) resolve();
        });
      }),
  );
  const ended = children.map((child) => new Promise<void>((resolve) => child.on("close", () => resolve())));
  await Promise.all(isReady);
  const watch = setInterval(meanwhile, 1);
  for (const child of children) child.stdin?.end();
  await Promise.all(ended);
  clearInterval(watch);
  for (const child of children) running.delete(child);
  return outputs.map((output) => JSON.parse(output.replace("ready\n", "")) as Record<string, number>);
}

const encode = (frame: Uint8Array) => Buffer.from(frame).toString("base64");
const total = (verdicts: readonly Record<string, number>[], name: string) =>
  verdicts.reduce((sum, each) => sum + (each[name] ?? 0), 0);

/** Every counted connection is in both counts, and nothing else is; no two have one slot. */
async function expectConsistent(lab: ConntrackLab, ruleId: number): Promise<void> {
  const entries = await lab.entries();
  const inTable = entries.filter(({ flags }) => (flags & counted) !== 0).length;
  expect(new Set(entries.map(({ value }) => value.slot)).size).toBe(entries.length);
  const { rule, sources } = await lab.counts(ruleId);
  expect({ rule, sources: sources.reduce((a, b) => a + b, 0) }).toEqual({ rule: inTable, sources: inTable });
}

describeKernel("connections from several processors", () => {
  it("never lets through more than a limit, and as many as it", async () => {
    const lab = new ConntrackLab({ entries: 8192, probe: "tc" });
    lab.setOrigin({ ruleId: 3, rule: 2000, source: 150, flags: counted });
    const programs = lab.programIds("create");
    const ranks = Array.from({ length: processes }, (_, i) => i);
    const works = ranks.map((rank) => ({
      programs,
      rounds: 1,
      steps: Array.from({ length: 1000 }, (_, n) => [0, encode(frameOf(syn(n * processes + rank)))] as const),
    }));
    const verdicts = await runAll(works, () => {});
    expect(total(verdicts, "0:0")).toBe(2000);
    const { rule, sources } = await lab.counts(3);
    expect([rule, Math.max(...sources) <= 150]).toEqual([2000, true]);
    await expectConsistent(lab, 3);
    lab.close();
  });

  it("counts down exactly once, whoever ends a connection and how", async () => {
    const lab = new ConntrackLab({ entries: 64, probe: "tc" });
    lab.setOrigin({ ruleId: 3, rule: 40, source: 9, flags: counted });
    const programs = lab.programIds("create", "tc_conntrack_ingress", "tc_conntrack_end");
    // All processes use the same 96 connections: created, closed by a reset or by command, put out by one another.
    const packets = Array.from({ length: 96 }, (_, n) => syn(n));
    for (const packet of packets) lab.probe("create", frameOf(packet));
    const keys = (await lab.entries()).map(({ key }) => key);
    const programsNow = lab.programIds("create", "tc_conntrack_ingress", "tc_conntrack_end");
    expect(programsNow).toEqual(programs);
    const steps = packets.flatMap((packet, n) => [
      [0, encode(frameOf(packet))] as const,
      [1, encode(frameOf(packet))] as const,
      ...(n % 2 === 0 ? [[2, encode(commandFrame(keys.slice(n / 4, n / 4 + 3)))] as const] : []),
    ]);
    const works = Array.from({ length: processes }, (_, i) => ({
      programs,
      rounds: 60,
      steps: [...steps.slice(i * 40), ...steps.slice(0, i * 40)],
    }));
    let most = 0;
    const watch = () => {
      const value = lab.map("rule_counts").lookup(Uint8Array.of(3, 0, 0, 0));
      if (value !== undefined) most = Math.max(most, new DataView(value.buffer).getInt32(0, true));
    };
    const verdicts = await runAll(works, watch);
    expect(most).toBeLessThanOrEqual(40);
    expect(total(verdicts, "0:0")).toBeGreaterThan(1000);
    expect(lab.stat("flushed")).toBeGreaterThan(0);
    await expectConsistent(lab, 3);
    await lab.clear();
    expect([await lab.counts(3), (await lab.entries()).length]).toEqual([{ rule: 0, sources: [] }, 0]);
    lab.close();
  });
});
