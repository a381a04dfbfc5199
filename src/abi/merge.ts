// Several objects as one: maps of one name are one map, which all of the objects' programs share.
import { PenstockError } from "../base/index.ts";
import { compareAbis, formatLayoutDifference } from "./compare.ts";
import type { MapLayout, ObjectAbi } from "./layout.ts";

/** The kernel keeps this many bytes of the name of a map or a program. */
export const kernelNameBytes = 15;

/**
 * What all objects have together. Throws `layout-conflict` if something of one name is not the same in two of them,
 * if two have a program of one name, or if the kernel would call two maps the same.
 */
export function mergeAbis(abis: readonly ObjectAbi[]): ObjectAbi {
  const [first, ...others] = abis;
  if (first === undefined) throw conflict("there is none");
  const merged = others.reduce(mergeTwo, first);
  refuseEqualNames(Object.values(merged.maps));
  return merged;
}

function mergeTwo(one: ObjectAbi, other: ObjectAbi): ObjectAbi {
  const pair = `${one.object} and ${other.object}`;
  const [difference] = compareAbis(commonOf(one, other), commonOf(other, one));
  if (difference !== undefined)
    throw conflict(`${pair} do not agree on ${formatLayoutDifference(difference)}`);
  const program = other.programs.find(({ name }) => hasName(one.programs, name));
  if (program !== undefined) throw conflict(`${pair} both have a program ${program.name}`);
  return {
    object: pair,
    structs: [...one.structs, ...other.structs.filter(({ name }) => !hasName(one.structs, name))],
    enums: [...one.enums, ...other.enums.filter(({ name }) => !hasName(one.enums, name))],
    maps: { ...one.maps, ...other.maps },
    programs: [...one.programs, ...other.programs],
  };
}

/** What of an object another one has too, programs left out. */
function commonOf(abi: ObjectAbi, other: ObjectAbi): ObjectAbi {
  return {
    object: abi.object,
    structs: abi.structs.filter(({ name }) => hasName(other.structs, name)),
    enums: abi.enums.filter(({ name }) => hasName(other.enums, name)),
    maps: Object.fromEntries(Object.entries(abi.maps).filter(([name]) => Object.hasOwn(other.maps, name))),
    programs: [],
  };
}

function hasName(items: readonly { readonly name: string }[], name: string): boolean {
  return items.some((item) => item.name === name);
}

/** After a restart the kernel's names are all that tells the maps of a program apart. */
function refuseEqualNames(maps: readonly MapLayout[]): void {
  const known = new Map<string, string>();
  for (const { name } of maps) {
    const kept = name.slice(0, kernelNameBytes);
    const other = known.get(kept);
    if (other !== undefined) throw conflict(`the kernel would call maps ${other} and ${name} both "${kept}"`);
    known.set(kept, name);
  }
}

function conflict(problem: string): PenstockError {
  return new PenstockError({
    code: "layout-conflict",
    disposition: "stalled",
    message: `Cannot use these objects together: ${problem}`,
    remedy: "Build all objects from the same sources: npm run build",
  });
}
