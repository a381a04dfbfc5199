// The few operations on files that the log's writer needs, as a port: tests put a disk behind it that fills up,
// fails or loses power at any operation.
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";

export interface FileFacts {
  readonly size: number;
  /** Bytes that the file system has really set aside. */
  readonly allocated: number;
  readonly inode: number;
  /** Permission bits only. */
  readonly mode: number;
}

export interface AuditFile {
  /** Reads up to `into.length` bytes; 0 at the end. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** One write call; may write less than it was given, as write(2) may. */
  write(bytes: Uint8Array, position: number): Promise<number>;
  truncate(size: number): Promise<void>;
  /** fdatasync: content and size survive a loss of power. */
  sync(): Promise<void>;
  setMode(mode: number): Promise<void>;
  stat(): Promise<FileFacts>;
  close(): Promise<void>;
}

/** `create` fails if the file exists, `replace` empties it; both give it mode 0600. */
export type OpenHow = "read" | "update" | "create" | "replace";

/** Failures are Node's errors with `code` (`ENOSPC`, ...). A file that is a symbolic link is refused. */
export interface AuditIo {
  open(path: string, how: OpenHow): Promise<AuditFile>;
  /** Null if there is nothing. */
  stat(path: string): Promise<FileFacts | null>;
  list(directory: string): Promise<readonly string[]>;
  rename(from: string, to: string): Promise<void>;
  /** Makes a directory with mode 0700, and those above it; nothing if it exists. */
  makeDirectory(directory: string): Promise<void>;
  /** Makes creations and renames in the directory survive a loss of power. */
  syncDirectory(directory: string): Promise<void>;
}

const openFlags: Record<OpenHow, number> = {
  read: constants.O_RDONLY,
  update: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
  replace: constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC,
};

export const diskIo: AuditIo = {
  async open(path, how) {
    return toAuditFile(await open(path, openFlags[how] | constants.O_NOFOLLOW, 0o600));
  },
  async stat(path) {
    try {
      return toFacts(await stat(path));
    } catch (error) {
      if (errorCode(error) === "ENOENT") return null;
      throw error;
    }
  },
  list: (directory) => readdir(directory),
  rename,
  async makeDirectory(directory) {
    const first = await mkdir(directory, { recursive: true, mode: 0o700 });
    if (first !== undefined) await syncPath(dirname(first));
  },
  syncDirectory: syncPath,
};

/** `ENOSPC`, ...; undefined for what is not a failed system call. */
export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error) || !("syscall" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** Writes all of `bytes`. The first call takes everything unless the disk fills up within it. */
export async function writeFully(file: AuditFile, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) done += await file.write(bytes.subarray(done), position + done);
}

/** Reads `length` bytes from `position`, fewer only at the end of the file. */
export async function readFully(file: AuditFile, position: number, length: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const got = await file.read(bytes.subarray(done), position + done);
    if (got === 0) break;
    done += got;
  }
  return bytes.subarray(0, done);
}

function toAuditFile(handle: FileHandle): AuditFile {
  return {
    read: async (into, position) => (await handle.read(into, 0, into.length, position)).bytesRead,
    write: async (bytes, position) => (await handle.write(bytes, 0, bytes.length, position)).bytesWritten,
    truncate: (size) => handle.truncate(size),
    sync: () => handle.datasync(),
    setMode: (mode) => handle.chmod(mode),
    stat: async () => toFacts(await handle.stat()),
    close: () => handle.close(),
  };
}

function toFacts(stats: { size: number; blocks: number; ino: number; mode: number }): FileFacts {
  return { size: stats.size, allocated: stats.blocks * 512, inode: stats.ino, mode: stats.mode & 0o777 };
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
