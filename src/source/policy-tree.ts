// Takes the policy files out of a commit's tree. Names, modes, sizes and shapes in a tree are whatever its
// maker wanted: what could mean another file to another program is refused, and every bound is checked before
// content is read.
import { compareText, type PolicyFile } from "../base/index.ts";
import { cleanText, isPlainText } from "./clean-text.ts";
import type { SourceLimits } from "./config.ts";
import * as errors from "./errors.ts";
import type { ObjectDatabase } from "./objects.ts";
import type { Pace } from "./pace.ts";

export interface PolicyTree {
  /** Full id of the tree at the policy path. */
  readonly tree: string;
  /** Ordered by path. */
  readonly files: readonly PolicyFile[];
}

export interface TreeEntry {
  readonly mode: string;
  readonly name: string;
  readonly oid: string;
}

interface Folder {
  readonly oid: string;
  readonly path: string;
  readonly depth: number;
}

/** Trees name each entry in up to 282 bytes: room for 100,000 in one folder. */
const treeBytesMax = 32 * 1024 * 1024;
const nameBytesMax = 255;
/** Entries that are looked at, for each policy file that is allowed: folders of other files are not free. */
const entriesPerFile = 10;

const folderModes: readonly string[] = ["40000", "040000"];
const fileModes: readonly string[] = ["100644", "100755", "100664"];

/** Reads the policy below `path` ("" is the root) of the tree `root`. */
export async function readPolicyTree(
  objects: ObjectDatabase,
  root: string,
  options: { readonly path: string; readonly limits: SourceLimits; readonly pace: Pace },
): Promise<PolicyTree> {
  const { path, limits, pace } = options;
  const tree = findFolder(objects, root, path);
  const files: PolicyFile[] = [];
  const budget = { entries: limits.filesMax * entriesPerFile, bytes: limits.totalBytesMax };
  const folders: Folder[] = [{ oid: tree, path, depth: 0 }];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const entry of readFolder(objects, folder)) {
      if (pace.due) await pace.breathe();
      if (--budget.entries < 0)
        throw tooMany("entries below the policy path", limits.filesMax * entriesPerFile);
      const entryPath = folder.path === "" ? entry.name : `${folder.path}/${entry.name}`;
      const kind = classify(entry, entryPath);
      if (kind === "folder") {
        const depth = folder.depth + 1;
        if (depth > limits.depthMax) {
          const numbers = { limit: "limits.depthMax", found: depth, allowed: limits.depthMax };
          throw errors.overLimit(`folders as deep as "${cleanText(entryPath)}"`, numbers);
        }
        folders.push({ oid: entry.oid, path: entryPath, depth });
      }
      if (kind !== "policy") continue;
      if (files.length >= limits.filesMax) throw tooMany("policy files", limits.filesMax);
      const content = readFile(objects, { oid: entry.oid, path: entryPath }, { limits, left: budget.bytes });
      budget.bytes -= content.length;
      files.push({ path: entryPath, content });
    }
  }
  return { tree, files: files.sort((a, b) => compareText(a.path, b.path)) };
}

/** Takes a tree object apart: `mode SP name NUL id`, again and again. Names come as they are, unchecked. */
export function parseTree(content: Buffer): TreeEntry[] {
  const entries: TreeEntry[] = [];
  for (let at = 0; at < content.length; ) {
    const space = content.indexOf(0x20, at);
    const nul = content.indexOf(0, at);
    if (space < 0 || nul < space || nul + 21 > content.length) throw errors.corrupt("a tree is damaged");
    const name = content.subarray(space + 1, nul);
    entries.push({
      mode: content.toString("latin1", at, Math.min(space, at + 8)),
      // Names that are no UTF-8 get U+FFFD in place of what is wrong; they are refused where it matters.
      name: name.toString("utf8", 0, nameBytesMax * 4),
      oid: content.toString("hex", nul + 1, nul + 21),
    });
    at = nul + 21;
  }
  return entries;
}

function findFolder(objects: ObjectDatabase, root: string, path: string): string {
  let tree = root;
  const walked: string[] = [];
  for (const part of path === "" ? [] : path.split("/")) {
    const entries = parseTree(objects.readTyped(tree, "tree", treeBytesMax));
    const [entry, second] = entries.filter((e) => e.name === part);
    walked.push(part);
    const here = walked.join("/");
    if (second !== undefined) throw errors.entryRefused(here, "the folder has two entries of this name");
    if (entry === undefined) {
      const folders = entries.filter((e) => folderModes.includes(e.mode)).map((e) => e.name);
      throw errors.policyPathMissing(path, `there is no "${here}"`, folders);
    }
    if (entry.mode === "120000") throw errors.entryRefused(here, "it is a symbolic link");
    if (entry.mode === "160000") throw errors.entryRefused(here, "it is a submodule");
    if (!folderModes.includes(entry.mode)) throw errors.policyPathMissing(path, `"${here}" is a file`, []);
    tree = entry.oid;
  }
  return tree;
}

function readFolder(objects: ObjectDatabase, folder: Folder): TreeEntry[] {
  const entries = parseTree(objects.readTyped(folder.oid, "tree", treeBytesMax));
  const names = new Set<string>();
  for (const { name } of entries) {
    const shown = cleanText(folder.path === "" ? name : `${folder.path}/${name}`, 300);
    const why =
      describeBadName(name) ?? (names.has(name) ? "the folder has two entries of this name" : undefined);
    if (why !== undefined) throw errors.entryRefused(shown, why);
    names.add(name);
  }
  return entries;
}

function describeBadName(name: string): string | undefined {
  if (name === "" || name === "." || name === "..") return `the name "${name}" does not name a file`;
  if (name.includes("/")) return "its name has a slash in it";
  if (!isPlainText(name)) return "its name has control or invisible characters in it";
  if (name.includes("\ufffd")) return "its name is not UTF-8";
  if (Buffer.byteLength(name) > nameBytesMax) return `its name is longer than ${nameBytesMax} bytes`;
  return undefined;
}

function classify(entry: TreeEntry, path: string): "skip" | "folder" | "policy" {
  if (entry.name.startsWith(".")) return "skip";
  if (folderModes.includes(entry.mode)) return "folder";
  if (entry.mode === "120000") throw errors.entryRefused(path, "it is a symbolic link");
  if (entry.mode === "160000") throw errors.entryRefused(path, "it is a submodule");
  if (!fileModes.includes(entry.mode)) throw errors.entryRefused(path, "it is of unknown type");
  return /\.(yaml|yml|json)$/.test(entry.name) ? "policy" : "skip";
}

function readFile(
  objects: ObjectDatabase,
  file: { readonly oid: string; readonly path: string },
  bounds: { readonly limits: SourceLimits; readonly left: number },
): Buffer {
  const { limits, left } = bounds;
  const object = objects.read(file.oid, Math.min(limits.fileBytesMax, left));
  if (object.kind === "too-large") {
    if (object.size > limits.fileBytesMax) {
      const numbers = { limit: "limits.fileBytesMax", found: object.size, allowed: limits.fileBytesMax };
      throw errors.overLimit(`a policy file of so many bytes, "${cleanText(file.path, 300)}"`, numbers);
    }
    const found = limits.totalBytesMax - left + object.size;
    const numbers = { limit: "limits.totalBytesMax", found, allowed: limits.totalBytesMax };
    throw errors.overLimit("policy files of so many bytes together", numbers);
  }
  if (object.type !== "blob") throw errors.entryRefused(file.path, `it is a ${object.type} and not a file`);
  return object.content;
}

function tooMany(what: string, allowed: number) {
  return errors.overLimit(`so many ${what}`, { limit: "limits.filesMax", found: allowed + 1, allowed });
}
