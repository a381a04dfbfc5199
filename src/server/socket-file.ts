// The socket's file: who may connect is decided by its mode, so it never exists with another one.
import { lstatSync, unlinkSync } from "node:fs";
import { PenstockError } from "../base/index.ts";

/** sun_path holds 108 bytes, the last of which is zero. A longer path would be cut, and lead elsewhere. */
const pathBytesMax = 107;

export function isSocketPath(path: string): boolean {
  return Buffer.byteLength(path) <= pathBytesMax;
}

/** Throws `socket-unusable` for a path that cannot be a socket's. */
export function checkSocketPath(path: string): void {
  if (isSocketPath(path)) return;
  const bytes = Buffer.byteLength(path);
  throw socketUnusable(path, `its path has ${bytes} bytes, and the kernel takes ${pathBytesMax}`, {
    remedy: "Configure a shorter runDirectory",
  });
}

/** Removes what a dead agent left; whoever calls this holds the agent's lock. Anything but a socket stays. */
export function removeStaleSocket(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw socketUnusable(path, "something else has this name", { remedy: `Move it away: ls -l ${path}` });
  }
  unlinkSync(path);
}

export function socketUnusable(
  path: string,
  state: string,
  more: { readonly remedy: string; readonly cause?: unknown },
): PenstockError {
  return new PenstockError({
    code: "socket-unusable",
    disposition: "stalled",
    message: `Cannot listen on ${path}: ${state}`,
    remedy: more.remedy,
    data: { path },
    cause: more.cause,
  });
}
