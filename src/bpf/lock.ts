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
  const fd = lockWhatIsThere(path, openLockFile, () => lockHeld(path));
  try {
    ftruncateSync(fd, 0);
    writeSync(fd, `${process.pid}\n`, 0);
  } catch (cause) {
    closeSync(fd);
    throw cause;
  }
  return holdLock(fd, path, () => ftruncateSync(fd, 0));
}

/**
 * Takes a directory for this process, where no file can be made (bpffs). Throws `already-running` if another process
 * has it, with its pid if the kernel tells.
 */
export function lockDirectory(path: string): FileLock {
  return holdLock(lockWhatIsThere(path, openDirectory, directoryHeld), path);
}

/** Opens and locks; returns the descriptor. Between the two somebody may remove what was opened, and make another. */
function lockWhatIsThere(
  path: string,
  open: (path: string) => number,
  refuse: (fd: number, path: string) => PenstockError,
): number {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const fd = open(path);
    try {
      if (libc().flock(fd, LOCK_EX | LOCK_NB) !== 0) {
        const errno = lastErrno();
        if (errno === ERRNO.EAGAIN) throw refuse(fd, path);
        throw kernelError({ action: "lock", object: path, call: "flock", errno });
      }
      if (isStillAt(fd, path)) return fd;
    } catch (cause) {
      closeSync(fd);
      throw cause;
    }
    closeSync(fd);
  }
  throw lockError(path, "somebody keeps removing it");
}

function holdLock(fd: number, path: string, before?: () => void): FileLock {
  let held = true;
  return {
    path,
    release() {
      if (!held) return;
      held = false;
      before?.();
      closeSync(fd);
    },
  };
}

function openLockFile(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    return openSync(path, "a+", 0o644);
  } catch (cause) {
    throw lockError(path, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function openDirectory(path: string): number {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    throw lockError(path, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function lockHeld(path: string): PenstockError {
  const holder = readHolder(path);
  return new PenstockError({
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

function directoryHeld(fd: number, path: string): PenstockError {
  const holder = findHolder(fd);
  const [who, whom, how] =
    holder === undefined
      ? ["another process", "it", ` (who it is: fuser ${path})`]
      : [`process ${holder}`, `process ${holder}`, ""];
  return new PenstockError({
    code: "already-running",
    disposition: "stalled",
    message: `Cannot take the pins in ${path}: ${who} works with them`,
    remedy: `Stop ${whom}, or give this agent a pinDirectory of its own${how}`,
    data: { path, pid: holder ?? null },
  });
}

/** The process whose lock lies on the opened file, by /proc/locks; undefined if it is not visible from here. */
function findHolder(fd: number): number | undefined {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  // gnu_dev_major() and gnu_dev_minor(): the upper bits of both stand behind the lower ones.
  const major = ((dev >> 32n) & 0xffff_f000n) | ((dev >> 8n) & 0xfffn);
  const minor = ((dev >> 12n) & 0xffff_ff00n) | (dev & 0xffn);
  const hex = (number: bigint) => number.toString(16).padStart(2, "0");
  const place = `${hex(major)}:${hex(minor)}:${ino}`;
  // Lines of those who wait for a lock have an arrow before the kind.
  const holds = /^\d+: FLOCK +\w+ +\w+ +(\d+) (\S+) /gm;
  for (const [, pid, where] of readLocks().matchAll(holds)) if (where === place) return Number(pid);
  return undefined;
}

function readLocks(): string {
  try {
    return readFileSync("/proc/locks", "utf8");
  } catch {
    return "";
  }
}

function readHolder(path: string): number | undefined {
  const pid = Number.parseInt(readFileSync(path, "utf8"), 10);
  return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
}

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
