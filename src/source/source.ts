// The source as the rest of Penstock sees it: what the ref is, its newest revision, and earlier ones. Puts the
// parts together, one operation at a time, each with its time limit, and remembers the last good tip.
import { PenstockError, type Revision } from "../base/index.ts";
import { cleanText } from "./clean-text.ts";
import {
  expandCommit,
  type Graph,
  isAncestor,
  listHistory,
  type RevisionInfo,
  readCommit,
} from "./commits.ts";
import { type CheckedConfig, checkConfig, type SourceConfig } from "./config.ts";
import * as errors from "./errors.ts";
import { explainLocal } from "./local.ts";
import { type Opened, type Origin, openOrigin } from "./origin.ts";
import { Pace } from "./pace.ts";
import { readPolicyTree } from "./policy-tree.ts";
import { Store } from "./store.ts";

/**
 * Operations are carried out one after the other. All of them throw PenstockError. Only one process at a time
 * may use a state directory to fetch.
 */
export interface Source {
  /** Asks for the ref only. `changed` is: not the last revision that `fetch` returned, in this process or before. */
  poll(signal?: AbortSignal): Promise<{ readonly commit: string; readonly changed: boolean }>;
  /** The newest revision of the ref; throws `history-rewritten` if it does not descend from the last one. */
  fetch(signal?: AbortSignal): Promise<Revision>;
  /** An earlier commit of the ref's history, by its id or at least 4 digits of it, without asking the server. */
  revision(commit: string, signal?: AbortSignal): Promise<Revision>;
  /** The last fetched revision and those before it, newest first; empty before the first fetch. */
  history(max: number, signal?: AbortSignal): Promise<RevisionInfo[]>;
  /** Cancels what is under way; the source cannot be used any more. */
  close(): Promise<void>;
}

/** Checks the configuration and throws if it cannot be right; touches neither disk nor network yet. */
export function openSource(config: SourceConfig): Source {
  const checked = checkConfig(config);
  const tell = config.onEvent ?? (() => undefined);
  const { location } = checked;
  const url = location.kind === "http" ? location.url.href : location.path;
  const identity = { url, ref: checked.ref };
  const store = new Store(checked.storeDirectory, identity, tell);
  return new RepositorySource(checked, { store, origin: openOrigin(checked, store, config), tell });
}

interface Parts {
  readonly store: Store;
  readonly origin: Origin;
  readonly tell: NonNullable<SourceConfig["onEvent"]>;
}

interface Order {
  readonly signal: AbortSignal | undefined;
  /** False for what has to work without the server. */
  readonly canFetch: boolean;
}

class RepositorySource implements Source {
  readonly #config: CheckedConfig;
  readonly #parts: Parts;
  readonly #closing = new AbortController();
  #queue: Promise<unknown> = Promise.resolve();

  constructor(config: CheckedConfig, parts: Parts) {
    this.#config = config;
    this.#parts = parts;
  }

  poll(signal?: AbortSignal): Promise<{ commit: string; changed: boolean }> {
    return this.#run({ signal, canFetch: true }, async (pace) => {
      const commit = await this.#parts.origin.current(pace);
      return { commit, changed: commit !== (await this.#parts.store.tip()) };
    });
  }

  fetch(signal?: AbortSignal): Promise<Revision> {
    return this.#run({ signal, canFetch: true }, async (pace) => {
      const { store, origin } = this.#parts;
      const opened = await origin.obtain(pace);
      try {
        const known = await store.tip();
        const descends = await this.#descends({ ...opened, pace }, known, opened.commit);
        const revision = await this.#read(opened, opened.commit, pace);
        if (!descends && known !== undefined) await this.#acceptRewrite(known, opened.commit);
        if (known !== opened.commit) await store.setTip(opened.commit);
        return revision;
      } finally {
        opened.objects.close();
      }
    });
  }

  revision(commit: string, signal?: AbortSignal): Promise<Revision> {
    return this.#run({ signal, canFetch: false }, async (pace) => {
      const opened = await this.#parts.origin.open();
      try {
        const found = /^[0-9a-f]{4,40}$/.test(commit) ? expandCommit(opened.objects, commit) : undefined;
        if (found === undefined) throw errors.revisionNotFound(cleanText(commit, 40));
        await this.#checkOwn({ ...opened, pace }, found);
        return await this.#read(opened, found, pace);
      } finally {
        opened.objects.close();
      }
    });
  }

  history(max: number, signal?: AbortSignal): Promise<RevisionInfo[]> {
    return this.#run({ signal, canFetch: false }, async (pace) => {
      const tip = await this.#parts.store.tip();
      if (tip === undefined) return [];
      const opened = await this.#parts.origin.open();
      try {
        return await listHistory({ ...opened, pace }, tip, max);
      } finally {
        opened.objects.close();
      }
    });
  }

  async close(): Promise<void> {
    this.#closing.abort(errors.closed());
    await this.#queue;
  }

  async #read(opened: Opened, oid: string, pace: Pace): Promise<Revision> {
    const { path, limits, ref } = this.#config;
    const { commit, tree: root, author, committer, subject } = readCommit(opened.objects, oid);
    const { tree, files } = await readPolicyTree(opened.objects, root, { path, limits, pace });
    return { commit, ref, tree, author, committer, subject, files };
  }

  /** False only if the history was rewritten and that is allowed. */
  async #descends(graph: Graph, known: string | undefined, found: string): Promise<boolean> {
    if (known === undefined || (await isAncestor(graph, known, found))) return true;
    if (!this.#config.allowRewrite) throw errors.historyRewritten(this.#config.ref, known, found);
    return false;
  }

  async #acceptRewrite(from: string, to: string): Promise<void> {
    await this.#parts.store.keepFormer(from);
    this.#parts.tell({ kind: "rewrite-accepted", from, to });
  }

  async #checkOwn(graph: Graph, commit: string): Promise<void> {
    const { store } = this.#parts;
    for (const tip of [await store.tip(), ...(await store.former())]) {
      if (tip === undefined || !graph.objects.has(tip)) continue;
      if (await isAncestor(graph, commit, tip)) return;
    }
    throw errors.revisionForeign(commit, this.#config.ref);
  }

  /** Waits for its turn, then works within the time limit. */
  #run<T>(order: Order, work: (pace: Pace) => Promise<T>): Promise<T> {
    const turn = this.#queue.then(() => this.#work(order, work));
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  async #work<T>(order: Order, work: (pace: Pace) => Promise<T>): Promise<T> {
    const { location, totalTimeoutMs } = this.#config;
    const limit = new AbortController();
    const timer = setTimeout(() => {
      limit.abort(errors.unreachable(location.label, `it took longer than ${totalTimeoutMs} ms altogether`));
    }, totalTimeoutMs);
    const outer = [this.#closing.signal, ...(order.signal === undefined ? [] : [order.signal])];
    const stops = outer.map((from) => linkAbort(from, limit));
    const pace = new Pace(limit.signal);
    try {
      await pace.breathe();
      await this.#parts.store.prepare();
      return await this.#attempt(order, work, pace);
    } finally {
      clearTimeout(timer);
      for (const stop of stops) stop();
    }
  }

  /** Tries a second time after a repair, if objects turn out damaged. */
  async #attempt<T>(order: Order, work: (pace: Pace) => Promise<T>, pace: Pace): Promise<T> {
    try {
      return await this.#explained(work, pace);
    } catch (error) {
      if (!(error instanceof PenstockError) || error.code !== "source-corrupt") throw error;
      const problem = { reason: error.message, canFetch: order.canFetch };
      if (!this.#parts.origin.repair(problem)) throw error;
    }
    return this.#explained(work, pace);
  }

  /** Errors of the file system get the name of what was read. */
  async #explained<T>(work: (pace: Pace) => Promise<T>, pace: Pace): Promise<T> {
    const { location, storeDirectory } = this.#config;
    try {
      return await work(pace);
    } catch (error) {
      throw explainLocal(error, location.kind === "local" ? location.label : storeDirectory);
    }
  }
}

/** Passes an abort on; the returned function ends that. */
function linkAbort(from: AbortSignal, to: AbortController): () => void {
  const pass = () => to.abort(from.reason);
  if (from.aborted) pass();
  from.addEventListener("abort", pass, { once: true });
  return () => from.removeEventListener("abort", pass);
}
