// Which files make up a log, and the head file. The head says where the chain ends, which the chain itself
// cannot: without it nobody would see that records were cut off.
import { join } from "node:path";
import { canonicalJson, isPlainObject } from "./canonical.ts";
import { type AuditFile, type AuditIo, errorCode, readFully, writeFully } from "./io.ts";
import { type ChainEnd, emptyChain } from "./record.ts";

/** The file that is being written. */
export const currentName = "audit.jsonl";
export const headName = "audit.head";
const headNewName = "audit.head.new";
/** Space set aside for one record: see reserve.ts. */
export const reserveName = "audit.reserve";

/** A file that was rotated away, named after the sequence of its first record. */
export function rotatedName(firstSequence: number): string {
  return `audit-${firstSequence}.jsonl`;
}

/** What is left of a record after a crash: `audit.torn-20260131T235959.123Z`. */
export function tornName(timeMs: number): string {
  return `audit.torn-${new Date(timeMs).toISOString().replace(/[-:]/g, "")}`;
}

export interface RotatedFile {
  readonly name: string;
  readonly firstSequence: number;
}

/** The rotated files among `names`, oldest first. */
export function findRotated(names: readonly string[]): RotatedFile[] {
  const found: RotatedFile[] = [];
  for (const name of names) {
    const digits = /^audit-([1-9][0-9]{0,15})\.jsonl$/.exec(name)?.[1];
    if (digits !== undefined) found.push({ name, firstSequence: Number(digits) });
  }
  return found.sort((a, b) => a.firstSequence - b.firstSequence);
}

/** Names that look like part of the log and are not: they could be mistaken for it. */
export function findMisnamed(names: readonly string[]): string[] {
  const rotated = new Set(findRotated(names).map((file) => file.name));
  return names.filter((name) => /^audit-.*\.jsonl$/s.test(name) && !rotated.has(name)).sort();
}

/** The head as it stands on the disk: `text` is undefined if there is no file, `end` if it says nothing valid. */
export interface HeadState {
  readonly text: string | undefined;
  readonly end: ChainEnd | undefined;
}

export async function readHead(io: AuditIo, directory: string): Promise<HeadState> {
  let file: AuditFile;
  try {
    file = await io.open(join(directory, headName), "read");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return { text: undefined, end: undefined };
    throw error;
  }
  try {
    const text = Buffer.from(await readFully(file, 0, 1024)).toString("latin1");
    return { text, end: parseHead(text) };
  } finally {
    await file.close();
  }
}

/** Replaces the head atomically: after a loss of power there is the old one or the new one. */
export async function writeHead(io: AuditIo, directory: string, end: ChainEnd): Promise<void> {
  const temporary = join(directory, headNewName);
  const file = await io.open(temporary, "replace");
  try {
    await writeFully(file, Buffer.from(formatHead(end), "latin1"), 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await io.rename(temporary, join(directory, headName));
  await io.syncDirectory(directory);
}

function formatHead(end: ChainEnd): string {
  return `${canonicalJson({ sequence: end.sequence, hash: end.hash })}\n`;
}

/** Only exactly what formatHead writes is taken. */
function parseHead(text: string): ChainEnd | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isPlainObject(value)) return undefined;
  const { sequence, hash } = value;
  if (typeof sequence !== "number" || !Number.isSafeInteger(sequence) || sequence < 0) return undefined;
  if (typeof hash !== "string" || !/^[0-9a-f]{64}$/.test(hash)) return undefined;
  if (sequence === 0 && hash !== emptyChain.hash) return undefined;
  return formatHead({ sequence, hash }) === text ? { sequence, hash } : undefined;
}
