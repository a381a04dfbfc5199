// The seven steps of the demo: each does something that people do, checks with packets that it had its effect, and
// prints what a person wants to see.
import { setTimeout as sleep } from "node:timers/promises";
import { styleText } from "node:util";
import { clientAddress, type DemoWorld, serverInterface } from "./world.ts";

/** What was measured; times in milliseconds. */
export interface Figures {
  pushToCommittedMs: number;
  prefixes: number;
  loadEntriesWritten: number;
  loadTransactionMs: number;
  changeEntriesWritten: number;
  changeTransactionMs: number;
  driftToHealedMs: number;
  rollbackMs: number;
  restartMs: number;
  auditRecords: number;
}

const prefixCount = 10_000;
const waitMs = 15_000;

export async function runSteps(world: DemoWorld): Promise<Figures> {
  const pushed = await pushPolicy(world);
  const changed = await changeOneOfMany(world);
  await refuseInvalid(world);
  const healed = await healDrift(world);
  const rolledBack = await rollBack(world);
  const restarted = await surviveKill(world);
  const audited = verifyAudit(world);
  return { ...pushed, ...changed, ...healed, ...rolledBack, ...restarted, ...audited };
}

async function pushPolicy(world: DemoWorld) {
  title(1, "A git push changes what the kernel does to packets");
  expectConnection(world, 8080, true, "before any policy");
  expectConnection(world, 9000, true, "before any policy");
  world.write("policies/edge.yaml", edgePolicy());
  world.write("policies/sets.yaml", setsPolicy([]));
  world.push("edge: let the office reach the web service only");
  await world.startAgent();
  const applied = await waitForCommit(world, world.git("rev-parse", "HEAD").trim());
  show(world.penstock("status").stdout);
  expectConnection(world, 8080, true, "allowed by rule edge/office-web");
  expectConnection(world, 9000, false, "dropped by default");
  world.write("policies/edge.yaml", edgePolicy({ alsoPort: 9000 }));
  const started = performance.now();
  const commit = world.push("edge: open port 9000 to the office");
  await waitForCommit(world, commit);
  const pushToCommittedMs = round(performance.now() - started);
  say(`from git push to committed: ${pushToCommittedMs} ms (the agent polls once a second)`);
  expectConnection(world, 9000, true, "allowed now");
  world.write("policies/edge.yaml", edgePolicy());
  await waitForCommit(world, world.push("edge: close port 9000 again"));
  expectConnection(world, 9000, false, "the port that was open is closed");
  if (applied === undefined) throw new Error("no audit record of the first commit");
  return { pushToCommittedMs };
}

async function changeOneOfMany(world: DemoWorld) {
  title(2, `One changed prefix in a set of ${prefixCount.toLocaleString("en")}`);
  const prefixes = Array.from({ length: prefixCount }, (_, i) => `198.18.${i >> 8}.${i & 255}/32`);
  world.write("policies/sets.yaml", setsPolicy(prefixes));
  const load = await waitForCommit(world, world.push("blocked: load the list"));
  say(`loading it:    ${describe(load)}`);
  prefixes[5000] = `${clientAddress}/32`;
  world.write("policies/sets.yaml", setsPolicy(prefixes));
  const change = await waitForCommit(world, world.push("blocked: one entry changes"));
  say(`changing one:  ${describe(change)}`);
  expectConnection(world, 8080, false, "the changed entry is the client's own address");
  prefixes[5000] = "198.18.200.1/32";
  world.write("policies/sets.yaml", setsPolicy(prefixes));
  await waitForCommit(world, world.push("blocked: not that one"));
  expectConnection(world, 8080, true, "and back");
  if (change.entries > 4) throw new Error(`one changed prefix wrote ${change.entries} entries`);
  return {
    prefixes: prefixCount,
    loadEntriesWritten: load.entries,
    loadTransactionMs: load.transactionMs,
    changeEntriesWritten: change.entries,
    changeTransactionMs: change.transactionMs,
  };
}

async function refuseInvalid(world: DemoWorld): Promise<void> {
  title(3, "A commit with a mistake is refused, with file and line");
  world.write("policies/edge.yaml", edgePolicy().replace("destinationPorts", "destinationPort"));
  const commit = world.push("edge: a typing error");
  const record = await waitForRecord(world, (r) => r.revision?.commit === commit);
  if (record.outcome !== "refused") throw new Error(`the commit was ${record.outcome}`);
  for (const finding of record.diagnostics ?? []) show(finding);
  expectConnection(world, 8080, true, "packets do not notice");
  expectConnection(world, 9000, false, "packets do not notice");
  world.write("policies/edge.yaml", edgePolicy());
  await waitForCommit(world, world.push("edge: mend it"));
}

async function healDrift(world: DemoWorld) {
  title(4, "Somebody changes a map behind the agent's back");
  const map = `${world.pinDirectory}/maps/address_set_v4`;
  const [a, b, c, d] = clientAddress.split(".");
  const entries = JSON.parse(world.server("bpftool", "--json", "map", "dump", "pinned", map).stdout) as {
    key: string[];
  }[];
  const key = entries
    .map((e) => e.key.map((byte) => Number.parseInt(byte, 16)))
    .find((k) => k.slice(8).join(".") === `${a}.${b}.${c}.${d}`);
  if (key === undefined) throw new Error("the client's entry is not in the kernel");
  world.server("bpftool", "map", "delete", "pinned", map, "key", ...key.map(String));
  const started = performance.now();
  say(`bpftool map delete ... took ${clientAddress} out of the set "office"`);
  const drift = world.penstock("drift");
  if (drift.status === 3) show(drift.stdout);
  const healed = await waitForRecord(world, (r) => r.outcome === "healed");
  const driftToHealedMs = round(performance.now() - started);
  say(`${healed.message}; healed after ${driftToHealedMs} ms (the agent scans every four seconds)`);
  expectConnection(world, 8080, true, "healed");
  return { driftToHealedMs };
}

async function rollBack(world: DemoWorld) {
  title(5, "A bad change is rolled back");
  world.write("policies/edge.yaml", edgePolicy({ webPort: 8081 }));
  await waitForCommit(world, world.push("edge: move the web service (wrongly)"));
  expectConnection(world, 8080, false, "the change was a mistake");
  const started = performance.now();
  const result = world.penstock("rollback");
  const rollbackMs = round(performance.now() - started);
  if (result.status !== 0) throw new Error(`rollback failed: ${result.stdout}${result.stderr}`);
  show(result.stdout);
  say(`penstock rollback took ${rollbackMs} ms, the start of the command included`);
  expectConnection(world, 8080, true, "back, and it stays until the branch moves");
  await sleep(2_500);
  expectConnection(world, 8080, true, "the poll did not bring the bad commit back");
  return { rollbackMs };
}

async function surviveKill(world: DemoWorld) {
  title(6, "The agent is killed with SIGKILL");
  const before = recordsOf(world).length;
  world.killAgent();
  expectConnection(world, 8080, true, "packets are judged without an agent");
  expectConnection(world, 9000, false, "packets are judged without an agent");
  const started = performance.now();
  await world.startAgent();
  const restartMs = round(performance.now() - started);
  const drift = world.penstock("drift");
  if (drift.status !== 0) throw new Error(`after the restart there is drift:\n${drift.stdout}`);
  const after = recordsOf(world);
  const repaired = after.slice(before).filter((r) => r.outcome === "healed" || r.outcome === "failed");
  if (repaired.length > 0)
    throw new Error(`the restart had to repair: ${repaired.map((r) => r.message).join("; ")}`);
  say(`started again in ${restartMs} ms: nothing to repair, nothing lost`);
  show(world.penstock("counters").stdout);
  expectConnection(world, 8080, true, "still in force");
  return { restartMs };
}

function verifyAudit(world: DemoWorld) {
  title(7, "Everything is on record");
  show(world.penstock("audit", "list").stdout);
  const verified = world.penstock("audit", "verify");
  if (verified.status !== 0) throw new Error(`audit verify failed: ${verified.stdout}`);
  show(verified.stdout);
  return { auditRecords: recordsOf(world).length };
}

interface AuditRecord {
  readonly outcome: string;
  readonly message: string;
  readonly revision: { readonly commit: string } | null;
  readonly plan: { readonly tables: readonly { add: number; change: number; remove: number }[] } | null;
  readonly timingsMs: Readonly<Record<string, number>>;
  readonly diagnostics?: readonly string[];
}

interface Committed {
  /** Entries added, changed and removed, in all tables, ids and bookkeeping included. */
  readonly entries: number;
  readonly transactionMs: number;
  readonly graceMs: number;
}

/** Oldest first. */
function recordsOf(world: DemoWorld): AuditRecord[] {
  const { status, stdout } = world.penstock("audit", "list", "-n", "1000", "-o", "json");
  if (status !== 0) return [];
  const parsed = JSON.parse(stdout) as AuditRecord[] | { records: AuditRecord[] };
  const records = Array.isArray(parsed) ? parsed : parsed.records;
  return [...records].reverse();
}

async function waitForRecord(
  world: DemoWorld,
  wanted: (record: AuditRecord) => boolean,
): Promise<AuditRecord> {
  const deadline = performance.now() + waitMs;
  while (performance.now() < deadline) {
    const found = recordsOf(world).find(wanted);
    if (found !== undefined) return found;
    await sleep(100);
  }
  throw new Error("the agent did not do it in time");
}

async function waitForCommit(world: DemoWorld, commit: string): Promise<Committed> {
  const record = await waitForRecord(world, (r) => r.revision?.commit === commit);
  if (record.outcome !== "applied" && record.outcome !== "unchanged") {
    throw new Error(`${record.message}\n${(record.diagnostics ?? []).join("\n")}`);
  }
  const { grace = 0, ...stages } = record.timingsMs;
  const entries = (record.plan?.tables ?? []).reduce((sum, t) => sum + t.add + t.change + t.remove, 0);
  const transactionMs = Object.values(stages).reduce((sum, ms) => sum + ms, 0);
  return { entries, transactionMs: round(transactionMs), graceMs: round(grace) };
}

function describe({ entries, transactionMs, graceMs }: Committed): string {
  return `${entries} entries written, ${transactionMs} ms in the transaction, ${graceMs} ms of waiting for the grace period`;
}

function expectConnection(world: DemoWorld, port: number, wanted: boolean, why: string): void {
  const found = world.connects(port);
  const mark = found ? styleText("green", "open  ") : styleText("red", "closed");
  console.log(`  ${mark} ${port}/tcp from the client   ${why}`);
  if (found !== wanted) throw new Error(`port ${port} is ${found ? "open" : "closed"} and should not be`);
}

function title(number: number, text: string): void {
  console.log(`\n${styleText("bold", `${number}. ${text}`)}`);
}

function say(text: string): void {
  console.log(`  ${text}`);
}

/** Output of the product, set off from what the demo says. */
function show(text: string): void {
  for (const line of text.trimEnd().split("\n")) console.log(styleText("dim", `  | ${line}`));
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}

function edgePolicy(options: { readonly webPort?: number; readonly alsoPort?: number } = {}): string {
  const ports = [options.webPort ?? 8080, ...(options.alsoPort === undefined ? [] : [options.alsoPort])];
  return `apiVersion: penstock/v1
kind: InterfaceGroup
metadata: { name: wan }
spec:
  interfaces: [${serverInterface}]
---
apiVersion: penstock/v1
kind: Firewall
metadata: { name: edge }
spec:
  interfaces: [wan]
  default: drop
  rules:
    - name: blocked
      action: drop
      match: { source: { sets: [blocked] } }
    - name: office-web
      action: pass
      match: { protocol: tcp, source: { sets: [office] }, destinationPorts: [${ports.join(", ")}] }
    - name: ping
      action: pass
      match: { protocol: icmp }
`;
}

function setsPolicy(blocked: readonly string[]): string {
  return `apiVersion: penstock/v1
kind: AddressSet
metadata: { name: office }
spec:
  prefixes: [${clientAddress}, 192.0.2.0/24, "2001:db8:1::/48"]
---
apiVersion: penstock/v1
kind: AddressSet
metadata: { name: blocked }
spec:
  prefixes:${blocked.length === 0 ? " []" : ""}
${blocked.map((prefix) => `    - ${prefix}`).join("\n")}
`;
}
