// Commits and tags: taken apart without trust in what they say, and followed to their parents.
import type { Person } from "../base/index.ts";
import { cleanText } from "./clean-text.ts";
import * as errors from "./errors.ts";
import type { ObjectDatabase } from "./objects.ts";
import type { Pace } from "./pace.ts";

/** A commit, as lists of revisions show it. */
export interface RevisionInfo {
  /** Full commit id: 40 hex digits. */
  readonly commit: string;
  readonly parents: readonly string[];
  readonly author: Person;
  readonly committer: Person;
  /** First line of the message, control characters removed, at most 200 characters. */
  readonly subject: string;
}

export interface Commit extends RevisionInfo {
  /** Full id of the root tree. */
  readonly tree: string;
}

/** Commits and tags are text that people write; a longer one is no such thing. */
const textBytesMax = 1024 * 1024;
const tagDepthMax = 10;
/** Objects that may share the digits of an abbreviated id. */
const candidatesMax = 1000;
/** Bounds the memory of a walk. */
const commitsMax = 1_000_000;

export function readCommit(objects: ObjectDatabase, oid: string): Commit {
  return parseCommit(oid, objects.readTyped(oid, "commit", textBytesMax));
}

/** Follows annotated tags to the commit they stand for. */
export function peelToCommit(objects: ObjectDatabase, oid: string, ref: string): string {
  let at = oid;
  for (let depth = 0; depth <= tagDepthMax; depth++) {
    const object = objects.read(at, textBytesMax);
    if (object.kind === "too-large") throw errors.refNotCommit(ref, "large file");
    if (object.type === "commit") return at;
    const target = /^object ([0-9a-f]{40})\n/.exec(object.content.toString("latin1", 0, 64))?.[1];
    if (object.type !== "tag" || target === undefined) throw errors.refNotCommit(ref, object.type);
    at = target;
  }
  throw errors.refNotCommit(ref, "chain of tags");
}

/** The one commit whose id starts with `prefix` (at least 4 digits), if it is here; several are an error. */
export function expandCommit(objects: ObjectDatabase, prefix: string): string | undefined {
  if (prefix.length === 40) return objects.has(prefix) && isCommit(objects, prefix) ? prefix : undefined;
  const commits = objects.startingWith(prefix, candidatesMax).filter((oid) => isCommit(objects, oid));
  if (commits.length > 1) throw errors.revisionAmbiguous(prefix, commits);
  return commits[0];
}

function isCommit(objects: ObjectDatabase, oid: string): boolean {
  const object = objects.read(oid, textBytesMax);
  return object.kind === "object" && object.type === "commit";
}

export function parseCommit(oid: string, content: Buffer): Commit {
  const blank = content.indexOf("\n\n");
  const head = content.toString("utf8", 0, blank < 0 ? content.length : blank).split("\n");
  const tree = /^tree ([0-9a-f]{40})$/.exec(head[0] ?? "")?.[1];
  if (tree === undefined) throw errors.corrupt(`the commit ${oid} names no tree`);
  const parents: string[] = [];
  let line = 1;
  for (; line < head.length; line++) {
    const parent = /^parent ([0-9a-f]{40})$/.exec(head[line] ?? "")?.[1];
    if (parent === undefined) break;
    parents.push(parent);
  }
  const find = (name: string) =>
    head.find((text) => text.startsWith(`${name} `))?.slice(name.length + 1) ?? "";
  const message = blank < 0 ? "" : content.toString("utf8", blank + 2, blank + 2 + 4096).trimStart();
  return {
    commit: oid,
    tree,
    parents,
    author: parsePerson(find("author")),
    committer: parsePerson(find("committer")),
    subject: cleanText(message.split("\n", 1)[0] ?? "").trim(),
  };
}

/** `Name <email> seconds zone`; what does not have this form is taken as a name. */
function parsePerson(text: string): Person {
  const parts = /^([^<]*)<([^>]*)> (-?[0-9]{1,12}) [+-][0-9]{4}$/.exec(text);
  return {
    name: cleanText(parts?.[1] ?? text).trim(),
    email: cleanText(parts?.[2] ?? "").trim(),
    timestampS: Number(parts?.[3] ?? 0),
  };
}

/** Where to look for commits; `cut` are those whose parents are not there (a shallow clone). */
export interface Graph {
  readonly objects: ObjectDatabase;
  readonly cut: ReadonlySet<string>;
  readonly pace: Pace;
}

/** True if `ancestor` is `tip` or one of the commits that it descends from. Nearest first. */
export async function isAncestor(graph: Graph, ancestor: string, tip: string): Promise<boolean> {
  if (ancestor === tip) return true;
  const seen = new Set([tip]);
  // A set keeps the order in which it is added to, also while it is walked.
  for (const oid of seen) {
    if (graph.pace.due) await graph.pace.breathe();
    if (graph.cut.has(oid)) continue;
    for (const parent of readCommit(graph.objects, oid).parents) {
      if (parent === ancestor) return true;
      seen.add(parent);
    }
    if (seen.size > commitsMax) throw tooManyCommits(seen.size);
  }
  return false;
}

/** The newest `max` commits from `tip` back: descendants before ancestors where the clocks agree. */
export async function listHistory(graph: Graph, tip: string, max: number): Promise<RevisionInfo[]> {
  const list: RevisionInfo[] = [];
  const seen = new Set([tip]);
  const frontier = [readCommit(graph.objects, tip)];
  while (list.length < max) {
    if (graph.pace.due) await graph.pace.breathe();
    const next = takeNewest(frontier);
    if (next === undefined) break;
    const { tree: _, ...info } = next;
    list.push(info);
    if (graph.cut.has(next.commit)) continue;
    for (const parent of next.parents) {
      if (seen.has(parent)) continue;
      seen.add(parent);
      frontier.push(readCommit(graph.objects, parent));
    }
  }
  return list;
}

/** The frontier is as wide as there are parallel branches: few. */
function takeNewest(frontier: Commit[]): Commit | undefined {
  let best = 0;
  frontier.forEach((commit, i) => {
    if (commit.committer.timestampS > (frontier[best]?.committer.timestampS ?? 0)) best = i;
  });
  return frontier.splice(best, 1)[0];
}

function tooManyCommits(found: number) {
  return errors.overLimit("a history of so many commits", {
    limit: "commitsMax",
    found,
    allowed: commitsMax,
  });
}
