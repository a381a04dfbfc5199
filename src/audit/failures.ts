// Failed system calls of the log's files as errors that say what a person can do.
import { PenstockError } from "../base/index.ts";
import { errorCode } from "./io.ts";

/** True if an operation failed for want of space, or of the quota for it. */
export function isNoSpace(error: unknown): boolean {
  const code = errorCode(error);
  return code === "ENOSPC" || code === "EDQUOT";
}

/** `audit-write-failed` for a failed system call; anything else (a bug, an error of ours) is given back as it is. */
export function toWriteFailure(error: unknown, action: string, directory: string): unknown {
  const code = errorCode(error);
  if (code === undefined) return error;
  return new PenstockError({
    code: "audit-write-failed",
    disposition: "transient",
    message: `Cannot ${action} in ${directory}: ${code}`,
    remedy: remedyFor(code, directory),
    data: { directory, errno: code },
    cause: error,
  });
}

/** `audit-chain-broken`: what is on the disk cannot be what a crash leaves. Nothing may be written over it. */
export function chainBroken(directory: string, what: string): PenstockError {
  return new PenstockError({
    code: "audit-chain-broken",
    disposition: "stalled",
    message: `Cannot continue audit log ${directory}: ${what}`,
    remedy:
      'Run "penstock audit verify", keep the directory as evidence, and configure another directory for the log',
    data: { directory },
  });
}

/** `audit-unreadable`: a reader met something that is not a record, or could not read. */
export function unreadable(path: string, what: string, cause?: unknown): PenstockError {
  return new PenstockError({
    code: "audit-unreadable",
    disposition: "stalled",
    message: `Cannot read audit log ${path}: ${what}`,
    remedy: 'Run "penstock audit verify" as a user who may read the directory',
    data: { path },
    cause,
  });
}

function remedyFor(code: string, directory: string): string {
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
      return `Free space on the file system of ${directory}; at least 2 MiB are needed`;
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return `Make ${directory} writable for the agent's user`;
    case "EIO":
      return `Check the disk that holds ${directory} and the kernel's log`;
    default:
      return `Make sure that ${directory} is a directory on a local file system that the agent may write`;
  }
}
