// Reads records newest first, without opening the log for writing: while the agent appends and rotates, and as
// far back as asked. Each record's own hash is checked; whether the chain holds is the verifier's business.
import { join } from "node:path";
import { decodeLine } from "./decode.ts";
import { unreadable } from "./failures.ts";
import { type AuditFile, type AuditIo, diskIo, errorCode } from "./io.ts";
import { currentName, findRotated } from "./layout.ts";
import { readLinesBackward } from "./lines.ts";
import type { AuditRecord } from "./record.ts";

export interface ReadOptions {
  /** How many records at most; all if absent. */
  readonly limit?: number;
  /** The sequence to begin with, going down; the newest if absent. */
  readonly from?: number;
}

/**
 * The records of a log, newest first, read as they are asked for. A record that is being written is left out.
 * Throws `audit-unreadable` where a line is not a record.
 */
export function readAuditRecords(directory: string, options: ReadOptions = {}): AsyncGenerator<AuditRecord> {
  return readRecords(diskIo, directory, options);
}

export async function* readRecords(
  io: AuditIo,
  directory: string,
  options: ReadOptions,
): AsyncGenerator<AuditRecord> {
  const { limit = Number.POSITIVE_INFINITY, from = Number.POSITIVE_INFINITY } = options;
  let left = limit;
  if (left <= 0) return;
  let lowest = Number.POSITIVE_INFINITY;
  // The current file is opened before the others are listed: if it is rotated away meanwhile, it is met again
  // under its new name, with a first sequence that has been read already.
  for await (const path of pathsNewestFirst(io, directory, () => Math.min(lowest - 1, from))) {
    for await (const record of readFileBackward(io, path)) {
      if (record.sequence >= lowest) continue;
      lowest = record.sequence;
      if (record.sequence > from) continue;
      yield record;
      if (--left <= 0) return;
    }
  }
}

async function* pathsNewestFirst(
  io: AuditIo,
  directory: string,
  wanted: () => number,
): AsyncGenerator<string> {
  yield join(directory, currentName);
  let names: readonly string[];
  try {
    names = await io.list(directory);
  } catch (error) {
    throw unreadable(directory, errorCode(error) ?? "the directory cannot be listed", error);
  }
  for (const { name, firstSequence } of findRotated(names).reverse()) {
    if (firstSequence <= wanted()) yield join(directory, name);
  }
}

async function* readFileBackward(io: AuditIo, path: string): AsyncGenerator<AuditRecord> {
  let file: AuditFile;
  try {
    file = await io.open(path, "read");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return;
    throw unreadable(path, errorCode(error) ?? "it cannot be opened", error);
  }
  try {
    const { size } = await file.stat();
    for await (const line of readLinesBackward(file, size)) {
      if (!line.terminated) continue;
      const decoded = decodeLine(line.bytes);
      if (decoded.ok) yield decoded.record;
      else
        throw unreadable(path, `${decoded.fault.kind} at byte ${line.start}, found ${decoded.fault.found}`);
    }
  } finally {
    await file.close();
  }
}
