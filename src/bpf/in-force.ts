// What is in force, as the kernel itself knows it. Every map of a version is bound to its programs, so a program behind
// a link holds the whole set of maps that it judges by: pins are names for them and can be put back.
//
// An upgrade moves links first and pins afterwards, so the newest program behind a link tells which set of maps is in
// force; without links the newest pinned program does. Other maps of the same names are what an upgrade that was
// killed left behind.
import { join } from "node:path";
import { kernelNameBytes } from "../abi/index.ts";
import { isKernelError } from "./kernel-error.ts";
import { type BpfLink, openPinnedLink } from "./link.ts";
import { type BpfMap, openMapById, openPinnedMap } from "./map.ts";
import type { LinkInfo } from "./object-info.ts";
import { mapPinPath } from "./object-reuse.ts";
import { listPins } from "./pins.ts";
import { type BpfProgram, openPinnedProgram, openProgramById } from "./program.ts";

/** A link that is pinned under the names of its program and its interface. */
export interface PinnedLink {
  readonly program: string;
  readonly index: number;
  readonly path: string;
  readonly info: LinkInfo | undefined;
}

/** Where the link of a program on an interface is pinned. */
export function linkPinPath(pinDirectory: string, program: string, index: number): string {
  return join(pinDirectory, "links", `${program}-${index}`);
}

/** Every pinned link, with what the kernel says about it. */
export function listLinks(pinDirectory: string): PinnedLink[] {
  return listPins(join(pinDirectory, "links")).map(({ name, path }) => {
    const dash = name.lastIndexOf("-");
    const info = withLink(path, (link) => link.info());
    return { program: name.slice(0, dash), index: Number(name.slice(dash + 1)), path, info };
  });
}

/** The link that holds a program on an interface; undefined if none does. */
export function findLink(pinDirectory: string, program: string, index: number): PinnedLink | undefined {
  const path = linkPinPath(pinDirectory, program, index);
  const info = withLink(path, (link) => link.info());
  return info?.ifindex === index ? { program, index, path, info } : undefined;
}

/** Uses the link that is pinned at `path`; undefined if none is. */
export function withLink<T>(path: string, use: (link: BpfLink) => T): T | undefined {
  const link = openPinnedLink(path);
  if (link === undefined) return undefined;
  try {
    return use(link);
  } finally {
    link.close();
  }
}

export interface InForce {
  /** Links that hold a program on an interface. */
  readonly links: readonly PinnedLink[];
  /** Programs that run or are pinned, those that are in force first. */
  readonly programs: readonly BpfProgram[];
  /** Whether a program says which maps are in force; else only pins do. */
  readonly isCertain: boolean;
  /** Maps in force, by name: those of `names`, and others that this version does not know. */
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly unknown: readonly BpfMap[];
  /** Maps of the same names that are not in force any more, though programs may have counted in them until now. */
  readonly former: readonly BpfMap[];
  /** Leaves a program of `programs` open, for the caller to close. */
  keep(program: BpfProgram): BpfProgram;
  close(): void;
}

/** The map that every version has: programs without it are not ours. */
const mapOfOurs = "generation";

/** Finds out what is in force in a pin directory; `names` are the maps that this version knows. */
export function findInForce(pinDirectory: string, names: readonly string[]): InForce {
  const shelf = new MapShelf(names);
  const kept = new Set<BpfProgram>();
  const links = listLinks(pinDirectory).filter(
    ({ info }) => info?.ifindex !== undefined && info.ifindex !== 0,
  );
  const programs: BpfProgram[] = [];
  const close = () => {
    shelf.close();
    for (const program of programs) if (!kept.has(program)) program.close();
  };
  const keep = (program: BpfProgram) => {
    kept.add(program);
    return program;
  };
  try {
    programs.push(...newestFirst(openLinked(links)));
    const pinned = listPins(join(pinDirectory, "programs")).flatMap(
      ({ path, name }) => openPinnedProgram(path, name) ?? [],
    );
    programs.push(...newestFirst(pinned));
    const sets = programs.map((program) => openSet(program, shelf));
    const certain = sets.find((set) => set?.has(mapOfOurs));
    const pins = shelf.add(
      listPins(join(pinDirectory, "maps")).flatMap(
        ({ name }) => openPinnedMap(mapPinPath(pinDirectory, name), name) ?? [],
      ),
    );
    const all = new Map([...pins, ...(certain ?? [])]);
    const maps = new Map([...all].filter(([name]) => names.includes(name)));
    const unknown = [...(certain ?? pins)].filter(([name]) => !names.includes(name)).map(([, map]) => map);
    const current = new Set([...maps.values()].map(({ id }) => id));
    const former = shelf.maps().filter((map) => names.includes(map.name) && !current.has(map.id));
    return { links, programs, isCertain: certain !== undefined, maps, unknown, former, keep, close };
  } catch (cause) {
    close();
    throw cause;
  }
}

/** The programs behind links, each once. */
function openLinked(links: readonly PinnedLink[]): BpfProgram[] {
  const names = new Map(links.map(({ info, program }) => [info?.programId ?? 0, program]));
  return [...names].flatMap(([id, name]) => unlessForbidden(() => openProgramById(id, name)) ?? []);
}

/** The maps that a program holds, by name; undefined if they cannot be opened. */
function openSet(program: BpfProgram, shelf: MapShelf): Map<string, BpfMap> | undefined {
  return unlessForbidden(() => shelf.add(program.mapIds().map((id) => openMapById(id))));
}

/** Opening by id takes CAP_SYS_ADMIN. Without it pins are all there is, and they do as long as none was lost. */
function unlessForbidden<T>(open: () => T): T | undefined {
  try {
    return open();
  } catch (cause) {
    if (isKernelError(cause, "EPERM")) return undefined;
    throw cause;
  }
}

function newestFirst(programs: readonly BpfProgram[]): BpfProgram[] {
  const age = (program: BpfProgram) => program.info().loadTimeNs;
  return [...programs].sort((a, b) => (age(a) > age(b) ? -1 : age(a) < age(b) ? 1 : 0));
}

/** Open maps, each once, under their full names. */
class MapShelf {
  readonly #names: ReadonlyMap<string, string>;
  readonly #maps = new Map<number, BpfMap>();

  constructor(names: readonly string[]) {
    this.#names = new Map(names.map((name) => [name.slice(0, kernelNameBytes), name]));
  }

  /** Takes over open maps and gives them by name; what libbpf made for itself (`xdp_fire.rodata`) is left out. */
  add(maps: readonly BpfMap[]): Map<string, BpfMap> {
    return new Map(
      maps.flatMap((map) => {
        const kept = this.#keep(map);
        return kept === undefined ? [] : [[kept.name, kept] as const];
      }),
    );
  }

  maps(): BpfMap[] {
    return [...this.#maps.values()];
  }

  close(): void {
    for (const map of this.#maps.values()) map.close();
  }

  #keep(map: BpfMap): BpfMap | undefined {
    const known = this.#maps.get(map.id);
    const isInternal = map.name.includes(".");
    const name = this.#names.get(map.name) ?? map.name;
    const kept = known ?? (isInternal ? undefined : name === map.name ? map : openMapById(map.id, name));
    if (kept !== map) map.close();
    if (kept !== undefined) this.#maps.set(map.id, kept);
    return kept;
  }
}
