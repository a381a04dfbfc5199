// Reads objects from a repository's files: loose ones, packs, and the stores that it borrows from. Read only,
// and without trust in the files: an object counts only if its content has the id that was asked for.
// isomorphic-git's reader loads whole packs into memory, does not check the ids of packed objects, and knows no
// borrowed stores; large local repositories would cost the agent their size in memory at each poll.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { constants, inflateSync } from "node:zlib";
import { PenstockError } from "../base/index.ts";
import * as errors from "./errors.ts";
import { FileView } from "./file-view.ts";
import { hashObject, type ObjectType } from "./oid.ts";
import { applyDelta, inflateAt, objectTooLarge, readDeltaSize, readEntryHeader } from "./pack-entry.ts";
import { PackIndex } from "./pack-index.ts";

export interface GitObject {
  readonly kind: "object";
  readonly type: ObjectType;
  readonly content: Buffer;
}

/** The object is longer than was allowed; nothing of it was kept. */
export interface TooLarge {
  readonly kind: "too-large";
  readonly size: number;
}

const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
const packWindowBytes = 64 * 1024;
const borrowedDepthMax = 5;
/** Git makes chains of at most 4095 deltas. */
const chainMax = 10_000;

/** A snapshot of a repository's packs; open one for an operation and close it after. Not for concurrent use. */
export class ObjectDatabase {
  readonly #folders: string[];
  readonly #packs: Pack[] = [];
  readonly #objectBytesMax: number;

  constructor(objectsFolder: string, objectBytesMax: number) {
    this.#objectBytesMax = objectBytesMax;
    this.#folders = listFolders(objectsFolder);
    try {
      for (const path of this.#folders.flatMap(listPackIndexes)) this.#packs.push(new Pack(path));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    for (const pack of this.#packs) pack.close();
  }

  has(oid: string): boolean {
    return (
      this.#findPacked(oid) !== undefined ||
      this.#folders.some((folder) => existsSync(loosePath(folder, oid)))
    );
  }

  /** Reads one object of at most `bytesMax`. Missing or damaged ones are a source-corrupt error. */
  read(oid: string, bytesMax: number): GitObject | TooLarge {
    const place = this.#findPacked(oid);
    let object = place === undefined ? this.#readLoose(oid, bytesMax) : this.#readPacked(place, bytesMax);
    // Git knows the empty tree without storing it.
    if (oid === emptyTree) object ??= { kind: "object", type: "tree", content: Buffer.alloc(0) };
    if (object === undefined) throw errors.corrupt(`the object ${oid} is missing`);
    if (object.kind === "object" && hashObject(object.type, object.content).toString("hex") !== oid) {
      throw errors.corrupt(`the object ${oid} is damaged`);
    }
    return object;
  }

  /** Reads an object that must be of this type. */
  readTyped(oid: string, type: ObjectType, bytesMax: number): Buffer {
    const object = this.read(oid, bytesMax);
    if (object.kind === "too-large") throw objectTooLarge(object.size, bytesMax);
    if (object.type !== type) throw errors.corrupt(`the object ${oid} is a ${object.type}, not a ${type}`);
    return object.content;
  }

  /** Ids that start with `prefix` (at least 4 hex digits), in order, at most `max`. */
  startingWith(prefix: string, max: number): string[] {
    const found = new Set<string>();
    for (const pack of this.#packs) for (const oid of pack.index.startingWith(prefix, max)) found.add(oid);
    for (const folder of this.#folders) {
      for (const rest of listNames(join(folder, prefix.slice(0, 2)))) {
        const oid = prefix.slice(0, 2) + rest;
        if (/^[0-9a-f]{40}$/.test(oid) && oid.startsWith(prefix)) found.add(oid);
      }
    }
    return [...found].sort().slice(0, max);
  }

  #findPacked(oid: string): Place | undefined {
    const bytes = Buffer.from(oid, "hex");
    for (const [i, pack] of this.#packs.entries()) {
      const offset = pack.index.find(bytes);
      if (offset === undefined) continue;
      // What is read together lies together: the next look starts with this pack.
      if (i > 0) this.#packs.unshift(...this.#packs.splice(i, 1));
      return { pack, offset };
    }
    return undefined;
  }

  #readPacked(place: Place, bytesMax: number): GitObject | TooLarge {
    // Deltas are noted on the way to the whole object, and inflated one at a time on the way back.
    const deltas: { pack: Pack; offset: number; size: number }[] = [];
    let at: Place = place;
    for (;;) {
      const { type, size, dataOffset, base } = readEntryHeader(at.pack.file, at.offset);
      if (base === undefined && type !== undefined) {
        if (deltas.length === 0 && size > bytesMax) return { kind: "too-large", size };
        let content = this.#inflate(at.pack, dataOffset, size);
        for (let delta = deltas.pop(); delta !== undefined; delta = deltas.pop()) {
          content = applyDelta(
            content,
            this.#inflate(delta.pack, delta.offset, delta.size),
            this.#objectBytesMax,
          );
        }
        return { kind: "object", type, content };
      }
      if (deltas.length === 0) {
        const result = readDeltaSize(this.#inflate(at.pack, dataOffset, size));
        if (result > bytesMax) return { kind: "too-large", size: result };
      }
      deltas.push({ pack: at.pack, offset: dataOffset, size });
      if (deltas.length > chainMax) throw errors.corrupt("a chain of deltas has no end");
      at = this.#findBase(at.pack, base);
    }
  }

  #findBase(pack: Pack, base: { readonly offset: number } | { readonly oid: string } | undefined): Place {
    if (base === undefined) throw errors.corrupt("a delta has no base");
    if ("offset" in base) return { pack, offset: base.offset };
    const offset = pack.index.find(Buffer.from(base.oid, "hex"));
    if (offset !== undefined) return { pack, offset };
    const place = this.#findPacked(base.oid);
    if (place === undefined) throw errors.corrupt(`the object ${base.oid} is missing`);
    return place;
  }

  #inflate(pack: Pack, offset: number, size: number): Buffer {
    if (size > this.#objectBytesMax) throw objectTooLarge(size, this.#objectBytesMax);
    return inflateAt(pack.file, { offset, end: pack.file.size, size }).content;
  }

  #readLoose(oid: string, bytesMax: number): GitObject | TooLarge | undefined {
    const path = this.#folders.map((folder) => loosePath(folder, oid)).find((p) => existsSync(p));
    if (path === undefined) return undefined;
    const object = readLooseFile(path, bytesMax);
    if (object === undefined) throw errors.corrupt(`the object ${oid} is damaged`);
    return object;
  }
}

interface Place {
  readonly pack: Pack;
  readonly offset: number;
}

class Pack {
  readonly index: PackIndex;
  readonly #path: string;
  #file: FileView | undefined;

  constructor(indexPath: string) {
    this.index = new PackIndex(indexPath);
    this.#path = indexPath.replace(/idx$/, "pack");
  }

  get file(): FileView {
    this.#file ??= new FileView(this.#path, packWindowBytes);
    return this.#file;
  }

  close(): void {
    this.index.close();
    this.#file?.close();
  }
}

/** A loose object is one zlib stream of `type SP size NUL content`; undefined if it is not. */
function readLooseFile(path: string, bytesMax: number): GitObject | TooLarge | undefined {
  const file = new FileView(path, packWindowBytes);
  try {
    const start = inflateSync(file.view(0, 256), { finishFlush: constants.Z_SYNC_FLUSH });
    const head = /^(commit|tree|blob|tag) ([0-9]{1,15})\0/.exec(start.toString("latin1", 0, 32));
    if (head === null) return undefined;
    const size = Number(head[2]);
    if (size > bytesMax) return { kind: "too-large", size };
    const total = head[0].length + size;
    const { content } = inflateAt(file, { offset: 0, end: file.size, size: total });
    return { kind: "object", type: head[1] as ObjectType, content: content.subarray(head[0].length) };
  } catch (error) {
    if (error instanceof PenstockError || (error instanceof Error && "errno" in error && "syscall" in error))
      throw error;
    return undefined;
  } finally {
    file.close();
  }
}

/** The folder itself, and the ones it borrows from (`git clone --shared`). */
function listFolders(first: string): string[] {
  const found = [first];
  for (let i = 0, level = [first]; i < borrowedDepthMax && level.length > 0; i++) {
    const next = level.flatMap((folder) => {
      const file = join(folder, "info", "alternates");
      const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
      return lines
        .filter((line) => line !== "" && !line.startsWith("#"))
        .map((line) => resolve(folder, line));
    });
    level = next.filter((folder) => !found.includes(folder));
    found.push(...level);
  }
  return found;
}

function listPackIndexes(folder: string): string[] {
  const paths = listNames(join(folder, "pack")).map((name) => join(folder, "pack", name));
  // An index without its pack is what an interrupted deletion leaves.
  return paths.filter((path) => /\/pack-[^/]*\.idx$/.test(path) && existsSync(path.replace(/idx$/, "pack")));
}

function listNames(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

function loosePath(folder: string, oid: string): string {
  return join(folder, oid.slice(0, 2), oid.slice(2));
}
