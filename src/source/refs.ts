// What a configured ref means among the refs that a repository has. Strict where Git is lenient: a name that
// can mean two things is refused, as whoever may create the second one could take over what is followed.
import * as errors from "./errors.ts";

/** A ref of the repository. `oid` may be an annotated tag; `peeled` is then what it finally points at, if known. */
export interface Ref {
  readonly name: string;
  readonly oid: string;
  readonly peeled?: string;
}

/** Where refs can be looked up: a server, or a local repository. */
export interface RefDirectory {
  /** Those of the given full names that exist. */
  lookup(names: readonly string[], signal: AbortSignal): Promise<Ref[]>;
  /** All branches and tags. */
  all(signal: AbortSignal): Promise<Ref[]>;
}

export type ResolvedRef =
  | { readonly kind: "ref"; readonly ref: Ref }
  /** A commit id, whole or abbreviated, that no server can be asked for by name. */
  | { readonly kind: "commit"; readonly prefix: string };

/** True for the form of a commit id, whole (40 digits) or abbreviated (at least 7). */
export function looksLikeCommit(ref: string): boolean {
  return /^[0-9a-f]{7,40}$/.test(ref);
}

/** Finds what `ref` means; throws ref-not-found, ref-ambiguous, or repository-empty. */
export async function resolveRef(
  directory: RefDirectory,
  ref: string,
  context: { readonly label: string; readonly signal: AbortSignal },
): Promise<ResolvedRef> {
  // A whole commit id is never taken for a branch name: it says exactly what is meant.
  if (/^[0-9a-f]{40}$/.test(ref)) return { kind: "commit", prefix: ref };
  const whole = ref === "HEAD" || ref.startsWith("refs/");
  const names = whole ? [ref] : [`refs/heads/${ref}`, `refs/tags/${ref}`];
  const found = await directory.lookup(names, context.signal);
  const [first, second] = found;
  if (first !== undefined && (second !== undefined || looksLikeCommit(ref))) {
    const meanings = found.map((r) => r.name);
    throw errors.refAmbiguous(ref, second === undefined ? [...meanings, `commit ${ref}`] : meanings);
  }
  if (first !== undefined) return { kind: "ref", ref: first };
  if (looksLikeCommit(ref)) return { kind: "commit", prefix: ref };
  const all = await directory.all(context.signal);
  if (all.length === 0) throw errors.repositoryEmpty(context.label);
  throw errors.refNotFound(ref, context.label, branchNames(all));
}

export function branchNames(refs: readonly Ref[]): string[] {
  return refs.flatMap((r) => (r.name.startsWith("refs/heads/") ? [r.name.slice("refs/heads/".length)] : []));
}
