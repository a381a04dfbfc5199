// The policy's sources, as reconciling wants them: the configured repository, a folder of this machine, or nothing.
import { PenstockError, type Revision } from "../base/index.ts";
import type { SourceConfiguration } from "../policy/index.ts";
import type { Logger, RevisionSource } from "../reconcile/index.ts";
import { openSource, readStoreIdentity, type Source } from "../source/index.ts";
import { readCredentials } from "./credentials.ts";
import { requireSource, type Settings } from "./settings.ts";
import { readWorkingTree } from "./working-tree.ts";

interface RepositoryOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
}

/** Opens a repository; its objects are kept in `stateDirectory`. */
export function openRepository(
  source: SourceConfiguration,
  stateDirectory: string,
  { env, log }: RepositoryOptions,
): Source {
  const credentials = readCredentials(source, env);
  const totalTimeoutMs = source.timeoutSeconds * 1000;
  return openSource({
    url: source.url,
    ref: source.ref,
    path: source.path,
    stateDirectory,
    allowRewrite: source.allowRewrite,
    totalTimeoutMs,
    timeoutMs: Math.min(15_000, totalTimeoutMs),
    ...(credentials === undefined ? {} : { credentials }),
    onEvent: (event) => log.warn({ event }, `The repository's store: ${event.kind}`),
  });
}

/** Opens the configured repository for a command that changes the kernel. */
export function openConfiguredRepository(settings: Settings, options: RepositoryOptions): Source {
  return openRepository(requireSource(settings), settings.stateDirectory, options);
}

/** The same source, whose every operation `signal` cuts short. */
export function withSignal(source: RevisionSource, signal: AbortSignal): RevisionSource {
  return {
    fetch: () => source.fetch(signal),
    poll: () => source.poll(signal),
    revision: (commit) => source.revision(commit, signal),
  };
}

/**
 * Earlier revisions from the copy of the repository on this host, without asking a server. The copy itself says
 * what it is of: opened under another name, it would be emptied for that one.
 */
export function storedRevisions(
  settings: Settings,
  { log }: Pick<RepositoryOptions, "log">,
): RevisionSource & { close(): Promise<void> } {
  const identity = readStoreIdentity(settings.stateDirectory);
  if (identity === undefined) return unknownRevisions();
  const path = (settings.source ?? settings.fileSource)?.path ?? "policies";
  return openSource({
    ...identity,
    path,
    stateDirectory: settings.stateDirectory,
    onEvent: (event) => log.warn({ event }, `The repository's store: ${event.kind}`),
  });
}

/** The files of a folder of this machine, as if they were a revision. */
export function folderRevision(folder: string): Revision {
  const nobody = { name: "", email: "", timestampS: 0 };
  const none = "0".repeat(40);
  return {
    commit: none,
    tree: none,
    ref: folder,
    author: nobody,
    committer: nobody,
    subject: "",
    files: readWorkingTree([folder]).files,
  };
}

function unknownRevisions(): RevisionSource & { close(): Promise<void> } {
  const fail = async () => {
    throw new PenstockError({
      code: "revision-unavailable",
      disposition: "stalled",
      message: "Cannot read the revision in force: this host has no copy of the repository",
      remedy: "Name the agent's configuration with --config, or its state directory with --state-dir",
    });
  };
  return { fetch: fail, poll: fail, revision: fail, close: async () => undefined };
}
