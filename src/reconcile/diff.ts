// Desired against observed, table by table: which kernel entries have to be written so that packets see what
// is desired. Works on packed keys with one hash join; order and longest match are turned into plain keys first.
import { bug, startPace } from "../base/index.ts";
import {
  indexTable,
  type KeyIndex,
  type Owner,
  owners,
  type PackedTable,
  type TableSpec,
  wordsOf,
} from "../compile/index.ts";
import { ChangeList } from "./change-list.ts";
import { emptyTable } from "./observe.ts";
import { placeInSlots } from "./place-in-slots.ts";
import type { Datapath, RawTable } from "./ports.ts";
import { isArray, isAtRest, isOwn, ownerOf, viewOf, visiblePayload } from "./versions.ts";

/** What a table is compared for. */
export interface DiffOptions {
  readonly generation: bigint;
  /** Entries that the map can hold. */
  readonly capacity: number;
  /** Whose entries are desired; all others are left alone. Default: Git's. */
  readonly owner?: Owner;
}

export interface TableDiff {
  readonly spec: TableSpec;
  /** Whose entries are compared. */
  readonly owner: Owner;
  readonly observed: RawTable;
  /** Desired entries under the map's own keys: for ordered tables these are slots. */
  readonly desired: PackedTable;
  /** Finds desired entries by the map's key. */
  readonly index: KeyIndex;
  readonly changes: ChangeList;
  /** For each desired entry the observed entry of the same key, or -1. */
  readonly matches: Int32Array;
  /** Observed entries that packets see and that are not desired: those that go, and those of other owners. */
  readonly unmatched: readonly number[];
  /** Prefix tables: the lengths of prefixes that packets see before and after, the longest first. */
  readonly lengths: { readonly before: readonly number[]; readonly after: readonly number[] };
  /** Entries of the owner that packets see now, and shall see. */
  readonly visibleBefore: number;
  readonly visibleAfter: number;
  /** Entries of other owners. */
  readonly others: number;
  /** Most entries that the map holds while old and new stand side by side. */
  readonly peak: number;
  /** Ordered tables: behind the last slot that packets see now, and shall see. */
  readonly endBefore: number;
  readonly end: number;
}

/** Entries that are compared between two looks at the clock. */
const stepEntries = 8192;

/** Compares one table. Throws `table-full` if an ordered table has too few slots. */
export async function diffTable(
  observed: RawTable,
  wanted: PackedTable,
  options: DiffOptions,
): Promise<TableDiff> {
  const { spec } = observed;
  if (wanted.spec.name !== spec.name) throw bug(`Cannot compare ${wanted.spec.name} with ${spec.name}`);
  const desired = spec.shape === "ordered" ? placeInSlots(observed, wanted, options) : wanted;
  const join = new Join(desired, await indexTable(desired), options);
  join.meet(observed);
  return finish(join, observed);
}

/** Compares a table while it is read; not an ordered one, whose order is only known when all of it is. */
export async function diffWhileReading(
  datapath: Pick<Datapath, "read">,
  desired: PackedTable,
  options: DiffOptions,
): Promise<TableDiff> {
  const join = new Join(desired, await indexTable(desired), options);
  const observed = await datapath.read(desired.spec, (sofar) => {
    join.meet(sofar);
    join.compareUpTo(sofar.count);
  });
  join.meet(observed);
  return finish(join, observed);
}

async function finish(join: Join, observed: RawTable): Promise<TableDiff> {
  const pace = startPace(`compare ${observed.spec.name}`);
  for (let to = join.compared; to < observed.count; ) {
    to = Math.min(observed.count, to + stepEntries);
    join.compareUpTo(to);
    await pace.step(to);
  }
  for (let from = 0; from < join.desired.count; from += stepEntries) {
    join.collectDesired(from, Math.min(join.desired.count, from + stepEntries));
    await pace.step(from);
  }
  return join.result();
}

/** The hash join: observed entries find theirs among the desired ones. */
class Join {
  readonly desired: PackedTable;
  #observed: RawTable;
  readonly #index: KeyIndex;
  readonly #options: DiffOptions;
  readonly #generation: number;
  readonly #owner: number;
  #keys: { readonly observed: Uint32Array; readonly view: DataView };
  #values: DataView;
  readonly #payloads: DataView;
  /** What the index says of the observed entries that are met now. */
  #found = new Int32Array(0);
  readonly #matches: Int32Array;
  /** For each desired entry that was met whether it has to be written. */
  readonly #state: Uint8Array;
  readonly #changes = new ChangeList();
  readonly #gone: number[] = [];
  readonly #damaged: number[] = [];
  readonly #unmatched: number[] = [];
  #compared = 0;
  #visible = 0;
  #created = 0;
  #others = 0;
  #endBefore = 0;

  constructor(desired: PackedTable, index: KeyIndex, options: DiffOptions) {
    this.desired = desired;
    this.#index = index;
    this.#options = options;
    this.#generation = Number(options.generation);
    this.#owner = owners[options.owner ?? "git"];
    this.#payloads = viewOf(desired.payloads);
    this.#matches = new Int32Array(desired.count).fill(-1);
    this.#state = new Uint8Array(desired.count);
    this.#observed = emptyTable(desired.spec);
    this.#keys = { observed: new Uint32Array(0), view: new DataView(new ArrayBuffer(0)) };
    this.#values = this.#keys.view;
  }

  /** The observed table, as far as it is known: its first entries stay what they were. */
  meet(observed: RawTable): void {
    this.#observed = observed;
    this.#keys = { observed: wordsOf(observed.keys), view: viewOf(observed.keys) };
    this.#values = viewOf(observed.values);
  }

  /** Observed entries that were compared. */
  get compared(): number {
    return this.#compared;
  }

  compareUpTo(to: number): void {
    const { spec } = this.#observed;
    const from = this.#compared;
    this.#compared = to;
    if (this.#found.length < to - from) this.#found = new Int32Array(to - from);
    this.#index.findMany(this.#keys.observed, (from * spec.keySize) / 4, this.#found.subarray(0, to - from));
    for (let entry = from; entry < to; entry++) {
      const value = entry * spec.valueSize;
      const payload = visiblePayload(spec, this.#values, { offset: value, generation: this.#generation });
      const isVisible = isOwn(spec, this.#values, payload);
      const owner = ownerOf(spec, this.#values, payload);
      const isOurs = isVisible && owner === this.#owner;
      if (isOurs) this.#noteVisible(entry);
      else if (isVisible) this.#others++;
      const wanted = this.#found[entry - from] ?? -1;
      if (wanted < 0) this.#meetUnwanted(entry, isVisible, isOurs);
      else {
        this.#matches[wanted] = entry;
        // What has the say over a key stays, whoever else wants it.
        if (isVisible && owner < this.#owner) continue;
        const found = this.#compare(entry, wanted, isVisible ? payload : -1);
        // Most entries rest: of those only one place in memory is written.
        if (found !== state.rests) this.#state[wanted] = found;
      }
    }
  }

  #noteVisible(entry: number): void {
    const { spec } = this.#observed;
    this.#visible++;
    if (spec.shape !== "ordered") return;
    this.#endBefore = Math.max(this.#endBefore, this.#keys.view.getUint32(entry * spec.keySize, true) + 1);
  }

  #meetUnwanted(entry: number, isVisible: boolean, isOurs: boolean): void {
    const { spec } = this.#observed;
    if (isVisible) this.#unmatched.push(entry);
    if (isOurs) this.#gone.push(entry);
    // In arrays an absent slot at rest is simply free; in other maps nothing invisible may stay behind.
    else if (!isVisible && (!isArray(spec) || !this.#isAtRest(entry))) this.#damaged.push(entry);
  }

  #compare(entry: number, wanted: number, payload: number): number {
    const { spec } = this.#observed;
    const size = spec.payloadSize;
    const desired = wanted * size;
    if (payload < 0) return state.differs;
    for (let i = 0; i < size; i += 4) {
      if (this.#values.getUint32(payload + i, true) === this.#payloads.getUint32(desired + i, true)) continue;
      return state.differs;
    }
    return this.#isAtRest(entry) ? state.rests : state.damaged;
  }

  #isAtRest(entry: number): boolean {
    const { spec } = this.#observed;
    const place = {
      keys: this.#keys.view,
      key: entry * spec.keySize,
      values: this.#values,
      value: entry * spec.valueSize,
    };
    return isAtRest(spec, place, this.#generation);
  }

  collectDesired(from: number, to: number): void {
    for (let wanted = from; wanted < to; wanted++) {
      const entry = this.#matches[wanted] ?? -1;
      if (entry < 0) {
        this.#created++;
        this.#changes.add("add", -1, wanted);
        continue;
      }
      const found = this.#state[wanted];
      if (found === state.rests) continue;
      const kind = found === state.damaged ? "repair" : this.#isVisible(entry) ? "change" : "add";
      this.#changes.add(kind, entry, wanted);
    }
  }

  #isVisible(entry: number): boolean {
    const { spec } = this.#observed;
    const at = { offset: entry * spec.valueSize, generation: this.#generation };
    return isOwn(spec, this.#values, visiblePayload(spec, this.#values, at));
  }

  /** Prefixes of these lengths may cover others. What goes counts as seen afterwards too: that does no harm. */
  #lengths(): TableDiff["lengths"] {
    const { spec } = this.#observed;
    if (spec.shape !== "prefix") return { before: [], after: [] };
    const keyWords = spec.keySize / 4;
    const [before, after] = [new Uint8Array(spec.keySize * 8), new Uint8Array(spec.keySize * 8)];
    const keys = wordsOf(this.desired.keys);
    for (let wanted = 0; wanted < this.#matches.length; wanted++) {
      const length = keys[wanted * keyWords] ?? 0;
      after[length] = 1;
      if ((this.#matches[wanted] ?? -1) >= 0) before[length] = 1;
    }
    for (const entry of this.#unmatched) {
      const length = this.#keys.observed[entry * keyWords] ?? 0;
      before[length] = after[length] = 1;
    }
    const longestFirst = (occurs: Uint8Array) =>
      [...occurs.keys()].filter((length) => occurs[length] === 1).reverse();
    return { before: longestFirst(before), after: longestFirst(after) };
  }

  result(): TableDiff {
    const { spec, count } = this.#observed;
    const { desired } = this;
    const changes = this.#changes;
    for (const entry of this.#gone) changes.add("remove", entry, -1);
    for (const entry of this.#damaged) changes.add("repair", entry, -1);
    return {
      spec,
      owner: this.#options.owner ?? "git",
      observed: this.#observed,
      desired,
      index: this.#index,
      changes,
      matches: this.#matches,
      unmatched: this.#unmatched,
      lengths: this.#lengths(),
      visibleBefore: this.#visible,
      visibleAfter: desired.count,
      others: this.#others,
      peak: isArray(spec) ? desired.count : count + this.#created,
      endBefore: this.#endBefore,
      end: spec.shape === "ordered" ? lastSlot(desired) + 1 : 0,
    };
  }
}

/** What is found of a desired entry that the kernel holds. */
const state = { rests: 0, differs: 1, damaged: 2 } as const;

function lastSlot(desired: PackedTable): number {
  const { keySize } = desired.spec;
  return desired.count === 0 ? -1 : viewOf(desired.keys).getUint32((desired.count - 1) * keySize, true);
}

/** Entries that are of no use any more: what packets see and shall not, and what nobody sees. */
export function countGone({ changes }: Pick<TableDiff, "changes">): number {
  let gone = 0;
  for (let n = 0; n < changes.count; n++) if (changes.desiredAt(n) < 0) gone++;
  return gone;
}
