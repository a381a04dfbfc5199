// Policy files of the working tree, for commands that need no Git: the same files that the agent would take from a
// commit of it, and findings for what the agent would refuse.
import { type Dirent, lstatSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { compareText, type Diagnostic, PenstockError, type PolicyFile } from "../base/index.ts";
import { defaultLimits } from "../source/index.ts";

export interface WorkingTree {
  /** Ordered by path. */
  readonly files: readonly PolicyFile[];
  readonly findings: readonly Diagnostic[];
}

interface Collected {
  readonly files: Map<string, PolicyFile>;
  readonly findings: Diagnostic[];
  bytes: number;
}

/** Reads files and folders. Throws `path-unreadable`, and `too-many-files` beyond what a source may hold. */
export function readWorkingTree(paths: readonly string[]): WorkingTree {
  const collected: Collected = { files: new Map(), findings: [], bytes: 0 };
  for (const path of paths) {
    try {
      const name = nameOf(path);
      if (statSync(path).isDirectory()) walk(collected, { path, name, depth: 0 });
      else addFile(collected, path, name);
    } catch (cause) {
      if (cause instanceof PenstockError) throw cause;
      throw unreadable(path, cause);
    }
  }
  return {
    files: [...collected.files.values()].sort((a, b) => compareText(a.path, b.path)),
    findings: collected.findings,
  };
}

/** How a path is called in findings: as short as it goes, but never so that a part of it looks hidden. */
function nameOf(path: string): string {
  const hidden = /(^|\/)\./;
  const absolute = resolve(path);
  const inside = relative(process.cwd(), absolute);
  if (inside === "") return "";
  if (!hidden.test(inside)) return inside;
  return hidden.test(absolute) ? (absolute.split("/").at(-1) ?? "").replace(/^\./, "") : absolute;
}

interface Folder {
  readonly path: string;
  readonly name: string;
  readonly depth: number;
}

function walk(collected: Collected, folder: Folder): void {
  const entries = readdirSync(folder.path, { withFileTypes: true }).sort((a, b) =>
    compareText(a.name, b.name),
  );
  for (const entry of entries) {
    if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
    const path = join(folder.path, entry.name);
    const name = folder.name === "" ? entry.name : `${folder.name}/${entry.name}`;
    if (entry.isDirectory()) {
      if (folder.depth >= defaultLimits.depthMax) refuse(collected, name, "the folders are nested too deep");
      else walk(collected, { path, name, depth: folder.depth + 1 });
    } else if (entry.isFile()) addFile(collected, path, name);
    else if (mayBePolicy(entry)) refuse(collected, name, "it is no plain file, which the agent refuses");
  }
}

function mayBePolicy(entry: Dirent): boolean {
  return entry.isSymbolicLink() || /\.(ya?ml|json)$/.test(entry.name);
}

function refuse(collected: Collected, file: string, state: string): void {
  const message = `Cannot take this: ${state}; put a plain file in its place`;
  collected.findings.push({ file, line: 1, column: 1, severity: "error", code: "not-a-file", message });
}

function addFile(collected: Collected, path: string, name: string): void {
  const { filesMax, totalBytesMax } = defaultLimits;
  collected.bytes += lstatSync(path).size;
  if (collected.files.size >= filesMax || collected.bytes > totalBytesMax) {
    throw new PenstockError({
      code: "too-many-files",
      disposition: "stalled",
      message: `Cannot read ${path}: there are more than ${filesMax} files or ${totalBytesMax} bytes`,
      remedy: "Name the folder that holds the policy",
    });
  }
  collected.files.set(name, { path: name, content: readFileSync(path) });
}

function unreadable(path: string, cause: unknown): PenstockError {
  const state = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
  return new PenstockError({
    code: "path-unreadable",
    disposition: "stalled",
    message: `Cannot read ${path}: ${state === "ENOENT" ? "there is no such file or folder" : state}`,
    remedy: "Name files or folders that hold policy",
    data: { path },
    cause,
  });
}
