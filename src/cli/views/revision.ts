// A revision as commands show it: identity without files.
import { formatRevision, type Revision } from "../../base/index.ts";
import type { Style } from "../style.ts";
import { plain } from "../text.ts";

export interface RevisionView {
  /** `main@sha1:0123456789ab`; a folder of this machine has a commit of zeros, and its own name here. */
  readonly name: string;
  readonly commit: string;
  readonly ref: string;
  readonly subject: string;
  readonly author: string;
}

export function viewRevision(revision: Omit<Revision, "files">): RevisionView {
  const { commit, ref, subject, author } = revision;
  const name = /^0+$/.test(commit) ? `${ref} (working tree)` : formatRevision(revision);
  return { name, commit, ref, subject, author: author.name };
}

/** `main@sha1:0123456789ab "Let the office in" by Ada Author` */
export function renderRevision(revision: RevisionView, style: Style): string {
  const subject = revision.subject === "" ? "" : ` "${plain(revision.subject)}"`;
  const author = revision.author === "" ? "" : style.dim(` by ${plain(revision.author)}`);
  return `${style.bold(plain(revision.name))}${subject}${author}`;
}
