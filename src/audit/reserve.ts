// Space for one record, set aside before a commit, so that the record of the commit can be written though the
// disk fills up in between.
//
// The reserve is a file of the log's directory, as long as the longest record and filled with random bytes, so
// that no file system stores it in less. When an append finds the disk full, the record is written *in place*
// into the reserve, which is then cut to the record's length and renamed to be the current file (the one before
// is rotated away). Freeing the reserve and appending again would be simpler, but whoever filled the disk is
// usually still writing, and would take the space first. Node has no fallocate, and padding the log itself would
// trip everything that follows the file. File systems that never write in place (btrfs, ZFS) keep a reserve of
// their own for such moments; on them this is a best effort.
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { bug } from "../base/index.ts";
import { type AuditFile, type AuditIo, errorCode, writeFully } from "./io.ts";
import { reserveName } from "./layout.ts";
import { recordBytesMax } from "./record.ts";

const blockBytes = 4096;

/**
 * Makes sure that the reserve is whole. If it is, one block of it is written and synced all the same: only a
 * real write tells that the file system has not become read-only and the disk still answers.
 */
export async function fillReserve(io: AuditIo, directory: string): Promise<void> {
  const path = join(directory, reserveName);
  const { file, created } = await openOrCreate(io, path);
  try {
    const facts = await file.stat();
    if (facts.size === recordBytesMax && facts.allocated >= recordBytesMax) {
      await writeFully(file, randomBytes(blockBytes), 0);
      await file.sync();
    } else {
      await fill(file);
    }
  } finally {
    await file.close();
  }
  if (created) await io.syncDirectory(directory);
}

/**
 * Writes `line` into the reserve without needing space, and gives the file back, open and synced, its content
 * being the line alone. The caller renames it. Null if there is no whole reserve.
 */
export async function spendReserve(
  io: AuditIo,
  directory: string,
  line: Uint8Array,
): Promise<AuditFile | null> {
  if (line.length > recordBytesMax) throw bug("Cannot use the audit reserve: the record is too long");
  let file: AuditFile;
  try {
    file = await io.open(join(directory, reserveName), "update");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return null;
    throw error;
  }
  try {
    if ((await file.stat()).size === recordBytesMax) {
      await writeFully(file, line, 0);
      await file.truncate(line.length);
      await file.sync();
      return file;
    }
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  return null;
}

async function fill(file: AuditFile): Promise<void> {
  try {
    await file.truncate(0);
    await writeFully(file, randomBytes(recordBytesMax), 0);
    await file.sync();
  } catch (error) {
    // Half a reserve is of no use, and on a full disk it would only be in the way.
    await file.truncate(0).catch(() => undefined);
    throw error;
  }
}

async function openOrCreate(io: AuditIo, path: string): Promise<{ file: AuditFile; created: boolean }> {
  try {
    return { file: await io.open(path, "update"), created: false };
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    return { file: await io.open(path, "create"), created: true };
  }
}
