// One agent a host: an exclusive lock on a file, which the kernel drops with the process however it ends. The file
// stays; removing it would let two processes hold locks on two files of one name.
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { PenstockError } from "../base/index.ts";
import { ERRNO } from "./errno.ts";
import { kernelError } from "./kernel-error.ts";
import { lastErrno, libc } from "./libc.ts";

export interface FileLock {
  readonly path: string;
  /** Drops the lock; later calls do nothing. */
  release(): void;
}

const LOCK_EX = 2;
const LOCK_NB = 4;
const ATTEMPTS_MAX = 8;

/** Takes the lock and writes our pid into the file. Throws `already-running` with the holder's pid, at once. */
export function acquireLock(path: string): FileLock {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const fd = openLockFile(path);
    try {
      takeLock(fd, path);
      if (!isStillAt(fd, path)) {
        closeSync(fd);
        continue;
      }
      ftruncateSync(fd, 0);
      writeSync(fd, `${process.pid}\n`, 0);
    } catch (cause) {
      closeSync(fd);
      throw cause;
    }
    return holdLock(fd, path);
  }
  throw lockError(path, "somebody keeps removing it");
}

function holdLock(fd: number, path: string): FileLock {
  let held = true;
  return {
    path,
    release() {
      if (!held) return;
      held = false;
      ftruncateSync(fd, 0);
      closeSync(fd);
    },
  };
}

/**
 * Takes a directory for this process, where no file can be made (bpffs). Throws `already-running`, without a pid, if
 * another process has it.
 */
export function lockDirectory(path: string): FileLock {
  let fd: number;
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    throw lockError(path, cause instanceof Error ? cause.message : String(cause), cause);
  }
  if (libc().flock(fd, LOCK_EX | LOCK_NB) === 0) {
    let held = true;
    const release = () => {
      if (held) closeSync(fd);
      held = false;
    };
    return { path, release };
  }
  const errno = lastErrno();
  closeSync(fd);
  if (errno !== ERRNO.EAGAIN)
    throw kernelError({ action: "lock", object: `directory ${path}`, call: "flock", errno });
  throw new PenstockError({
    code: "already-running",
    disposition: "stalled",
    message: `Cannot take the pins in ${path}: another process works with them`,
    remedy: `Stop it, or give this agent a pinDirectory of its own (who it is: fuser ${path})`,
    data: { path },
  });
}

function openLockFile(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    return openSync(path, "a+", 0o644);
  } catch (cause) {
    throw lockError(path, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function takeLock(fd: number, path: string): void {
  if (libc().flock(fd, LOCK_EX | LOCK_NB) === 0) return;
  const errno = lastErrno();
  if (errno !== ERRNO.EAGAIN)
    throw kernelError({ action: "lock", object: `file ${path}`, call: "flock", errno });
  const holder = readHolder(path);
  throw new PenstockError({
    code: "already-running",
    disposition: "stalled",
    message: `Cannot take the lock ${path}: process ${holder ?? "unknown"} holds it`,
    remedy:
      holder === undefined
        ? `Find the holder: fuser ${path}`
        : `Stop process ${holder}, or let it do the work`,
    data: { path, pid: holder ?? null },
  });
}

function readHolder(path: string): number | undefined {
  const pid = Number.parseInt(readFileSync(path, "utf8"), 10);
  return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
}

// Between opening and locking the file may have been removed, and another process may hold a new one.
function isStillAt(fd: number, path: string): boolean {
  const now = statSync(path, { throwIfNoEntry: false });
  const ours = fstatSync(fd);
  return now !== undefined && now.ino === ours.ino && now.dev === ours.dev;
}

function lockError(path: string, state: string, cause?: unknown): PenstockError {
  return new PenstockError({
    code: "lock-unusable",
    disposition: "stalled",
    message: `Cannot take the lock ${path}: ${state}`,
    remedy: "Check that the directory exists, is writable and is cleaned by nobody",
    data: { path },
    cause,
  });
}
