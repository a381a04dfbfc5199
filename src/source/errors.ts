// Every error of the source, in one place: codes, dispositions and remedies are an interface that people write
// runbooks and alerts against. No secret and no uncleaned text may be passed in here; network errors carry no
// `cause`, because what a library puts into its errors (headers, bodies) cannot be vouched for.
import { type ErrorFields, PenstockError } from "../base/index.ts";
import { listNames } from "./clean-text.ts";

function stalled(code: string, message: string, remedy: string, data?: ErrorFields["data"]): PenstockError {
  return new PenstockError({ code, disposition: "stalled", message, remedy, ...(data ? { data } : {}) });
}

function transient(code: string, message: string, remedy: string, data?: ErrorFields["data"]): PenstockError {
  return new PenstockError({ code, disposition: "transient", message, remedy, ...(data ? { data } : {}) });
}

/** True for an error of this project with this code. */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof PenstockError && error.code === code;
}

// ---- configuration

export function credentialsInUrl(label: string): PenstockError {
  return stalled(
    "credentials-in-url",
    `Cannot use the source URL for ${label}: it has credentials in it, which would end up in logs and process lists`,
    "Take the user name, password or token out of the URL and give it as the source's credentials, from a file or the environment",
  );
}

export function urlInvalid(why: string): PenstockError {
  return stalled(
    "source-url-invalid",
    `Cannot use the source URL: ${why}`,
    "Write https://host/path/repository.git, file:///absolute/path, or the path of a local repository",
  );
}

export function unsupportedTransport(label: string, transport: string): PenstockError {
  return stalled(
    "unsupported-transport",
    `Cannot read "${listNames([label]).slice(1, -1)}": the transport ${transport} is not supported`,
    "Use the repository's https:// URL with a token, or the path of a local mirror",
    { transport },
  );
}

export function refInvalid(ref: string): PenstockError {
  return stalled(
    "ref-invalid",
    `Cannot follow the ref "${ref}": it is not a valid name of a branch, tag or commit`,
    "Write a branch such as main, a tag such as v1.2, or a commit id",
  );
}

export function policyPathInvalid(path: string, why: string): PenstockError {
  return stalled(
    "policy-path-invalid",
    `Cannot use the policy path "${path}": ${why}`,
    "Write a folder relative to the repository's root, such as policies/production",
  );
}

// ---- reaching the repository

export function unreachable(label: string, state: string, data?: ErrorFields["data"]): PenstockError {
  return transient(
    "source-unreachable",
    `Cannot reach ${label}: ${state}`,
    "Check that the Git server is up and that this host can reach it; it is tried again by itself",
    data,
  );
}

export function serverFailed(label: string, text: string): PenstockError {
  return transient(
    "source-server-error",
    `Cannot fetch from ${label}: the server says "${text}"`,
    "Look for the cause on the Git server; it is tried again by itself",
  );
}

export function unauthorized(label: string, status: number, hasCredentials: boolean): PenstockError {
  return stalled(
    "source-unauthorized",
    `Cannot read ${label}: the server refuses access (HTTP ${status})`,
    hasCredentials
      ? "Check that the configured credentials are valid, not expired, and may read this repository"
      : "Configure credentials (a token with read access) for this repository",
    { status },
  );
}

export function permissionDenied(label: string): PenstockError {
  return stalled(
    "source-unauthorized",
    `Cannot read ${label}: permission denied`,
    "Let the user that Penstock runs as read the repository",
  );
}

export function notFound(label: string, state: string): PenstockError {
  return stalled(
    "source-not-found",
    `Cannot find a repository at ${label}: ${state}`,
    "Check the URL; many Git hosts answer the same for a private repository that the credentials may not read",
  );
}

export function refused(label: string, status: number): PenstockError {
  return stalled(
    "source-refused",
    `Cannot read ${label}: the server answers HTTP ${status}`,
    "Check the URL and what stands between this host and the Git server",
    { status },
  );
}

export function notGit(label: string, state: string): PenstockError {
  return stalled(
    "source-not-git",
    `Cannot read ${label}: ${state}`,
    "Use the URL that git clone takes over https, served by a smart HTTP Git server",
  );
}

export function redirected(label: string, to: string): PenstockError {
  return stalled(
    "source-redirected",
    `Cannot follow the redirect from ${label} to ${to}`,
    "If that is where the repository is now, configure that URL",
  );
}

export function tlsRefused(label: string, why: string, kind: "untrusted" | "expired"): PenstockError {
  const message = `Cannot trust the TLS certificate of ${label}: ${why}`;
  return kind === "expired"
    ? transient("source-tls", message, "Renew the server's certificate, or set this host's clock right")
    : stalled(
        "source-tls",
        message,
        "Have the server present a certificate for this name from an authority that this host trusts; name a private authority's certificate in NODE_EXTRA_CA_CERTS",
      );
}

export function cancelled(): PenstockError {
  return transient("source-cancelled", "Cannot finish reading the source: it was cancelled", "Try again");
}

export function closed(): PenstockError {
  return new PenstockError({
    code: "source-closed",
    disposition: "bug",
    message: "Cannot use the source: it was closed",
  });
}

// ---- what the repository holds

/** `limit` is the configuration's field, `found` and `allowed` are in its unit. */
export function overLimit(
  what: string,
  numbers: { limit: string; found: number; allowed: number },
): PenstockError {
  return stalled(
    "source-limit",
    `Cannot take ${what}: ${numbers.found} is more than ${numbers.allowed} (${numbers.limit})`,
    `Make it smaller, or raise ${numbers.limit} if this is meant`,
    { limit: numbers.limit, found: numbers.found, allowed: numbers.allowed },
  );
}

export function repositoryEmpty(label: string): PenstockError {
  return stalled("repository-empty", `Cannot read ${label}: it has no commits`, "Push a first commit");
}

export function refNotFound(ref: string, label: string, branches: readonly string[]): PenstockError {
  const exist = branches.length === 0 ? "it has no branches" : `its branches are ${listNames(branches)}`;
  return stalled(
    "ref-not-found",
    `Cannot find the ref "${ref}" in ${label}: ${exist}`,
    "Configure a branch, tag or commit that exists, or push it",
    { ref, branches: branches.slice(0, 10) },
  );
}

export function refAmbiguous(ref: string, names: readonly string[]): PenstockError {
  return stalled(
    "ref-ambiguous",
    `Cannot follow the ref "${ref}": it can mean ${listNames(names)}`,
    "Write the one that is meant in full: refs/heads/<branch>, refs/tags/<tag>, or all 40 digits of a commit",
    { ref, names },
  );
}

export function refNotCommit(ref: string, type: string): PenstockError {
  return stalled(
    "ref-not-commit",
    `Cannot follow the ref "${ref}": it names a ${type}, not a commit`,
    "Configure a branch, or a tag of a commit",
  );
}

export function historyRewritten(ref: string, known: string, found: string): PenstockError {
  return stalled(
    "history-rewritten",
    `Cannot follow the ref "${ref}": its history was rewritten, ${found} does not descend from ${known}, the last commit that was read`,
    "Find out who rewrote it; push a commit that descends from the known one, or set allowRewrite to accept the new history",
    { ref, known, found },
  );
}

export function policyPathMissing(path: string, state: string, folders: readonly string[]): PenstockError {
  const there = folders.length === 0 ? "" : `; folders there: ${listNames(folders)}`;
  return stalled(
    "policy-path-missing",
    `Cannot find the policy path "${path}" in the repository: ${state}${there}`,
    "Configure the folder that holds the policy files, or commit it",
    { path, folders: folders.slice(0, 10) },
  );
}

export function entryRefused(path: string, why: string): PenstockError {
  return stalled(
    "source-entry-refused",
    `Cannot take "${path}" from the repository: ${why}`,
    "Remove it from the policy folder, or replace it with a plain file of a plain name",
    { path },
  );
}

export function unsupportedRepository(label: string, why: string): PenstockError {
  return stalled(
    "unsupported-repository",
    `Cannot read ${label}: ${why}`,
    "Use a repository with SHA-1 object ids and the files ref format, or read it over https",
  );
}

/** Objects are missing or damaged. In our own store this leads to one rebuild; see source.ts. */
export function corrupt(state: string): PenstockError {
  return stalled(
    "source-corrupt",
    `Cannot read the repository: ${state}`,
    "Run git fsck on the server's repository; the local store was already fetched anew if it was the cause",
  );
}

/** What the server sent is no sound pack. `cause` is one of ours. */
export function packInvalid(cause: unknown): PenstockError {
  const state = cause instanceof PenstockError ? cause.message.replace(/^[^:]*: /, "") : "unknown";
  return transient(
    "source-pack-invalid",
    `Cannot take what the server sent: ${state}`,
    "Run git fsck on the server's repository, and look at what stands between it and this host; it is tried again by itself",
  );
}

// ---- earlier revisions

export function revisionNotFound(commit: string): PenstockError {
  return stalled(
    "revision-not-found",
    `Cannot find the commit "${commit}": it is not among the commits that were fetched`,
    "List the known revisions with the history, or fetch first",
  );
}

export function revisionAmbiguous(commit: string, matches: readonly string[]): PenstockError {
  return stalled(
    "revision-ambiguous",
    `Cannot tell which commit "${commit}" means: it fits ${listNames(matches)}`,
    "Write more digits",
  );
}

export function revisionForeign(commit: string, ref: string): PenstockError {
  return stalled(
    "revision-foreign",
    `Cannot use the commit ${commit}: it is not in the history of the ref "${ref}"`,
    "Choose a commit of that history",
  );
}

// ---- our own store

export function storeFailed(directory: string, error: unknown): PenstockError {
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
  const lasting = code === "EACCES" || code === "EPERM" || code === "EROFS" || code === "ENOTDIR";
  return new PenstockError({
    code: "store-failed",
    disposition: lasting ? "stalled" : "transient",
    message: `Cannot use the object store ${directory}: ${code}`,
    remedy:
      "Make the state directory writable for the user that Penstock runs as, with room for the repository",
    data: { errno: code },
    cause: error,
  });
}

export function storeForeign(directory: string): PenstockError {
  return stalled(
    "store-foreign",
    `Cannot use ${directory} as object store: there is something else in it`,
    "Configure another state directory, or move away what is there",
  );
}
