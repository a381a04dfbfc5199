// Work in another network namespace. The namespace belongs to the calling thread, so only synchronous work sees
// it; whatever happens, the thread is back in its own namespace before anything else runs.
import { closeSync, openSync } from "node:fs";
import { kernelError } from "./kernel-error.ts";
import { lastErrno, libc } from "./libc.ts";

const CLONE_NEWNET = 0x4000_0000;
const OWN = "/proc/thread-self/ns/net";

/** Runs `work` in the namespace behind `path` (`/run/netns/name`). Throws `kernel-call-failed`. */
export function inNamespace<T>(path: string, work: () => T): T {
  return comeBack(path, () => enter(path), work);
}

/** Runs `work` in a new namespace that has only a loopback interface and goes when the work is done. */
export function inNewNamespace<T>(work: () => T): T {
  const enterNew = () => {
    if (libc().unshare(CLONE_NEWNET) !== 0) throw enterError("a new network namespace", "unshare");
  };
  return comeBack("a new network namespace", enterNew, work);
}

function comeBack<T>(name: string, enterOther: () => void, work: () => T): T {
  const own = openSync(OWN, "r");
  try {
    enterOther();
    try {
      return work();
    } finally {
      setNamespace(own, `our own namespace from ${name}`);
    }
  } finally {
    closeSync(own);
  }
}

function enter(path: string): void {
  const fd = openSync(path, "r");
  try {
    setNamespace(fd, path);
  } finally {
    closeSync(fd);
  }
}

function setNamespace(fd: number, object: string): void {
  if (libc().setns(fd, CLONE_NEWNET) !== 0) throw enterError(object, "setns");
}

function enterError(object: string, call: string): Error {
  return kernelError({ action: "enter", object, call, errno: lastErrno() });
}
