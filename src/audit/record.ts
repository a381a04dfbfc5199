// What an audit record is: one record for each attempt to bring the host to a revision, whatever came of it.
// The shapes here are also the file format; schema.ts says the same to the machine.
import type { Person } from "../base/index.ts";

export const auditOutcomes = [
  "applied",
  "unchanged",
  "refused",
  "failed",
  "rolled-back",
  "drift",
  "healed",
  "detached",
] as const;
export type AuditOutcome = (typeof auditOutcomes)[number];

export const auditTriggers = ["poll", "push", "command", "schedule", "start"] as const;
export type AuditTrigger = (typeof auditTriggers)[number];

/** The revision that was tried, without its files. */
export interface AuditRevision {
  readonly commit: string;
  readonly ref: string;
  readonly tree: string;
  readonly subject: string;
  readonly author: Person;
  readonly committer: Person;
}

/** How many entries a plan adds, changes and removes. */
export interface ChangeCounts {
  readonly add: number;
  readonly change: number;
  readonly remove: number;
}

export interface AuditPlan {
  readonly summary: ChangeCounts;
  readonly digest: string;
  /** At most 256. */
  readonly tables: readonly (ChangeCounts & { readonly table: string })[];
}

/** Digest of each table's visible state, by the table's name; at most 256. */
export type TableDigests = Readonly<Record<string, string>>;

/** What the caller knows about an attempt. Text is cleaned of control characters and cut to length when written. */
export interface AuditEntry {
  readonly outcome: AuditOutcome;
  /** For machines, in CamelCase: `Succeeded`, `InvalidPolicy`, ... */
  readonly reason: string;
  /** For people: one sentence. */
  readonly message: string;
  /** Null if the attempt ended before a revision was known. */
  readonly revision: AuditRevision | null;
  readonly generation: { readonly before: number; readonly after: number } | null;
  readonly plan: AuditPlan | null;
  readonly digests: { readonly before: TableDigests; readonly after: TableDigests } | null;
  /** Duration of each stage, by its name; at most 64. */
  readonly timingsMs: Readonly<Record<string, number>>;
  /** Formatted findings, any number; the record keeps the first 100 and the count of all. */
  readonly diagnostics?: readonly string[];
  readonly host: string;
  readonly agentVersion: string;
  readonly trigger: AuditTrigger;
}

/** One line of the log. */
export interface AuditRecord extends AuditEntry {
  /** Count of all `diagnostics` of the entry; present exactly if they are. */
  readonly diagnosticsTotal?: number;
  /** From 1, without gaps, over all files of the log. */
  readonly sequence: number;
  /** RFC 3339, UTC, milliseconds. */
  readonly time: string;
  /** `hash` of the record before; 64 zeros in the first record. */
  readonly previous: string;
  /** SHA-256, in hex, of the canonical JSON of this record without `hash`. */
  readonly hash: string;
}

/** The end of the chain: what a person writes down elsewhere to prove later that nothing before it changed. */
export interface ChainEnd {
  /** 0 if there is no record. */
  readonly sequence: number;
  readonly hash: string;
}

export const emptyChain: ChainEnd = { sequence: 0, hash: "0".repeat(64) };

/**
 * No line is longer than this, its newline included. The limits in schema.ts and entry.ts keep every record
 * below it, so that the space set aside before a commit (reserve.ts) always suffices.
 */
export const recordBytesMax = 1024 * 1024;
