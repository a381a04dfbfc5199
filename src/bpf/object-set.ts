// The objects of one version, loaded as one: the first object that has a map makes it, and the others use it too.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { compareLayouts, formatLayoutDifference, type ObjectAbi, objectAbis } from "../abi/index.ts";
import { PenstockError } from "../base/index.ts";
import type { BpfMap } from "./map.ts";
import { type BpfObject, type ObjectOptions, openObject } from "./object.ts";
import { mismatch } from "./object-rodata.ts";
import type { BpfProgram } from "./program.ts";

/** A compiled object, and what it must be. */
export interface DatapathObject {
  readonly path: string;
  readonly abi: ObjectAbi;
}

/** All objects that this build made, in the directory that it made them in. */
export function datapathObjects(directory: string): readonly DatapathObject[] {
  return objectAbis.map((abi) => ({ path: join(directory, `${abi.object}.bpf.o`), abi }));
}

/** Loaded objects: their maps, each once, and their programs. Usable until `close`. */
export class ObjectSet {
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly programs: ReadonlyMap<string, BpfProgram>;
  readonly #objects: readonly BpfObject[];

  constructor(objects: readonly BpfObject[]) {
    this.#objects = objects;
    // Of the descriptors of a shared map the first object's is listed.
    this.maps = new Map(objects.toReversed().flatMap(({ maps }) => [...maps]));
    this.programs = new Map(objects.flatMap(({ programs }) => [...programs]));
  }

  /** The map of this name. Throws `object-mismatch`. */
  map(name: string): BpfMap {
    return this.maps.get(name) ?? this.#refuse(`map ${name}`);
  }

  /** The program of this name. Throws `object-mismatch`. */
  program(name: string): BpfProgram {
    return this.programs.get(name) ?? this.#refuse(`program ${name}`);
  }

  /** Closes all maps and programs. What is pinned or attached lives on. */
  close(): void {
    for (const object of this.#objects) object.close();
  }

  #refuse(what: string): never {
    throw mismatch(this.#objects.map(({ path }) => path).join(" and "), `there is no ${what}`);
  }
}

/**
 * Loads objects that share their maps by name. Of the capacities and open maps each object gets those that it has.
 * Throws what `openObject` throws; nothing is left behind then.
 */
export function openObjects(
  objects: readonly DatapathObject[],
  options: Pick<ObjectOptions, "maxEntries" | "sharedMaps">,
): ObjectSet {
  refuseUnknown(objects, { ...options.maxEntries, ...options.sharedMaps });
  const loaded: BpfObject[] = [];
  const made = new Map(Object.entries(options.sharedMaps ?? {}));
  try {
    for (const { path, abi } of objects) {
      const maxEntries = ofObject(abi, Object.entries(options.maxEntries ?? {}));
      const object = openObject(path, { maxEntries, sharedMaps: ofObject(abi, made) });
      loaded.push(object);
      for (const [name, map] of object.maps) if (!made.has(name)) made.set(name, map);
    }
    return new ObjectSet(loaded);
  } catch (cause) {
    for (const object of loaded) object.close();
    throw cause;
  }
}

function ofObject<T>(abi: ObjectAbi, named: Iterable<readonly [string, T]>): Readonly<Record<string, T>> {
  return Object.fromEntries([...named].filter(([name]) => Object.hasOwn(abi.maps, name)));
}

function refuseUnknown(objects: readonly DatapathObject[], named: Readonly<Record<string, unknown>>): void {
  const unknown = Object.keys(named).find(
    (name) => !objects.some(({ abi }) => Object.hasOwn(abi.maps, name)),
  );
  if (unknown !== undefined)
    throw mismatch(objects.map(({ path }) => path).join(" and "), `there is no map ${unknown}`);
}

/** Throws `object-missing`, or `object-mismatch` if the object is not the one that this build was made for. */
export function proveLayouts({ path, abi }: DatapathObject): void {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new PenstockError({
      code: "object-missing",
      disposition: "stalled",
      message: `Cannot load the datapath: ${path} cannot be read`,
      remedy: "Build it: npm run build",
      cause,
    });
  }
  const differences = compareLayouts(abi, bytes);
  if (differences.length === 0) return;
  throw new PenstockError({
    code: "object-mismatch",
    disposition: "stalled",
    message: `Cannot load the datapath: ${path} was built from other sources (${differences.slice(0, 3).map(formatLayoutDifference).join("; ")})`,
    remedy: "Build both together: npm run build",
  });
}
