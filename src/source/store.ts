// The source's own bare repository below the state directory: packs as they were received, and what is
// remembered of the ref. Everything is written aside and moved into place, packs before their index, so a
// process that is killed at any moment leaves the store as it was, or with the whole of what is new, and some
// `tmp-` files that the next one removes. `git` can read the store; nothing but Penstock may write to it.
import { randomBytes } from "node:crypto";
import nodeFs, { existsSync, readFileSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { init } from "isomorphic-git";
import { PenstockError } from "../base/index.ts";
import { storeDirectoryOf } from "./config.ts";
import * as errors from "./errors.ts";
import type { SourceEvent } from "./events.ts";
import { PackIndex } from "./pack-index.ts";

/** What the store is of. Another url means other objects, another ref means another tip. */
export interface StoreIdentity {
  readonly url: string;
  readonly ref: string;
}

/** What the store below a state directory is of; undefined if there is none, or if it does not say. */
export function readStoreIdentity(stateDirectory: string): StoreIdentity | undefined {
  try {
    return parseIdentity(readFileSync(join(storeDirectoryOf(stateDirectory), identityFile), "utf8"));
  } catch {
    return undefined;
  }
}

const identityFile = "penstock-source.json";
const tipRef = "refs/penstock/tip";
/** Tips that were given up when a rewritten history was accepted: still good to go back to. */
const formerFolder = "refs/penstock/former";
/** Older than any operation can be. */
const leftoverAgeMs = 60 * 60 * 1000;

export class Store {
  readonly directory: string;
  readonly objectsFolder: string;
  readonly #identity: StoreIdentity;
  readonly #tell: (event: SourceEvent) => void;
  #ready: Promise<void> | undefined;

  constructor(directory: string, identity: StoreIdentity, tell: (event: SourceEvent) => void) {
    this.directory = directory;
    this.objectsFolder = join(directory, "objects");
    this.#identity = identity;
    this.#tell = tell;
  }

  /** Creates the store, or makes one of another url or ref this one's. Does its work once. */
  async prepare(): Promise<void> {
    // Somebody may have removed the whole state directory under a running process.
    if (!existsSync(join(this.directory, identityFile))) this.#ready = undefined;
    this.#ready ??= this.#guard(() => this.#prepare());
    try {
      await this.#ready;
    } catch (error) {
      this.#ready = undefined;
      throw error;
    }
  }

  /** The last commit that was fetched and read. */
  async tip(): Promise<string | undefined> {
    const text = await this.#guard(() => readIfThere(join(this.directory, tipRef)));
    if (text === undefined) return undefined;
    const oid = /^([0-9a-f]{40})\n$/.exec(text)?.[1];
    if (oid === undefined) {
      await this.#guard(() => rm(join(this.directory, tipRef), { force: true }));
      this.#tell({ kind: "tip-lost" });
    }
    return oid;
  }

  async setTip(commit: string): Promise<void> {
    await this.#guard(() => this.#writeRef(tipRef, commit));
  }

  /** Remembers a tip whose history was rewritten. */
  async keepFormer(commit: string): Promise<void> {
    await this.#guard(() => this.#writeRef(`${formerFolder}/${commit}`, commit));
  }

  async former(): Promise<string[]> {
    const names = await readdir(join(this.directory, formerFolder)).catch(() => []);
    return names.filter((name) => /^[0-9a-f]{40}$/.test(name));
  }

  /** A file to receive a pack in; `install` takes it over, or the caller removes it. */
  temporaryPack(): string {
    return join(this.objectsFolder, "pack", `tmp-${randomBytes(8).toString("hex")}.pack`);
  }

  /** Moves a received pack and its index into place. */
  async install(temporary: string, name: string, index: Buffer): Promise<void> {
    const folder = join(this.objectsFolder, "pack");
    await this.#guard(async () => {
      await writeWhole(`${temporary}.idx`, index);
      await rename(temporary, join(folder, `pack-${name}.pack`));
      await rename(`${temporary}.idx`, join(folder, `pack-${name}.idx`));
      await syncFolder(folder);
    });
  }

  /** Names of the packs that are there. */
  async packs(): Promise<string[]> {
    const names = await readdir(join(this.objectsFolder, "pack")).catch(() => []);
    return names.flatMap((name) => /^pack-([0-9a-f]{40})\.idx$/.exec(name)?.[1] ?? []);
  }

  /** True if all these objects are in the pack. */
  async packHolds(name: string, oids: readonly string[]): Promise<boolean> {
    const index = new PackIndex(join(this.objectsFolder, "pack", `pack-${name}.idx`));
    try {
      return oids.every((oid) => index.find(Buffer.from(oid, "hex")) !== undefined);
    } finally {
      index.close();
    }
  }

  /** Removes packs; the index goes first, so that no index is left without its pack. */
  async removePacks(names: readonly string[]): Promise<void> {
    await this.#guard(async () => {
      for (const name of names) {
        for (const end of ["idx", "pack"]) {
          await rm(join(this.objectsFolder, "pack", `pack-${name}.${end}`), { force: true });
        }
      }
    });
  }

  async #prepare(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    const known = await this.#readIdentity();
    // What was being written when a process was killed is not something else.
    const others = (await readdir(this.directory)).filter((name) => !name.startsWith("tmp-"));
    if (known === undefined && others.length > 0) throw errors.storeForeign(this.directory);
    const { url, ref } = this.#identity;
    if (known !== undefined && known.url !== url) {
      // Safe to be killed in: the identity is still the old one, so the next start does this again.
      await rm(this.objectsFolder, { recursive: true, force: true });
      this.#tell({ kind: "source-changed", what: "url" });
    } else if (known !== undefined && known.ref !== ref) {
      this.#tell({ kind: "source-changed", what: "ref" });
    }
    if (known?.url !== url || known.ref !== ref) {
      // The tip goes before the identity is changed: no moment has the one ref's tip under the other's name.
      await rm(join(this.directory, "refs", "penstock"), { recursive: true, force: true });
      await this.#writeFile(identityFile, `${JSON.stringify(this.#identity)}\n`);
    }
    // Without HEAD it was killed halfway here; `init` takes a config for the sign that all is there.
    if (!existsSync(join(this.directory, "HEAD"))) await rm(join(this.directory, "config"), { force: true });
    await init({
      fs: nodeFs,
      dir: this.directory,
      gitdir: this.directory,
      bare: true,
      defaultBranch: "main",
    });
    await mkdir(join(this.objectsFolder, "pack"), { recursive: true });
    await this.#removeLeftovers();
  }

  async #readIdentity(): Promise<StoreIdentity | undefined> {
    const text = await readIfThere(join(this.directory, identityFile));
    if (text === undefined) return undefined;
    // Ours, but nobody knows of what: taken as another repository's.
    return parseIdentity(text) ?? { url: "", ref: "" };
  }

  async #removeLeftovers(): Promise<void> {
    for (const folder of [this.directory, join(this.objectsFolder, "pack")]) {
      const names = await readdir(folder);
      for (const name of names) {
        const lonelyPack = name.endsWith(".pack") && !names.includes(name.replace(/pack$/, "idx"));
        if (!name.startsWith("tmp-") && !lonelyPack) continue;
        const info = await stat(join(folder, name)).catch(() => undefined);
        // A younger one may be another process's work.
        if (info !== undefined && Date.now() - info.mtimeMs < leftoverAgeMs) continue;
        await rm(join(folder, name), { recursive: true, force: true });
      }
    }
  }

  async #writeRef(name: string, oid: string): Promise<void> {
    await this.#writeFile(name, `${oid}\n`);
  }

  async #writeFile(name: string, text: string): Promise<void> {
    const path = join(this.directory, name);
    await mkdir(dirname(path), { recursive: true });
    const temporary = join(this.directory, `tmp-${randomBytes(8).toString("hex")}`);
    await writeWhole(temporary, Buffer.from(text));
    await rename(temporary, path);
    await syncFolder(dirname(path));
  }

  /** Names the store in errors of the file system. */
  async #guard<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw error instanceof PenstockError ? error : errors.storeFailed(this.directory, error);
    }
  }
}

function parseIdentity(text: string): StoreIdentity | undefined {
  try {
    const { url, ref } = JSON.parse(text) as { readonly url?: unknown; readonly ref?: unknown };
    return typeof url === "string" && typeof ref === "string" ? { url, ref } : undefined;
  } catch {
    return undefined;
  }
}

/** Only a file that does not exist is no file: one that cannot be read must not pass for a first start. */
async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  await writeFile(path, bytes, { flush: true, mode: 0o600 });
}

/** Makes renames in a folder last. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
