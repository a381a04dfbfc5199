// Entries and logs for the audit log's tests.
import fc from "fast-check";
import {
  type AuditEntry,
  type AuditLog,
  type AuditRecord,
  auditOutcomes,
  auditTriggers,
  openAuditLog,
} from "../../src/audit/index.ts";
import type { AuditIo } from "../../src/audit/io.ts";
import type { Clock } from "../../src/base/index.ts";

/** 2026-01-31T23:59:59.123Z, one millisecond later at each look. */
export function testClock(): Clock {
  let nowMs = Date.UTC(2026, 0, 31, 23, 59, 59, 123);
  return { now: () => nowMs++, monotonicMs: () => nowMs };
}

export function sampleEntry(changes: Partial<AuditEntry> = {}): AuditEntry {
  const person = { name: "Ada Lovelace", email: "ada@example.org", timestampS: 1_769_000_000 };
  return {
    outcome: "applied",
    reason: "Succeeded",
    message: "Applied main@sha1:0123456789ab",
    revision: {
      commit: "0123456789abcdef0123456789abcdef01234567",
      ref: "main",
      tree: "89abcdef0123456789abcdef0123456789abcdef",
      subject: "Open port 22 for the office",
      author: person,
      committer: person,
    },
    generation: { before: 6, after: 7 },
    plan: {
      summary: { add: 2, change: 1, remove: 0 },
      digest: "ab".repeat(32),
      tables: [{ table: "firewall_rules", add: 2, change: 1, remove: 0 }],
    },
    digests: { before: { firewall_rules: "00ff" }, after: { firewall_rules: "11ee" } },
    timingsMs: { fetch: 12.5, commit: 0.25 },
    host: "edge-1",
    agentVersion: "0.1.0",
    trigger: "push",
    ...changes,
  };
}

/** Text with everything that can go wrong: controls, lone surrogates, directions, quotes. */
export const hostileText = fc
  .array(
    fc.oneof(
      fc.integer({ min: 0, max: 0xffff }),
      fc.constantFrom(0, 7, 10, 13, 27, 0x22, 0x5c, 0x7f, 0x9b, 0x202e, 0x2028, 0xd83d, 0xde00, 0xfeff),
      fc.integer({ min: 0x20, max: 0x7e }),
    ),
    { maxLength: 40 },
  )
  .map((units) => String.fromCharCode(...units));

const counts = { add: fc.nat(), change: fc.nat(), remove: fc.nat() };
const hex = (length: number) =>
  fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: length, maxLength: length });
const person = fc.record({ name: hostileText, email: hostileText, timestampS: fc.integer() });
const tableName = fc.constantFrom("rules", "sets", "Ünïcode", "a/b", "__proto__", "hash", "sequence");
const digests = fc.dictionary(tableName, hex(64), { maxKeys: 4 });

/** Any valid entry, small enough that many fit a test. */
export const anyEntry: fc.Arbitrary<AuditEntry> = fc.record(
  {
    outcome: fc.constantFrom(...auditOutcomes),
    reason: fc.constantFrom("Succeeded", "InvalidPolicy", "SourceUnreachable"),
    message: hostileText,
    revision: fc.option(
      fc.record({
        commit: hex(40),
        ref: hostileText,
        tree: hex(40),
        subject: hostileText,
        author: person,
        committer: person,
      }),
    ),
    generation: fc.option(fc.record({ before: fc.nat(), after: fc.maxSafeNat() })),
    plan: fc.option(
      fc.record({
        summary: fc.record(counts),
        digest: hex(64),
        tables: fc.array(fc.record({ table: tableName, ...counts }), { maxLength: 3 }),
      }),
    ),
    digests: fc.option(fc.record({ before: digests, after: digests })),
    timingsMs: fc.dictionary(tableName, fc.double({ min: 0, max: 1e9, noNaN: true }), { maxKeys: 3 }),
    diagnostics: fc.array(hostileText, { maxLength: 3 }),
    host: hostileText,
    agentVersion: fc.constantFrom("0.1.0", "1.0.0-rc.1"),
    trigger: fc.constantFrom(...auditTriggers),
  },
  {
    requiredKeys: [
      "outcome",
      "reason",
      "message",
      "revision",
      "generation",
      "plan",
      "digests",
      "timingsMs",
      "host",
      "agentVersion",
      "trigger",
    ],
  },
);

export interface LogSetup {
  readonly io?: AuditIo;
  readonly directory?: string;
  readonly fileBytesMax?: number;
}

export async function openTestLog(setup: LogSetup): Promise<AuditLog> {
  return await openAuditLog({ directory: "/memory/audit", clock: testClock(), ...setup });
}

/** Writes the entries to a log and closes it. */
export async function writeLog(setup: LogSetup, entries: readonly AuditEntry[]): Promise<AuditRecord[]> {
  const log = await openTestLog(setup);
  const records: AuditRecord[] = [];
  for (const entry of entries) records.push(await log.append(entry));
  await log.close();
  return records;
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = [];
  for await (const item of items) out.push(item);
  return out;
}
