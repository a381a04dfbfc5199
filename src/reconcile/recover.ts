// Recovery: after a crash the maps themselves say what was prepared and not committed, or committed and not
// settled. Puts every table at rest in the current generation, without changing what packets see. Needs no
// journal and no policy, and can itself be interrupted at any point and run again. Foreign writes are not its
// business: those that packets see are drift, and are reported before they are healed.
import { startPace } from "../base/index.ts";
import type { IdSpace } from "../compile/index.ts";
import { knownIds } from "./names.ts";
import { type ObservedState, observe } from "./observe.ts";
import type { Datapath, RawTable } from "./ports.ts";
import { isArray, isOwn, isVersioned, putAtRest, sinceOf, viewOf, visiblePayload } from "./versions.ts";

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
  const named = namedReferences(observed);
  let restored = 0;
  let removed = 0;
  for (const raw of observed.tables.values()) {
    const found = await findLeftovers(raw, { generation: Number(observed.generation), named });
    if (found.restore.length > 0) {
      const { keys, values } = restValues(raw, found.restore, Number(observed.generation));
      await datapath.write(raw.spec, keys, values);
    }
    if (found.remove.length > 0) await datapath.remove(raw.spec, keysOf(raw, found.remove));
    if (raw.spec.shape === "ordered" && datapath.endOf(raw.spec) !== found.end) {
      await datapath.setEnd(raw.spec, found.end);
      restored++;
    }
    restored += found.restore.length;
    removed += found.remove.length;
  }
  return { restored, removed };
}

/** Numbers of entries. */
interface Leftovers {
  readonly restore: readonly number[];
  readonly remove: readonly number[];
  readonly end: number;
}

const stepEntries = 16_384;

async function findLeftovers(
  raw: RawTable,
  at: { readonly generation: number; readonly named: (space: IdSpace | undefined, id: number) => boolean },
): Promise<Leftovers> {
  const { spec } = raw;
  const { generation } = at;
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
    if (!isVersioned(spec)) {
      if (!at.named(spec.space, index)) remove.push(i);
      continue;
    }
    const isVisible = isOwn(spec, view, visiblePayload(spec, view, { offset, generation }));
    if (isVisible && spec.shape === "ordered") end = Math.max(end, index + 1);
    if (!isVisible && !isArray(spec)) remove.push(i);
    else if (sinceOf(view, offset) > generation) restore.push(i);
  }
  return { restore, remove, end };
}

/** What refers to devices, processors and programs lives as long as the directory names it. */
function namedReferences(observed: ObservedState): (space: IdSpace | undefined, id: number) => boolean {
  const named = new Set(knownIds(observed).map(({ space, id }) => `${space} ${id}`));
  return (space, id) => named.has(`${space} ${id}`);
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
