// The composition root: fills reconciling's ports with the real kernel, repository and audit log. For work, under
// the agent's lock; for looking, without any lock and without changing anything.
import { type AuditLog, openAuditLog } from "../audit/index.ts";
import { systemClock } from "../base/index.ts";
import { acquireLock, type FileLock, type KernelDatapath } from "../bpf/index.ts";
import { idRangesFor } from "../compile/index.ts";
import { kinds } from "../kinds/index.ts";
import {
  type AttemptLog,
  type Datapath,
  type Logger,
  Reconciler,
  type RevisionSource,
} from "../reconcile/index.ts";
import type { Source } from "../source/index.ts";
import { attemptLog, auditDirectory, readOnlyAttempts } from "./compose-audit.ts";
import { openInstalledDatapath, openWorkingDatapath, type PinnedDatapath } from "./compose-datapath.ts";
import { openConfiguredRepository, storedRevisions, withSignal } from "./compose-source.ts";
import { readGeoFile, stampOfGeoFile } from "./geo-file.ts";
import { version } from "./places.ts";
import { prepareElsewhere } from "./prepare-elsewhere.ts";
import { requireSource, type Settings } from "./settings.ts";

export interface ComposeOptions {
  readonly settings: Settings;
  readonly log: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Cuts short what the repository is being asked, and the preparing of a large policy. */
  readonly signal?: AbortSignal;
}

/** All parts of an agent, open. */
export interface Parts {
  readonly settings: Settings;
  readonly datapath: KernelDatapath;
  readonly reconciler: Reconciler;
  readonly audit: AuditLog;
  /** Lets go of everything; what is pinned stays in force. */
  close(): Promise<void>;
}

/**
 * Opens everything for changing the kernel. Throws `already-running` if another process does that, and whatever
 * opening the parts throws; nothing stays open then.
 */
export async function openParts(options: ComposeOptions): Promise<Parts> {
  const { settings, log } = options;
  requireSource(settings);
  const lock = acquireLock(settings.lockPath);
  const opened: { source?: Source; audit?: AuditLog; datapath?: KernelDatapath } = {};
  const close = () => closeAll(opened, lock);
  try {
    const source = openConfiguredRepository(settings, options);
    opened.source = source;
    const audit = await openAuditLog({ directory: auditDirectory(settings), clock: systemClock });
    opened.audit = audit;
    for (const repair of audit.repairs) log.warn({ repair }, "The audit log was put right");
    const datapath = await openWorkingDatapath(settings);
    opened.datapath = datapath;
    for (const change of datapath.changes) log.info({ change }, "The datapath in the kernel was upgraded");
    const reconciler = makeReconciler(settings, {
      source: options.signal === undefined ? source : withSignal(source, options.signal),
      datapath,
      attempts: attemptLog(audit),
      log,
      signal: options.signal,
    });
    return { settings, datapath, reconciler, audit, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function closeAll(
  opened: { readonly source?: Source; readonly audit?: AuditLog; readonly datapath?: KernelDatapath },
  lock: FileLock,
): Promise<void> {
  try {
    await opened.source?.close();
    await opened.audit?.close();
    opened.datapath?.close();
  } finally {
    lock.release();
  }
}

/** What a command needs for looking at a host. */
export interface Reader {
  readonly settings: Settings;
  /** Undefined if nothing is installed. */
  readonly datapath: PinnedDatapath | undefined;
  readonly reconciler: Reconciler;
  close(): Promise<void>;
}

export interface ReaderOptions extends ComposeOptions {
  /** Stands in for the kernel if nothing is installed. */
  readonly instead: Datapath;
  /** What is planned; earlier revisions always come from the agent's own store. */
  readonly planned?: Pick<RevisionSource, "fetch"> & Partial<Pick<RevisionSource, "revision">>;
  /** False: the kernel is not looked at. */
  readonly useKernel?: boolean;
}

/** Opens what is there for looking at it, and finds out which revision is in force. */
export async function openReader(options: ReaderOptions): Promise<Reader> {
  const { settings, log, planned } = options;
  const datapath = options.useKernel === false ? undefined : openInstalledDatapath(settings);
  const stored = storedRevisions(settings, options);
  const source: RevisionSource = {
    fetch: () => (planned ?? stored).fetch(options.signal),
    poll: () => stored.poll(options.signal),
    revision: (commit) => stored.revision(commit, options.signal),
  };
  const attempts = readOnlyAttempts(settings);
  const reconciler = makeReconciler(settings, {
    source,
    datapath: datapath ?? options.instead,
    attempts,
    log,
    signal: options.signal,
  });
  const close = async () => {
    await stored.close();
    datapath?.close();
  };
  try {
    await reconciler.learn();
    return { settings, datapath, reconciler, close };
  } catch (error) {
    await close();
    throw error;
  }
}

interface Ports {
  readonly source: RevisionSource;
  readonly datapath: Datapath;
  readonly attempts: AttemptLog;
  readonly log: Logger;
  readonly signal: AbortSignal | undefined;
}

function makeReconciler(settings: Settings, { signal, ...ports }: Ports): Reconciler {
  const { geo } = settings;
  return new Reconciler({
    ...ports,
    prepare: prepareElsewhere({ signal, readGeo: geo && (() => readGeoFile(geo)) }),
    ...(geo === undefined ? {} : { surroundings: () => stampOfGeoFile(geo) }),
    clock: systemClock,
    kinds,
    idRanges: idRangesFor(settings.limits.rulesMax),
    host: settings.host,
    labels: settings.node.labels,
    selfHeal: settings.selfHeal,
    version,
    sourceUrl: settings.source?.url ?? "",
    ref: settings.source?.ref ?? "",
  });
}
