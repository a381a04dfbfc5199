// One commit of the policy repository, as the stages after the source see it: identity and bytes, no Git.

export interface Person {
  readonly name: string;
  readonly email: string;
  /** Seconds since the epoch, as the commit states it (not to be trusted as a clock). */
  readonly timestampS: number;
}

/** A file below the policy path; `path` is relative to the repository's root and uses `/`. */
export interface PolicyFile {
  readonly path: string;
  readonly content: Uint8Array;
}

export interface Revision {
  /** Full commit id: 40 hex digits. */
  readonly commit: string;
  /** The configured branch, tag or commit, as the user wrote it. */
  readonly ref: string;
  /** Full id of the tree at the policy path: equal trees hold equal policy. */
  readonly tree: string;
  readonly author: Person;
  readonly committer: Person;
  /** First line of the commit's message, control characters removed, at most 200 characters. */
  readonly subject: string;
  /** Ordered by path. */
  readonly files: readonly PolicyFile[];
}

/** `main@sha1:0123456789ab`: the way in which people name a revision. */
export function formatRevision(revision: { readonly ref: string; readonly commit: string }): string {
  return `${revision.ref}@sha1:${revision.commit.slice(0, 12)}`;
}
