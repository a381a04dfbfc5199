// Names in bpffs that keep maps, programs and links alive without a process. A pin is made under a temporary
// name and renamed into place, so that a path always leads to a whole, current object.
import { mkdirSync, readdirSync, readlinkSync, renameSync, rmdirSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { PenstockError } from "../base/index.ts";
import { type Descriptor, ownDescriptor } from "./descriptor.ts";
import { ERRNO } from "./errno.ts";
import { checkResult } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";

export type PinKind = "map" | "program" | "link";

export interface Pin {
  readonly kind: PinKind;
  readonly name: string;
  readonly path: string;
}

const TEMPORARY = "~";
const DEPTH_MAX = 8;
const KINDS: Readonly<Record<string, PinKind>> = {
  "anon_inode:bpf-map": "map",
  "anon_inode:bpf-prog": "program",
  "anon_inode:bpf_link": "link",
  "anon_inode:bpf-link": "link",
};

/**
 * Pins the object behind `fd` at `path`, replacing a pin that is there; directories are made as needed.
 * Throws `kernel-call-failed`, or `bad-pin` for a name that bpffs does not take.
 */
export function pinObject(fd: number, object: string, path: string): void {
  const name = path.slice(dirname(path).length + 1);
  if (name.includes(".") || name.startsWith(TEMPORARY))
    throw badPin(path, `"${name}" cannot be a pin's name`);
  const temporary = join(dirname(path), `${TEMPORARY}${name}`);
  makeDirectory(dirname(path));
  removeFile(temporary);
  checkResult(libbpf().bpf_obj_pin(fd, temporary), {
    action: "pin",
    object: `${object} at ${path}`,
    call: "bpf_obj_pin",
    remedy: "Check that the directory is on bpffs: mount -t bpf bpf /sys/fs/bpf",
  });
  try {
    renameSync(temporary, path);
  } catch (cause) {
    removeFile(temporary);
    throw badPin(path, `the pin could not be renamed into place`, cause);
  }
}

/** Opens what is pinned at `path`, or undefined if nothing is. */
export function openPin(path: string, object: string): Descriptor | undefined {
  const result = libbpf().bpf_obj_get(path);
  if (result === -ERRNO.ENOENT) return undefined;
  const call = "bpf_obj_get";
  return ownDescriptor(
    checkResult(result, { action: "open the pin of", object: `${object} at ${path}`, call }),
    object,
  );
}

/**
 * Removes one pin; false if there was none. The object lives on while anything else holds it; if nothing does, the
 * kernel takes a link's program from its hook a moment later (BpfLink.detach does so before it returns).
 */
export function unpin(path: string): boolean {
  return removeFile(path);
}

/**
 * Renames into place what an interrupted pin left below `directory`. Whatever it is, it is whole, and what it stands
 * for is in the kernel already: a link under its temporary name judges packets, and nobody would find it.
 */
export function finishPins(directory: string): void {
  walk(directory, 0, (path, name) => {
    if (name.startsWith(TEMPORARY)) renameSync(path, join(dirname(path), name.slice(TEMPORARY.length)));
  });
}

/** All pins below `directory`, ordered by path; leftovers of an interrupted pin are not listed. */
export function listPins(directory: string): Pin[] {
  const pins: Pin[] = [];
  walk(directory, 0, (path, name) => {
    const kind = name.startsWith(TEMPORARY) ? undefined : kindOfPin(path);
    if (kind !== undefined) pins.push({ kind, name, path });
  });
  return pins.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Removes every pin below `directory`, leftovers too, and the directories; returns how many pins there were. */
export function unpinAll(directory: string): number {
  let removed = 0;
  walk(directory, 0, (path) => {
    if (removeFile(path)) removed++;
  });
  removeDirectories(directory);
  return removed;
}

function kindOfPin(path: string): PinKind | undefined {
  const pin = openPin(path, "pinned object");
  if (pin === undefined) return undefined;
  try {
    return KINDS[readlinkSync(`/proc/self/fd/${pin.fd}`)];
  } finally {
    pin.close();
  }
}

function walk(directory: string, depth: number, visit: (path: string, name: string) => void): void {
  if (depth > DEPTH_MAX) throw badPin(directory, `it is nested deeper than ${DEPTH_MAX} directories`);
  for (const entry of readDirectory(directory)) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) walk(path, depth + 1, visit);
    else visit(path, entry.name);
  }
}

function readDirectory(directory: string) {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (cause) {
    if (isMissing(cause)) return [];
    throw badPin(directory, "the directory cannot be read", cause);
  }
}

function removeDirectories(directory: string): void {
  for (const entry of readDirectory(directory)) {
    if (entry.isDirectory()) removeDirectories(join(directory, entry.name));
  }
  try {
    rmdirSync(directory);
  } catch (cause) {
    if (!isMissing(cause)) throw badPin(directory, "the directory cannot be removed", cause);
  }
}

function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw badPin(directory, "the directory cannot be made", cause);
  }
}

function removeFile(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (cause) {
    if (isMissing(cause)) return false;
    throw badPin(path, "it cannot be removed", cause);
  }
}

function isMissing(thrown: unknown): boolean {
  return thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT";
}

function badPin(path: string, state: string, cause?: unknown): PenstockError {
  const reason = cause instanceof Error ? ` (${cause.message})` : "";
  return new PenstockError({
    code: "bad-pin",
    disposition: "stalled",
    message: `Cannot manage pin ${path}: ${state}${reason}`,
    remedy: "Check that the directory is on bpffs (mount -t bpf bpf /sys/fs/bpf) and belongs to Penstock",
    data: { path },
    cause,
  });
}
