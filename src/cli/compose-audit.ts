// The audit log behind reconciling's port. Attempts and audit entries are the same facts in the same shape; that is
// checked where they are assigned.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type AuditEntry, type AuditLog, type AuditRecord, readAuditRecords } from "../audit/index.ts";
import { bug } from "../base/index.ts";
import type { Attempt, AttemptLog, RecordedAttempt } from "../reconcile/index.ts";
import { auditName } from "./places.ts";
import type { Settings } from "./settings.ts";

/** Where the audit log lies. */
export function auditDirectory(settings: Pick<Settings, "stateDirectory">): string {
  return join(settings.stateDirectory, auditName);
}

/** Writes attempts to an open log. */
export function attemptLog(audit: AuditLog): AttemptLog {
  return {
    reserve: () => audit.reserve(),
    async append(attempt) {
      return recordedOf(await audit.append(entryOf(attempt)));
    },
    recent: (limit) => collectRecent(audit.records({ limit })),
  };
}

/** Reads attempts, for commands that change nothing. */
export function readOnlyAttempts(settings: Settings): AttemptLog {
  const refuse = async () => {
    throw bug("Cannot write an audit record: the log was opened for reading");
  };
  return { reserve: refuse, append: refuse, recent: (limit) => collectRecent(readRecords(settings, limit)) };
}

/** Records of the log, newest first; none where there is no log yet. */
export async function* readRecords(settings: Settings, limit: number): AsyncGenerator<AuditRecord> {
  const directory = auditDirectory(settings);
  if (existsSync(directory)) yield* readAuditRecords(directory, { limit });
}

function entryOf(attempt: Attempt): AuditEntry {
  return attempt;
}

async function collectRecent(records: AsyncIterable<AuditRecord>): Promise<RecordedAttempt[]> {
  const recent: RecordedAttempt[] = [];
  for await (const record of records) recent.push(recordedOf(record));
  return recent;
}

function recordedOf(record: AuditRecord): RecordedAttempt {
  const { sequence, time, outcome, reason, message, revision } = record;
  return { sequence, time, outcome, reason, message, revision };
}
