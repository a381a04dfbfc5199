// Revisions that were applied on this host, newest first.
import type { AuditRecord } from "../../audit/index.ts";
import { formatRevision } from "../../base/index.ts";
import type { HistoryEntry } from "../../reconcile/index.ts";
import { alignColumns, type Style } from "../style.ts";
import { formatTime, plain } from "../text.ts";

export interface HistoryView {
  readonly revisions: readonly HistoryEntry[];
}

/** Outcomes after which a revision is in force. */
const inForce: readonly string[] = ["applied", "unchanged", "rolled-back"];

/** Takes the revisions out of records, which come newest first; at most `limit`. */
export async function collectHistory(
  records: AsyncIterable<AuditRecord>,
  limit: number,
): Promise<HistoryView> {
  const revisions: HistoryEntry[] = [];
  if (limit === 0) return { revisions };
  for await (const { time, outcome, revision } of records) {
    if (!inForce.includes(outcome) || revision === null) continue;
    revisions.push({ time, outcome, revision: formatRevision(revision), subject: revision.subject });
    if (revisions.length >= limit) break;
  }
  return { revisions };
}

export function renderHistory(revisions: readonly HistoryEntry[], style: Style, indent = 0): string[] {
  const rows = revisions.map((entry) => [
    formatTime(entry.time),
    entry.outcome === "rolled-back" ? { text: entry.outcome, paint: style.yellow } : entry.outcome,
    plain(entry.revision),
    plain(entry.subject),
  ]);
  return alignColumns(rows, { indent });
}
