// Installs objects in place of whatever version is in force, with no packet unjudged and no state lost.
//
// The order makes every instant safe to be killed at:
//   1. load the programs; maps that changed are new and are filled. Nothing is visible: it all goes with the process.
//   2. bind all maps to each program, so that a program behind a link is the whole version (see in-force.ts).
//   3. put the new programs behind the links, one by one. Both versions hold the same policy at the same generation,
//      because whoever commits holds the lock that we hold. From the first link on the new version is in force.
//   4. wait until no old program runs; then take over what those have counted until now.
//   5. pin programs, then maps, each replaced in one step. Old maps live as long as their pin, which goes last.
// A start after a kill finds the newest version behind a link (or pinned) and does again what is missing.
import { join } from "node:path";
import { generationLayout, type ObjectAbi, offsetOf } from "../abi/index.ts";
import { bug, PenstockError } from "../base/index.ts";
import type { RuleIndexSpec, TableSpec } from "../compile/index.ts";
import { ConnectionMover, connectionKin, connectionTable } from "./connections.ts";
import { waitForGracePeriod } from "./grace.ts";
import { findInForce, type InForce, type PinnedLink, withLink } from "./in-force.ts";
import { KernelTypes } from "./kernel-types.ts";
import { type BpfMap, openPinnedMap } from "./map.ts";
import {
  beginsAnew,
  compareMap,
  downgradeRefused,
  isArrayMap,
  isCounted,
  type MapChange,
  type WantedMap,
} from "./map-change.ts";
import { addCounts, addMissing, type CarryOptions, copyEntries, readUsed } from "./migrate.ts";
import { mapPinPath, programPinPath } from "./object-reuse.ts";
import { type DatapathObject, type ObjectSet, openObjects } from "./object-set.ts";
import { pinsIncomplete } from "./pin-errors.ts";
import { listPins, unpin } from "./pins.ts";
import type { BpfProgram } from "./program.ts";
import { TableIndex } from "./table-index.ts";
import { modeOf, programFor } from "./twins.ts";

export interface InstallOptions {
  readonly objects: readonly DatapathObject[];
  /** What the objects are together. */
  readonly abi: ObjectAbi;
  readonly pinDirectory: string;
  readonly tables: readonly TableSpec[];
  readonly maxEntries: Readonly<Record<string, number>>;
  readonly reseal?: CarryOptions["reseal"];
  /** Is told each step that was done; for tests. */
  readonly observe?: ((step: string) => void) | undefined;
}

export interface Installed {
  readonly object: ObjectSet;
  /** The programs that links run, or shall run. */
  readonly programs: ReadonlyMap<string, BpfProgram>;
  /** What became other than it was, one sentence each; empty after a first installation, or if nothing did. */
  readonly changes: readonly string[];
  /** The open indexes of tables that have one, by the table's name. */
  readonly indexes: ReadonlyMap<string, TableIndex>;
}

/**
 * Loads the objects and puts them in force. Only for whoever holds the directory's lock. Throws what `openObjects` throws,
 * `pins-incomplete`, `migration-refused` and `downgrade-refused`; what was in force is in force then.
 */
export async function installObjects(options: InstallOptions): Promise<Installed> {
  const inForce = findInForce(options.pinDirectory, Object.keys(options.abi.maps));
  try {
    return await new Installation(options, inForce).run();
  } finally {
    inForce.close();
  }
}

class Installation {
  readonly #options: InstallOptions;
  readonly #inForce: InForce;
  readonly #types = new KernelTypes();
  readonly #words: string[] = [];
  readonly #indexes = new Map<string, TableIndex>();

  constructor(options: InstallOptions, inForce: InForce) {
    this.#options = options;
    this.#inForce = inForce;
  }

  async run(): Promise<Installed> {
    const { objects, maxEntries } = this.#options;
    await this.#refuseWhatIsUnknown();
    const changes = [...this.#inForce.maps.values()].map((map) => this.#compare(map));
    const same = new Set(changes.filter(({ words }) => words.length === 0).map(({ name }) => name));
    // An index says where in its table records stand: it is the same as long as all of both are.
    const kept = changes.filter(({ name }) =>
      (this.#indexPartsWith(name) ?? connectionKin(name) ?? [name]).every((n) => same.has(n)),
    );
    const sharedMaps = Object.fromEntries(kept.map(({ name, from }) => [name, from]));
    const object = openObjects(objects, { maxEntries, sharedMaps });
    try {
      this.#refuseBlindly(object);
      const changed = changes.filter(
        ({ name, words }) => words.length > 0 && !this.#isIndex(name) && connectionKin(name) === undefined,
      );
      const moved = changes.find((change) => change.name === connectionTable && !kept.includes(change));
      for (const { name, words } of changes)
        if (connectionKin(name) !== undefined) this.#words.push(...words);
      const programs = await this.#putInForce(object, changed, moved);
      return { object, programs, changes: this.#words, indexes: this.#indexes };
    } catch (cause) {
      for (const index of this.#indexes.values()) index.close();
      object.close();
      throw cause;
    }
  }

  async #putInForce(object: ObjectSet, changed: readonly MapChange[], moved: MapChange | undefined) {
    const mover = new ConnectionMover(object.programs);
    await mover.refuseTooMany(moved);
    const carry = { generation: this.#generation(), reseal: this.#options.reseal };
    for (const change of changed) {
      await copyEntries(change, object.map(change.name), carry);
      this.#words.push(...change.words);
    }
    await this.#openIndexes(object);
    if (moved !== undefined) await mover.adopt(moved, true);
    this.#observe("filled");
    for (const program of object.programs.values()) for (const map of object.maps.values()) program.bind(map);
    const programs = this.#choosePrograms(object);
    this.#moveLinks(programs);
    const former = this.#inForce.former.filter((map) => this.#isWrittenByPrograms(map));
    if (changed.length + former.length > 0 || moved !== undefined) await waitForGracePeriod();
    for (const [name, program] of programs) {
      program.pin(programPinPath(this.#options.pinDirectory, name));
      this.#observe(`pinned program ${name}`);
    }
    const sources = [...changed, ...former.map((map) => this.#compare(map))];
    if (moved !== undefined) sources.push(moved);
    for (const [name, map] of object.maps) {
      for (const source of sources)
        if (source.name === name) await this.#takeOverWritten(source, map, { carry, mover });
      this.#pinMap(name, map);
    }
    this.#unpinUnknown(object);
    return programs;
  }

  #compare(map: BpfMap): MapChange {
    return compareMap(map, this.#wanted(map.name), this.#types);
  }

  #wanted(name: string): WantedMap {
    const { abi, maxEntries } = this.#options;
    const layout = abi.maps[name];
    if (layout === undefined) throw bug(`Cannot compare map ${name}: this version has none`);
    return { layout, entriesMax: maxEntries[name] ?? layout.maxEntries, table: this.#tableOf(name) };
  }

  #tableOf(name: string): TableSpec | undefined {
    return this.#options.tables.find((table) => table.name === name);
  }

  /** Indexes say nothing of their own: they are made from the tables that the new programs see. */
  async #openIndexes(object: ObjectSet): Promise<void> {
    const generation =
      object.map("generation").lookup(new Uint8Array(4)) ?? new Uint8Array(generationLayout.size);
    const oldest = new DataView(generation.buffer).getBigUint64(offsetOf(generationLayout, "oldest"), true);
    for (const spec of this.#options.tables)
      if (spec.index !== undefined)
        this.#indexes.set(spec.name, await TableIndex.open(spec, object, Number(oldest)));
  }

  /** If a map is part of an index: all that the index is made of, the table included. */
  #indexPartsWith(name: string): readonly string[] | undefined {
    const spec = this.#options.tables.find(({ index }) => index !== undefined && isIndexMap(index, name));
    if (spec?.index === undefined) return undefined;
    const { index } = spec;
    return [spec.name, ...Object.keys(this.#options.abi.maps).filter((map) => isIndexMap(index, map))];
  }

  #isIndex(name: string): boolean {
    return this.#indexPartsWith(name) !== undefined;
  }

  /** What programs write, and only until they have all been replaced. Arrays that they write are not known yet. */
  #isWrittenByPrograms(map: BpfMap): boolean {
    if (this.#tableOf(map.name) !== undefined || this.#isIndex(map.name)) return false;
    if (connectionKin(map.name) !== undefined) return map.name === connectionTable;
    return !beginsAnew(map) && (isCounted(map) || !isArrayMap(map));
  }

  /** By which packets are judged, whatever the layout of the record is. */
  #generation(): bigint {
    const map = this.#inForce.maps.get("generation");
    const type = map === undefined ? undefined : this.#types.of(map).value;
    const record = map?.lookup(new Uint8Array(4));
    if (record === undefined || type?.kind !== "struct") return 0n;
    return new DataView(record.buffer).getBigUint64(offsetOf(type.layout, "current"), true);
  }

  /** State for which this version has no place is not thrown away, and neither is a lost map made anew. */
  async #refuseWhatIsUnknown(): Promise<void> {
    const { abi, pinDirectory } = this.#options;
    const { links, isCertain, maps, unknown } = this.#inForce;
    const missing = Object.keys(abi.maps).filter((name) => !maps.has(name));
    if (missing.length > 0 && links.length > 0 && !isCertain) throw pinsIncomplete(pinDirectory, missing);
    if (maps.size > 0) this.#words.push(...missing.map((name) => `${name}: new`));
    const programs = new Set(abi.programs.map(({ name }) => name));
    for (const { program } of links) {
      if (!programs.has(program))
        throw downgradeRefused(`program ${program}`, "it is attached, and this version does not have it");
    }
    for (const map of unknown) {
      const held = isCounted(map) || beginsAnew(map) ? 0 : (await readUsed(map)).count;
      if (held > 0)
        throw downgradeRefused(
          `map ${map.name}`,
          `this version does not have it, and it holds ${held} entries`,
        );
      this.#words.push(`${map.name}: dropped${isCounted(map) ? ", with what it counted" : ""}`);
    }
  }

  /** Layouts that cannot be compared are only taken for the same if the programs are. */
  #refuseBlindly(object: ObjectSet): void {
    if (!this.#types.isBlind) return;
    const tags = new Set(this.#inForce.programs.map((program) => program.info().tag));
    const other = [...object.programs].find(([, program]) => !tags.has(program.info().tag));
    if (other === undefined) return;
    throw new PenstockError({
      code: "migration-refused",
      disposition: "stalled",
      message: `Cannot put ${other[0]} in the place of another build: this process may not look at the layout of its maps`,
      remedy: "Grant CAP_SYS_ADMIN for this start, or run as root",
    });
  }

  /** A program that runs already, if it is the same and judges by the same maps: what need not move does not. */
  #choosePrograms(object: ObjectSet): Map<string, BpfProgram> {
    const ids = [...object.maps.values()].map(({ id }) => id);
    const chosen = new Map<string, BpfProgram>();
    for (const [name, program] of object.programs) {
      const { tag, name: kernelName } = program.info();
      const same = this.#inForce.programs.find((running) => {
        const info = running.info();
        const held = running.mapIds();
        return info.tag === tag && info.name === kernelName && ids.every((id) => held.includes(id));
      });
      chosen.set(name, same === undefined ? program : this.#inForce.keep(same));
    }
    return chosen;
  }

  #moveLinks(programs: ReadonlyMap<string, BpfProgram>): void {
    const moved: PinnedLink[] = [];
    try {
      for (const link of this.#inForce.links) {
        const target = programFor(programs, link.program, modeOf(link));
        if (target === undefined || link.info?.programId === target.info().id) continue;
        if (!putBehind(link, target)) continue;
        moved.push(link);
        this.#observe(`moved link ${moved.length}`);
      }
    } catch (cause) {
      for (const link of moved) this.#moveBack(link);
      throw cause;
    }
    if (moved.length === 0) return;
    const names = [...new Set(moved.map(({ program }) => program))];
    const tags = new Set(this.#inForce.programs.map((program) => program.info().tag));
    const isSame = names.every((name) => tags.has(programs.get(name)?.info().tag ?? ""));
    const what = isSame ? "loaded anew for other maps" : "another build";
    const interfaces = (links: readonly PinnedLink[]) => new Set(links.map(({ index }) => index)).size;
    const where = `on ${interfaces(moved)} of ${interfaces(this.#inForce.links)} interfaces`;
    this.#words.push(`${names.join(", ")}: ${what}, ${where}`);
  }

  #moveBack(link: PinnedLink): void {
    const before = this.#inForce.programs.find((program) => program.info().id === link.info?.programId);
    if (before !== undefined) putBehind(link, before);
  }

  async #takeOverWritten(
    source: MapChange,
    map: BpfMap,
    { carry, mover }: { readonly carry: CarryOptions; readonly mover: ConnectionMover },
  ): Promise<void> {
    if (!this.#isWrittenByPrograms(source.from)) return;
    if (source.name === connectionTable) await mover.adopt(source, false);
    else if (isCounted(source.from)) await addCounts(source, map);
    else await addMissing(source, map, carry);
    this.#observe(`took over ${source.name}`);
  }

  #pinMap(name: string, map: BpfMap): void {
    const { pinDirectory } = this.#options;
    const path = mapPinPath(pinDirectory, name);
    const pinned = openPinnedMap(path, name);
    const id = pinned?.id;
    pinned?.close();
    if (id === map.id) return;
    map.pin(path);
    if (id === undefined && this.#inForce.maps.get(name)?.id === map.id)
      this.#words.push(`${name}: its pin was lost and is back`);
    this.#observe(`pinned map ${name}`);
  }

  #unpinUnknown(object: ObjectSet): void {
    const { pinDirectory } = this.#options;
    for (const { name, path } of listPins(join(pinDirectory, "maps")))
      if (!object.maps.has(name)) unpin(path);
    for (const { name, path } of listPins(join(pinDirectory, "programs")))
      if (!object.programs.has(name)) unpin(path);
  }

  #observe(step: string): void {
    this.#options.observe?.(step);
  }
}

function isIndexMap(index: RuleIndexSpec, name: string): boolean {
  return name.startsWith(`${index.name}_`);
}

/** False if the link's interface has gone meanwhile. */
function putBehind(link: PinnedLink, program: BpfProgram): boolean {
  return (
    withLink(link.path, (open) => {
      if (open.info().ifindex === 0) return false;
      open.update(program);
      return true;
    }) ?? false
  );
}
