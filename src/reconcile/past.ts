// What was in force before, as the audit log tells it: where a rollback goes, and what status lists.
import { formatRevision, PenstockError } from "../base/index.ts";
import type { Applied } from "../compile/index.ts";
import type { AttemptLog, AttemptOutcome, RecordedAttempt } from "./ports.ts";
import type { HistoryEntry } from "./status.ts";

/** Records that are looked through. */
const recordsMost = 1000;

const inForceOutcomes: readonly AttemptOutcome[] = ["applied", "unchanged", "rolled-back"];

/** The newest record of a revision that came into force. */
export async function newestInForce(log: AttemptLog): Promise<RecordedAttempt | undefined> {
  return (await log.recent(recordsMost)).find((r) => inForceOutcomes.includes(r.outcome));
}

/** The commit that was in force before, for going back to. Throws `nothing-to-roll-back-to`. */
export async function previousCommit(log: AttemptLog, applied: Applied | undefined): Promise<string> {
  // Not what is in force, and not what somebody has just gone back from.
  const passed = [applied?.commit, applied?.held];
  const found = (await log.recent(recordsMost)).find(
    (r) => inForceOutcomes.includes(r.outcome) && r.revision !== null && !passed.includes(r.revision.commit),
  );
  if (found?.revision != null) return found.revision.commit;
  throw new PenstockError({
    code: "nothing-to-roll-back-to",
    disposition: "stalled",
    message: "Cannot roll back: no other revision was applied on this host before",
    remedy: "Name a commit: penstock rollback COMMIT",
  });
}

/** The last revisions that came into force, the newest first. */
export async function listHistory(log: AttemptLog, most: number): Promise<HistoryEntry[]> {
  const records = await log.recent(200);
  return records
    .filter((r) => inForceOutcomes.includes(r.outcome))
    .slice(0, most)
    .map(({ time, outcome, revision }) => ({
      time,
      outcome,
      revision: revision === null ? "" : formatRevision(revision),
      subject: revision?.subject ?? "",
    }));
}
