// Verifies a log from its bytes alone. It reads as a stream, in bounded memory, and may run while the agent
// appends. It shows that nothing was changed, removed, added or moved since the head was written; that log and
// head were not both rewritten as a whole is shown by an anchor, noted down elsewhere before.
import { join } from "node:path";
import { type AuditFinding, ChainFollower, type Report } from "./chain.ts";
import { unreadable } from "./failures.ts";
import { type AuditFile, type AuditIo, diskIo, errorCode } from "./io.ts";
import {
  currentName,
  findMisnamed,
  findRotated,
  type HeadState,
  headName,
  type RotatedFile,
  readHead,
} from "./layout.ts";
import { readLines } from "./lines.ts";
import type { ChainEnd } from "./record.ts";

export interface VerifyOptions {
  /** A position that was noted down earlier: the record must still be there, with this hash. */
  readonly anchor?: ChainEnd;
  /** How many findings are kept; 100 if absent. */
  readonly findingsMax?: number;
  /** The disk; given by tests. */
  readonly io?: AuditIo;
}

export interface AuditVerification {
  /** True if there is no finding. */
  readonly ok: boolean;
  /** Lines that hold a record, sound or not. */
  readonly records: number;
  /** Names of the files read, oldest first. */
  readonly files: readonly string[];
  /** What the head says; null if it says nothing valid. */
  readonly head: ChainEnd | null;
  readonly findings: readonly AuditFinding[];
  /** Count of all findings, kept or not. */
  readonly findingsTotal: number;
  /** What is no fault but worth saying, such as a record that was being written. */
  readonly notes: readonly string[];
}

/** Throws `audit-unreadable` if the files cannot be read. A directory without a log has a finding: no head. */
export async function verifyAuditLog(
  directory: string,
  options: VerifyOptions = {},
): Promise<AuditVerification> {
  const { anchor, findingsMax = 100, io = diskIo } = options;
  const findings: AuditFinding[] = [];
  const notes: string[] = [];
  let findingsTotal = 0;
  const report: Report = (finding) => {
    if (findingsTotal++ < findingsMax) findings.push(finding);
  };
  try {
    const view = await takeView(io, directory);
    try {
      const { files, records } = await verifyView(io, directory, { view, anchor, report, notes });
      const head = view.head.end ?? null;
      return { ok: findingsTotal === 0, records, files, head, findings, findingsTotal, notes };
    } finally {
      await view.current?.file.close();
    }
  } catch (error) {
    const code = errorCode(error);
    throw code === undefined ? error : unreadable(directory, code, error);
  }
}

interface View {
  readonly head: HeadState;
  readonly rotated: readonly RotatedFile[];
  readonly misnamed: readonly string[];
  readonly current: { readonly file: AuditFile; readonly size: number } | null;
}

const viewAttemptsMax = 20;

/** Head, names and the current file at one moment: between two equal heads at most one record was written. */
async function takeView(io: AuditIo, directory: string): Promise<View> {
  for (let attempt = 1; ; attempt++) {
    const head = await readHead(io, directory);
    const current = await openCurrent(io, directory);
    try {
      const names = await io.list(directory);
      const now = await io.stat(join(directory, currentName));
      const headNow = await readHead(io, directory);
      const settled = headNow.text === head.text && now?.inode === current?.inode;
      if (settled || attempt === viewAttemptsMax) {
        return { head, rotated: findRotated(names), misnamed: findMisnamed(names), current };
      }
    } catch (error) {
      await current?.file.close();
      throw error;
    }
    await current?.file.close();
  }
}

async function openCurrent(io: AuditIo, directory: string) {
  let file: AuditFile;
  try {
    file = await io.open(join(directory, currentName), "read");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return null;
    throw error;
  }
  const { size, inode } = await file.stat();
  return { file, size, inode };
}

interface VerifyRun {
  readonly view: View;
  readonly anchor: ChainEnd | undefined;
  readonly report: Report;
  readonly notes: string[];
}

async function verifyView(io: AuditIo, directory: string, run: VerifyRun) {
  const { view, anchor, report, notes } = run;
  const follower = new ChainFollower(report);
  const files: string[] = [];
  let anchored = anchor === undefined || anchor.sequence === 0;
  const onRecord = (end: ChainEnd) => {
    if (end.sequence === anchor?.sequence && end.hash === anchor.hash) anchored = true;
  };
  for (const file of view.misnamed) {
    const found = "a name that looks like one";
    report({ kind: "misnamed-file", file, line: null, sequence: null, expected: "no other log file", found });
  }
  for (const { name, firstSequence } of view.rotated) {
    const file = await io.open(join(directory, name), "read");
    try {
      const { size } = await file.stat();
      await verifyFile({ name, file, size, firstSequence }, { follower, report, onRecord });
    } finally {
      await file.close();
    }
    files.push(name);
  }
  if (view.current !== null) {
    const unfinished = await verifyFile(
      { name: currentName, ...view.current },
      { follower, report, onRecord },
    );
    if (unfinished > 0) notes.push(describeUnfinished(unfinished));
    files.push(currentName);
  }
  judgeHead(view.head, follower, report);
  if (anchor !== undefined && !anchored) {
    const { sequence, hash } = anchor;
    const expected = `record ${sequence} with hash ${hash}`;
    const found = "no such record";
    report({ kind: "anchor-mismatch", file: currentName, line: null, sequence, expected, found });
  }
  return { files, records: follower.records };
}

interface FileUnderTest {
  readonly name: string;
  readonly file: AuditFile;
  readonly size: number;
  /** Absent for the current file, the only one that may end with a record which is being written. */
  readonly firstSequence?: number;
}

/** Gives the length of an unfinished last line of the current file, else 0. */
async function verifyFile(
  subject: FileUnderTest,
  sinks: { follower: ChainFollower; report: Report; onRecord: (end: ChainEnd) => void },
): Promise<number> {
  const { name, file, size, firstSequence } = subject;
  const { follower, report, onRecord } = sinks;
  let number = 0;
  for await (const line of readLines(file, size)) {
    number++;
    if (!line.terminated) {
      if (firstSequence === undefined && line.bytes !== null) return line.end - line.start;
      const sequence = follower.nextSequence;
      const found = `${line.end - line.start} bytes of an unfinished line`;
      report({
        kind: "unfinished-line",
        file: name,
        line: number,
        sequence,
        expected: "a whole record",
        found,
      });
      return 0;
    }
    const end = follower.follow(name, number, line.bytes);
    if (end === null) continue;
    onRecord(end);
    if (number === 1 && firstSequence !== undefined && end.sequence !== firstSequence) {
      const expected = `first sequence ${firstSequence}, as the file's name says`;
      const found = `sequence ${end.sequence}`;
      report({ kind: "wrong-file-name", file: name, line: 1, sequence: end.sequence, expected, found });
    }
  }
  return 0;
}

function judgeHead(head: HeadState, follower: ChainFollower, report: Report): void {
  const place = { file: headName, line: null };
  const last = follower.lastEnds[0]?.sequence ?? 0;
  if (head.end === undefined) {
    const missing = head.text === undefined;
    report({
      ...place,
      kind: missing ? "head-missing" : "head-unreadable",
      sequence: null,
      expected: `a head that names record ${last}`,
      found: missing ? "no such file" : "something that this program does not write",
    });
    return;
  }
  const { sequence, hash } = head.end;
  const found = `record ${last} is the last one`;
  if (sequence > last) {
    const expected = `records up to ${sequence}, as the head says`;
    report({ ...place, kind: "truncated-end", sequence: last + 1, expected, found });
  } else if (sequence < last - 1) {
    // The head is written after each record, and no record is added before it is: a crash leaves it one behind.
    const expected = `record ${sequence} or ${sequence + 1} as the last one, as the head says`;
    report({ ...place, kind: "head-behind", sequence, expected, found });
  } else {
    const end = follower.lastEnds.find((candidate) => candidate.sequence === sequence);
    if (end?.hash === hash) return;
    const expected = `hash ${hash}, as the head says`;
    report({ ...place, kind: "head-mismatch", sequence, expected, found: `hash ${end?.hash ?? "unknown"}` });
  }
}

function describeUnfinished(bytes: number): string {
  return `${currentName} ends with ${bytes} bytes of an unfinished record: it is being written, or a crash left it and the next start moves it away`;
}
