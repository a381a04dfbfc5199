// Finds the end of the chain and puts right what a crash leaves: a torn last line, a head one record behind.
// Everything else that does not fit cannot come from a crash: it is left alone and the log is not continued.
import { join } from "node:path";
import { type Clock, PenstockError } from "../base/index.ts";
import { decodeLine } from "./decode.ts";
import { chainBroken } from "./failures.ts";
import { type AuditFile, type AuditIo, errorCode, readFully, writeFully } from "./io.ts";
import {
  currentName,
  findMisnamed,
  findRotated,
  type RotatedFile,
  readHead,
  tornName,
  writeHead,
} from "./layout.ts";
import { readLines, readLinesBackward } from "./lines.ts";
import { type ChainEnd, emptyChain, recordBytesMax } from "./record.ts";

export interface RecoverOptions {
  readonly io: AuditIo;
  readonly directory: string;
  readonly clock: Clock;
}

/** The current file and the end of the chain, in agreement with the head. */
export interface Tail {
  readonly file: AuditFile;
  readonly inode: number;
  readonly size: number;
  /** Of the first record in the current file, or of the next record if it is empty. */
  readonly firstSequence: number;
  readonly end: ChainEnd;
}

interface LastRecord extends ChainEnd {
  readonly previous: string;
}

/** What a file ends with: its last record, and how many bytes belong to records. */
interface FileEnd {
  readonly last: LastRecord | null;
  readonly soundBytes: number;
}

/** One record's length of random bytes has about 4,000 line ends. */
const tornLinesMax = 10_000;
const noRecords: FileEnd = { last: null, soundBytes: 0 };

/** Throws `audit-chain-broken` if the log cannot be continued. `repairs` says what was put right. */
export async function recoverLog(options: RecoverOptions): Promise<{ tail: Tail; repairs: string[] }> {
  const { io, directory } = options;
  await prepareDirectory(io, directory);
  const names = await io.list(directory);
  const head = await readHead(io, directory);
  if (head.text !== undefined && head.end === undefined) {
    throw chainBroken(directory, "audit.head is not what this program writes");
  }
  const misnamed = findMisnamed(names)[0];
  if (misnamed !== undefined) throw chainBroken(directory, `${misnamed} is no name that the log gives`);
  // A new log begins with its head: records without one are what is left when somebody removed it.
  if (head.text === undefined) await beginLog(io, directory, names);
  const current = await openIfPresent(io, directory);
  try {
    return await recoverFile(options, { current, head: head.end ?? emptyChain, rotated: findRotated(names) });
  } catch (error) {
    await current?.close();
    throw error;
  }
}

async function recoverFile(
  options: RecoverOptions,
  found: { current: AuditFile | null; head: ChainEnd; rotated: readonly RotatedFile[] },
): Promise<{ tail: Tail; repairs: string[] }> {
  const { io, directory } = options;
  const { current, head, rotated } = found;
  const repairs: string[] = [];
  const size = current === null ? 0 : (await current.stat()).size;
  const fileEnd = current === null ? noRecords : await findFileEnd(directory, current, size);
  const last = fileEnd.last ?? (await findRotatedEnd(io, directory, rotated.at(-1)));
  judgeEnd(directory, last, head);
  const end: ChainEnd = { sequence: last?.sequence ?? 0, hash: last?.hash ?? emptyChain.hash };
  const firstSequence =
    (current && (await findFirstSequence(directory, current, fileEnd.soundBytes))) ?? end.sequence + 1;
  // All that fits what a crash leaves. Only now anything is written: of a tampered log nothing is changed.
  const file = current ?? (await createCurrent(io, directory));
  const { inode, mode } = await file.stat();
  if (mode !== 0o600) {
    await file.setMode(0o600);
    repairs.push(`${currentName} had mode ${mode.toString(8)}; it has 600 again`);
  }
  if (fileEnd.soundBytes < size) {
    repairs.push(await moveTornAway(options, { file, from: fileEnd.soundBytes, size }));
  }
  if (end.sequence !== head.sequence) {
    await writeHead(io, directory, end);
    repairs.push(`audit.head was one record behind; it names record ${end.sequence} now`);
  }
  return { repairs, tail: { file, inode, size: fileEnd.soundBytes, firstSequence, end } };
}

/** A directory that others may write would make the chain worthless; one that exists is not changed. */
async function prepareDirectory(io: AuditIo, directory: string): Promise<void> {
  await io.makeDirectory(directory);
  const mode = (await io.stat(directory))?.mode ?? 0;
  if ((mode & 0o022) === 0) return;
  throw new PenstockError({
    code: "audit-directory-unsafe",
    disposition: "stalled",
    message: `Cannot keep the audit log in ${directory}: others may write there (mode ${mode.toString(8)})`,
    remedy: `Give the log a directory of its own, or run "chmod 700 ${directory}"`,
    data: { directory },
  });
}

async function beginLog(io: AuditIo, directory: string, names: readonly string[]): Promise<void> {
  const size = (await io.stat(join(directory, currentName)))?.size ?? 0;
  if (size > 0 || findRotated(names).length > 0) {
    throw chainBroken(directory, "there are records, but audit.head is missing");
  }
  await writeHead(io, directory, emptyChain);
}

async function openIfPresent(io: AuditIo, directory: string): Promise<AuditFile | null> {
  try {
    return await io.open(join(directory, currentName), "update");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return null;
    throw error;
  }
}

async function createCurrent(io: AuditIo, directory: string): Promise<AuditFile> {
  const file = await io.open(join(directory, currentName), "create");
  await io.syncDirectory(directory);
  return file;
}

/** A crash leaves at most one unfinished record behind the last sound one, whatever its bytes are. */
async function findFileEnd(directory: string, file: AuditFile, size: number): Promise<FileEnd> {
  let lines = 0;
  for await (const line of readLinesBackward(file, size)) {
    if (size - line.end > recordBytesMax || ++lines > tornLinesMax || line.bytes === null) {
      throw chainBroken(directory, `more than one record's length at the end of ${currentName} is no record`);
    }
    const decoded = line.terminated ? decodeLine(line.bytes) : undefined;
    if (decoded?.ok) return { last: decoded.record, soundBytes: line.end };
  }
  if (size > recordBytesMax) throw chainBroken(directory, `there is no record in ${currentName}`);
  return noRecords;
}

/** A file is rotated away only when its last record is whole. */
async function findRotatedEnd(
  io: AuditIo,
  directory: string,
  rotated: RotatedFile | undefined,
): Promise<LastRecord | null> {
  if (rotated === undefined) return null;
  const file = await io.open(join(directory, rotated.name), "read");
  try {
    const { size } = await file.stat();
    const { last, soundBytes } = await findFileEnd(directory, file, size);
    if (last === null || soundBytes !== size) {
      throw chainBroken(directory, `${rotated.name} does not end with a whole record`);
    }
    return last;
  } finally {
    await file.close();
  }
}

function judgeEnd(directory: string, last: LastRecord | null, head: ChainEnd): void {
  const sequence = last?.sequence ?? 0;
  const hash = last?.hash ?? emptyChain.hash;
  if (sequence < head.sequence) {
    throw chainBroken(
      directory,
      `it ends at record ${sequence}, but audit.head names record ${head.sequence}`,
    );
  }
  if (sequence > head.sequence + 1) {
    throw chainBroken(directory, `it ends at record ${sequence}, but audit.head is at ${head.sequence}`);
  }
  const joined = sequence === head.sequence ? hash : last?.previous;
  if (joined !== head.hash) {
    throw chainBroken(directory, `record ${sequence} does not belong to the chain that audit.head names`);
  }
}

async function moveTornAway(
  options: RecoverOptions,
  torn: { file: AuditFile; from: number; size: number },
): Promise<string> {
  const { io, directory, clock } = options;
  const { file, from, size } = torn;
  const bytes = await readFully(file, from, size - from);
  const { name, copy } = await createTorn(io, directory, tornName(clock.now()));
  try {
    await writeFully(copy, bytes, 0);
    await copy.sync();
  } finally {
    await copy.close();
  }
  await io.syncDirectory(directory);
  await file.truncate(from);
  await file.sync();
  return `${currentName} ended with ${bytes.length} bytes of an unfinished record; they are in ${name} now`;
}

async function createTorn(io: AuditIo, directory: string, name: string) {
  for (let attempt = 1; ; attempt++) {
    const tried = attempt === 1 ? name : `${name}-${attempt}`;
    try {
      return { name: tried, copy: await io.open(join(directory, tried), "create") };
    } catch (error) {
      if (errorCode(error) !== "EEXIST" || attempt === 100) throw error;
    }
  }
}

async function findFirstSequence(
  directory: string,
  file: AuditFile,
  size: number,
): Promise<number | undefined> {
  for await (const line of readLines(file, size)) {
    const decoded = decodeLine(line.bytes);
    if (decoded.ok) return decoded.record.sequence;
    throw chainBroken(directory, `the first line of ${currentName} is not a record`);
  }
  return undefined;
}
