// Recovery: after a crash the maps themselves say what was prepared and not committed, or committed and not
// settled. Puts every table at rest in the current generation, without changing what packets see. Needs no
// journal and no policy, and can itself be interrupted at any point and run again. Foreign writes are not its
// business: those that packets see are drift, and are reported before they are healed.
import { startPace } from "../base/index.ts";
import { knownIds } from "./names.ts";
import { type ObservedState, observe } from "./observe.ts";
import type { Datapath, Logger, RawTable } from "./ports.ts";
import { isArray, isOwn, isVersioned, putAtRest, sinceOf, viewOf, visiblePayload } from "./versions.ts";
import { countOf } from "./words.ts";

export interface Recovery {
  /** Entries put back to rest, and entries removed, that packets did not see. */
  readonly restored: number;
  readonly removed: number;
}

/** Repairs what an interrupted transaction left. Idempotent. */
export async function recover(datapath: Datapath): Promise<Recovery> {
  const observed = await observe(datapath);
  // Nobody may still be judged by a generation older than the current one when sides are reused; nor by one that was
  // told just before that an older one is whole.
  datapath.retire(observed.generation);
  await datapath.grace();
  let restored = 0;
  let removed = 0;
  for (const { raw, restore, remove, end } of await findAll(datapath, observed)) {
    // First what is too much: some kernels replace nothing in a full trie.
    if (remove.length > 0) await datapath.remove(raw.spec, keysOf(raw, remove));
    if (restore.length > 0) {
      const { keys, values } = restValues(raw, restore, Number(observed.generation));
      await datapath.write(raw.spec, keys, values);
    }
    if (raw.spec.shape === "ordered" && datapath.endOf(raw.spec) !== end) {
      await datapath.setEnd(raw.spec, end);
      restored++;
    }
    restored += restore.length;
    removed += remove.length;
  }
  return { restored, removed };
}

/**
 * What is left over in each table, references first: one without a name is left over if a transaction was interrupted,
 * and that is seen from the other tables, which are put right after it.
 */
async function findAll(
  datapath: Pick<Datapath, "generation">,
  observed: ObservedState,
): Promise<(Leftovers & { readonly raw: RawTable })[]> {
  const tables = [...observed.tables.values()];
  const found: (Leftovers & { readonly raw: RawTable })[] = [];
  for (const raw of tables.filter(({ spec }) => isVersioned(spec)))
    found.push({ raw, ...(await findLeftovers(raw, Number(observed.generation))) });
  const wasInterrupted =
    datapath.generation().last > observed.generation ||
    found.some(({ restore, remove }) => restore.length + remove.length > 0);
  if (!wasInterrupted) return found;
  const references = tables.filter(({ spec }) => !isVersioned(spec));
  return [...references.map((raw) => ({ raw, ...unnamedReferences(raw, observed) })), ...found];
}

/**
 * Observes as a start would leave things: without what an interrupted transaction left behind, which packets do not
 * see. For whoever only looks; says once how many entries that concerns.
 */
export function observerAsRecovered(log: Logger): typeof observe {
  let said = 0;
  return async (datapath) => {
    const observed = await observe(datapath);
    const tables = new Map(observed.tables);
    let leftovers = 0;
    for (const { raw, restore, remove } of await findAll(datapath, observed)) {
      if (restore.length + remove.length === 0) continue;
      leftovers += restore.length + remove.length;
      tables.set(raw.spec.name, restedTable(raw, { restore, remove }, Number(observed.generation)));
    }
    if (leftovers !== said) {
      const entries = countOf(leftovers, "entry", "entries");
      const message = `An interrupted transaction left ${entries} that packets do not see; the next start of the agent puts that right`;
      log.warn({ leftovers }, message);
    }
    said = leftovers;
    return { ...observed, tables };
  };
}

function restedTable(
  raw: RawTable,
  { restore, remove }: Pick<Leftovers, "restore" | "remove">,
  generation: number,
): RawTable {
  const { spec, keys } = raw;
  const values = new Uint8Array(raw.values);
  const views = { keys: viewOf(keys), values: viewOf(values) };
  for (const i of restore)
    putAtRest(spec, { ...views, key: i * spec.keySize, value: i * spec.valueSize }, generation);
  const gone = new Set(remove);
  const left = Array.from({ length: raw.count }, (_, i) => i).filter((i) => !gone.has(i));
  return {
    spec,
    count: left.length,
    keys: packEntries(keys, spec.keySize, left),
    values: packEntries(values, spec.valueSize, left),
  };
}

/** Numbers of entries. */
interface Leftovers {
  readonly restore: readonly number[];
  readonly remove: readonly number[];
  readonly end: number;
}

const stepEntries = 16_384;

async function findLeftovers(raw: RawTable, generation: number): Promise<Leftovers> {
  const { spec } = raw;
  const view = viewOf(raw.values);
  const keys = viewOf(raw.keys);
  const restore: number[] = [];
  const remove: number[] = [];
  let end = 0;
  const pace = startPace(`look through ${spec.name}`);
  for (let i = 0; i < raw.count; i++) {
    const offset = i * spec.valueSize;
    const index = keys.getUint32(i * spec.keySize, true);
    if (i % stepEntries === 0) await pace.step(i);
    const isVisible = isOwn(spec, view, visiblePayload(spec, view, { offset, generation }));
    if (isVisible && spec.shape === "ordered") end = Math.max(end, index + 1);
    if (!isVisible && !isArray(spec)) remove.push(i);
    else if (sinceOf(view, offset) > generation) restore.push(i);
  }
  return { restore, remove, end };
}

/** What refers to devices, processors and programs lives as long as the directory names it. */
function unnamedReferences(raw: RawTable, observed: ObservedState): Leftovers {
  const named = new Set(
    knownIds(observed).flatMap(({ space, id }) => (space === raw.spec.space ? [id] : [])),
  );
  const keys = viewOf(raw.keys);
  const remove: number[] = [];
  for (let i = 0; i < raw.count; i++)
    if (!named.has(keys.getUint32(i * raw.spec.keySize, true))) remove.push(i);
  return { restore: [], remove, end: 0 };
}

function restValues(raw: RawTable, entries: readonly number[], generation: number) {
  const { spec } = raw;
  const keys = keysOf(raw, entries);
  const values = packEntries(raw.values, spec.valueSize, entries);
  const views = { keys: viewOf(keys), values: viewOf(values) };
  entries.forEach((_, i) => {
    putAtRest(spec, { ...views, key: i * spec.keySize, value: i * spec.valueSize }, generation);
  });
  return { keys, values };
}

function keysOf(raw: RawTable, entries: readonly number[]): Uint8Array {
  return packEntries(raw.keys, raw.spec.keySize, entries);
}

function packEntries(from: Uint8Array, size: number, entries: readonly number[]): Uint8Array {
  const packed = new Uint8Array(entries.length * size);
  entries.forEach((entry, i) => {
    packed.set(from.subarray(entry * size, (entry + 1) * size), i * size);
  });
  return packed;
}
