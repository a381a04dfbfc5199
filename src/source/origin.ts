// Where commits come from, local or remote, behind one shape: what the ref is now, and the objects it leads to.
import { expandCommit, peelToCommit } from "./commits.ts";
import type { CheckedConfig, SourceConfig } from "./config.ts";
import * as errors from "./errors.ts";
import { createHttpClient } from "./http.ts";
import { explainLocal, type LocalRepository, openLocal } from "./local.ts";
import { ObjectDatabase } from "./objects.ts";
import type { Pace } from "./pace.ts";
import { objectBytesMax, receivePack } from "./receive.ts";
import { branchNames, type Ref, type RefDirectory, type ResolvedRef, resolveRef } from "./refs.ts";
import { Remote } from "./remote.ts";
import type { Store } from "./store.ts";

/** Objects to read from, and the commits whose parents are not among them. Close the objects after use. */
export interface Opened {
  readonly objects: ObjectDatabase;
  readonly cut: ReadonlySet<string>;
}

export interface Origin {
  /** The commit that the ref stands for now; as cheap as can be. */
  current(pace: Pace): Promise<string>;
  /** The same commit and everything it leads to, fetched if it is not here. */
  obtain(pace: Pace): Promise<Opened & { readonly commit: string }>;
  /** What is here already. */
  open(): Promise<Opened>;
  /**
   * Called when objects turned out damaged or missing; true if trying again makes sense. The store is replaced
   * by what the next `obtain` fetches, and not before that is whole: what is left of it may be all there is.
   */
  repair(problem: { readonly reason: string; readonly canFetch: boolean }): boolean;
}

/** From here on, each fetch adds a pack, and every look-up goes through all of them: one new pack replaces them. */
const packsMax = 50;

const wholeId = /^[0-9a-f]{40}$/;

export function openOrigin(config: CheckedConfig, store: Store, raw: SourceConfig): Origin {
  const { location } = config;
  if (location.kind === "local") return new LocalOrigin(config, location.path);
  const http = createHttpClient({
    origin: location.url.origin,
    label: location.label,
    credentials: raw.credentials,
    timeoutMs: config.timeoutMs,
  });
  const { packBytesMax } = config.limits;
  const remote = new Remote({ url: location.url, label: location.label, http, packBytesMax });
  return new RemoteOrigin(config, { store, remote, tell: raw.onEvent ?? (() => undefined) });
}

interface RemoteParts {
  readonly store: Store;
  readonly remote: Remote;
  readonly tell: NonNullable<SourceConfig["onEvent"]>;
}

class RemoteOrigin implements Origin {
  readonly #config: CheckedConfig;
  readonly #parts: RemoteParts;
  /** Why the store cannot be read, until it is replaced. */
  #damage: string | undefined;
  #compactable = true;

  constructor(config: CheckedConfig, parts: RemoteParts) {
    this.#config = config;
    this.#parts = parts;
  }

  async current(pace: Pace): Promise<string> {
    const { ref } = this.#config;
    // A whole commit id cannot come to mean anything else: there is nothing to ask.
    if (wholeId.test(ref)) return ref;
    const resolved = await this.#resolve(pace);
    if (resolved.kind === "ref") return resolved.ref.peeled ?? resolved.ref.oid;
    const opened = await this.#obtainCommit(resolved.prefix, pace);
    opened.objects.close();
    return opened.commit;
  }

  async obtain(pace: Pace): Promise<Opened & { readonly commit: string }> {
    const resolved = await this.#resolve(pace);
    if (resolved.kind === "commit") return this.#obtainCommit(resolved.prefix, pace);
    const { oid } = resolved.ref;
    const opened = await this.#openWith([oid], pace);
    return withCommit(opened, () => peelToCommit(opened.objects, oid, this.#config.ref));
  }

  async open(): Promise<Opened> {
    return { objects: openObjects(this.#parts.store.objectsFolder, this.#config), cut: new Set() };
  }

  repair(problem: { readonly reason: string; readonly canFetch: boolean }): boolean {
    this.#damage = problem.reason;
    return problem.canFetch;
  }

  #resolve(pace: Pace): Promise<ResolvedRef> {
    return resolveConfigured(this.#parts.remote, this.#config, pace);
  }

  /** A server cannot be asked for a commit by id: everything that could contain it is fetched. */
  async #obtainCommit(prefix: string, pace: Pace): Promise<Opened & { readonly commit: string }> {
    if (this.#damage === undefined) {
      const opened = await this.open();
      const known = withCommit(opened, () => expandCommit(opened.objects, prefix) ?? "");
      if (known.commit !== "") return known;
      opened.objects.close();
    }
    const refs = await this.#parts.remote.all(pace.signal);
    if (refs.length === 0) throw errors.repositoryEmpty(this.#config.location.label);
    const wants = [...new Set(refs.map((r) => r.oid))];
    const fetched = await this.#openWith(wants, pace);
    return withCommit(fetched, () => expandCommit(fetched.objects, prefix) ?? notFound(this.#config, refs));
  }

  /** Opens the store, after fetching those of `wants` that it lacks. */
  async #openWith(wants: readonly string[], pace: Pace): Promise<Opened> {
    const { store, tell } = this.#parts;
    if (this.#damage !== undefined) {
      await this.#replace(wants, pace);
      tell({ kind: "store-rebuilt", reason: this.#damage });
      this.#damage = undefined;
      return this.open();
    }
    const before = await this.open();
    const missing = wants.filter((oid) => !before.objects.has(oid));
    if (missing.length === 0) return before;
    const tips = await this.#tips();
    const haves = tips.filter((oid) => before.objects.has(oid));
    before.objects.close();
    const packs = await store.packs();
    if (packs.length < packsMax || !(await this.#compact(wants, pace))) {
      await receivePack(this.#receiving(pace), { wants: missing, haves });
    }
    return this.open();
  }

  /** Fetches everything anew and removes all other packs. */
  async #replace(wants: readonly string[], pace: Pace): Promise<void> {
    const before = await this.#parts.store.packs();
    const name = await receivePack(this.#receiving(pace), { wants, haves: [] });
    await this.#parts.store.removePacks(before.filter((other) => other !== name));
  }

  /** The same in order to have one pack; false if that cannot be. Loses no tip that may be gone back to. */
  async #compact(wants: readonly string[], pace: Pace): Promise<boolean> {
    const { store, tell } = this.#parts;
    if (!this.#compactable) return false;
    const before = await store.packs();
    try {
      const name = await receivePack(this.#receiving(pace), { wants, haves: [] });
      this.#compactable = await store.packHolds(name, await this.#tips());
      if (!this.#compactable) return true;
      await store.removePacks(before.filter((other) => other !== name));
      tell({ kind: "store-compacted", packsBefore: before.length });
      return true;
    } catch (error) {
      // What came in many small packs may be too much for one: then the store keeps them.
      if (!errors.hasCode(error, "source-limit")) throw error;
      this.#compactable = false;
      return false;
    }
  }

  async #tips(): Promise<string[]> {
    const { store } = this.#parts;
    const tip = await store.tip();
    return [...(tip === undefined ? [] : [tip]), ...(await store.former())];
  }

  #receiving(pace: Pace) {
    return { ...this.#parts, pace, packBytesMax: this.#config.limits.packBytesMax };
  }
}

class LocalOrigin implements Origin {
  readonly #config: CheckedConfig;
  readonly #path: string;

  constructor(config: CheckedConfig, path: string) {
    this.#config = config;
    this.#path = path;
  }

  current(pace: Pace): Promise<string> {
    return this.#explain(async () => {
      const repository = await this.#repository();
      const resolved = await resolveConfigured(repository, this.#config, pace);
      // A branch always holds a commit; everything else has to be looked at.
      if (resolved.kind === "ref" && resolved.ref.name.startsWith("refs/heads/")) return resolved.ref.oid;
      const opened = this.#openRepository(repository);
      try {
        return await this.#toCommit(repository, { resolved, objects: opened.objects, pace });
      } finally {
        opened.objects.close();
      }
    });
  }

  obtain(pace: Pace): Promise<Opened & { readonly commit: string }> {
    return this.#explain(async () => {
      const repository = await this.#repository();
      const resolved = await resolveConfigured(repository, this.#config, pace);
      const opened = this.#openRepository(repository);
      try {
        const { objects } = opened;
        return { ...opened, commit: await this.#toCommit(repository, { resolved, objects, pace }) };
      } catch (error) {
        opened.objects.close();
        throw error;
      }
    });
  }

  open(): Promise<Opened> {
    return this.#explain(async () => this.#openRepository(await this.#repository()));
  }

  repair(): boolean {
    // Nothing of it is ours to repair; but Git may have repacked while we read.
    return true;
  }

  #repository(): Promise<LocalRepository> {
    return openLocal(this.#path, this.#config.location.label);
  }

  #openRepository(repository: LocalRepository): Opened {
    return { objects: openObjects(repository.objectsFolder, this.#config), cut: repository.cut() };
  }

  async #toCommit(
    repository: RefDirectory,
    parts: { readonly resolved: ResolvedRef; readonly objects: ObjectDatabase; readonly pace: Pace },
  ): Promise<string> {
    const { resolved, objects, pace } = parts;
    if (resolved.kind === "ref") return peelToCommit(objects, resolved.ref.oid, this.#config.ref);
    const commit = expandCommit(objects, resolved.prefix);
    return commit ?? notFound(this.#config, await repository.all(pace.signal));
  }

  async #explain<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw explainLocal(error, this.#config.location.label);
    }
  }
}

function resolveConfigured(directory: RefDirectory, config: CheckedConfig, pace: Pace): Promise<ResolvedRef> {
  return resolveRef(directory, config.ref, { label: config.location.label, signal: pace.signal });
}

function openObjects(folder: string, config: CheckedConfig): ObjectDatabase {
  return new ObjectDatabase(folder, objectBytesMax(config.limits.packBytesMax));
}

function withCommit(opened: Opened, find: () => string): Opened & { readonly commit: string } {
  try {
    return { ...opened, commit: find() };
  } catch (error) {
    opened.objects.close();
    throw error;
  }
}

function notFound(config: CheckedConfig, refs: readonly Ref[]): never {
  throw errors.refNotFound(config.ref, config.location.label, branchNames(refs));
}
