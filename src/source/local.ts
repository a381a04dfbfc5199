// A repository on this machine, read where it is: a bare one, a work tree with its `.git`, or a linked work
// tree. Nothing in it is written or run.
import nodeFs, { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { getConfig, listRefs, resolveRef } from "isomorphic-git";
import * as errors from "./errors.ts";
import type { Ref, RefDirectory } from "./refs.ts";

export interface LocalRepository extends RefDirectory {
  readonly objectsFolder: string;
  /** Commits whose parents are not there: those at the edge of a shallow clone. */
  cut(): ReadonlySet<string>;
}

/** Finds the repository at `path`; throws if there is none, or one that cannot be read. */
export async function openLocal(path: string, label: string): Promise<LocalRepository> {
  try {
    const own = findGitFolder(path, label);
    const common = findCommonFolder(own);
    await checkFormat(common, label);
    return new FolderRepository(own, common);
  } catch (error) {
    throw explainLocal(error, label);
  }
}

/** Errors of the file system, said of a repository. */
export function explainLocal(error: unknown, label: string): unknown {
  const code = error instanceof Error && "syscall" in error && "code" in error ? error.code : undefined;
  if (code === "EACCES" || code === "EPERM") return errors.permissionDenied(label);
  // Git may repack, and remove what was just seen: the same as an object that is missing.
  if (code === "ENOENT") return errors.corrupt("a file of it went away while it was read");
  return code === undefined ? error : errors.unreachable(label, `reading it fails with ${String(code)}`);
}

class FolderRepository implements LocalRepository {
  readonly objectsFolder: string;
  /** Differs from `#common` in a linked work tree, which has its own HEAD. */
  readonly #own: string;
  readonly #common: string;

  constructor(own: string, common: string) {
    this.#own = own;
    this.#common = common;
    this.objectsFolder = join(common, "objects");
  }

  async lookup(names: readonly string[]): Promise<Ref[]> {
    const found: Ref[] = [];
    for (const name of names) {
      const oid = await this.#resolve(name);
      if (oid !== undefined) found.push({ name, oid });
    }
    return found;
  }

  async all(): Promise<Ref[]> {
    const names: string[] = [];
    for (const folder of ["refs/heads", "refs/tags"]) {
      const below = await listRefs({ fs: nodeFs, gitdir: this.#common, filepath: folder });
      names.push(...below.filter((name) => !name.endsWith("^{}")).map((name) => `${folder}/${name}`));
    }
    return this.lookup(names);
  }

  cut(): ReadonlySet<string> {
    const file = join(this.#common, "shallow");
    return new Set(
      existsSync(file)
        ? readFileSync(file, "utf8")
            .split("\n")
            .filter((line) => line !== "")
        : [],
    );
  }

  async #resolve(name: string): Promise<string | undefined> {
    let ref = name;
    if (name === "HEAD" && this.#own !== this.#common) {
      ref = readFileSync(join(this.#own, "HEAD"), "utf8")
        .trim()
        .replace(/^ref: /, "");
    }
    try {
      const oid = await resolveRef({ fs: nodeFs, gitdir: this.#common, ref });
      return /^[0-9a-f]{40}$/.test(oid) ? oid : undefined;
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "NotFoundError") return undefined;
      throw error;
    }
  }
}

function findGitFolder(path: string, label: string): string {
  if (!existsSync(path)) throw errors.notFound(label, "there is no such folder");
  if (!statSync(path).isDirectory()) throw errors.notFound(label, "it is not a folder");
  const inside = join(path, ".git");
  if (!existsSync(inside)) {
    if (isRepository(path)) return path;
    throw errors.notFound(label, "the folder is not a Git repository");
  }
  if (statSync(inside).isDirectory()) return inside;
  // A linked work tree or a submodule: a file that says where the repository is.
  const target = /^gitdir: (.+?)\r?\n?$/.exec(readFileSync(inside, "utf8"))?.[1];
  const folder = target === undefined ? undefined : resolve(dirname(inside), target);
  if (folder === undefined || !existsSync(join(folder, "HEAD"))) {
    throw errors.notFound(label, "its .git file does not lead to a repository");
  }
  return folder;
}

function findCommonFolder(own: string): string {
  const file = join(own, "commondir");
  return existsSync(file) ? resolve(own, readFileSync(file, "utf8").trim()) : own;
}

function isRepository(folder: string): boolean {
  return ["HEAD", "objects", "refs"].every((name) => existsSync(join(folder, name)));
}

async function checkFormat(gitdir: string, label: string): Promise<void> {
  const ask = async (path: string) =>
    String((await getConfig({ fs: nodeFs, gitdir, path })) ?? "").toLowerCase();
  const format = await ask("extensions.objectformat");
  if (format !== "" && format !== "sha1") {
    throw errors.unsupportedRepository(label, `its object ids are ${format}`);
  }
  const refStorage = await ask("extensions.refstorage");
  if (refStorage !== "" && refStorage !== "files") {
    throw errors.unsupportedRepository(label, `its refs are stored as ${refStorage}`);
  }
}
