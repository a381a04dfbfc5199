// Recovery: after a crash the maps themselves say what was prepared and not committed, or committed and not
// settled. Puts every table at rest in the current generation, without changing what packets see. Needs no
// journal and no policy, and can itself be interrupted at any point and run again. Foreign writes are not its
// business: those that packets see are drift, and are reported before they are healed.
import { entryAt } from "../compile/index.ts";
import { isArray } from "./diff.ts";
import { observe } from "./observe.ts";
import type { Datapath, RawTable } from "./ports.ts";
import { isOwn, restValue, sideOffset, sinceOf, viewOf, visibleSide } from "./versions.ts";

export interface Recovery {
  /** Entries put back to rest, and entries removed, that packets did not see. */
  readonly restored: number;
  readonly removed: number;
}

/** Repairs what an interrupted transaction left. Idempotent. */
export async function recover(datapath: Datapath): Promise<Recovery> {
  const observed = await observe(datapath);
  // Nobody may still be judged by a generation older than the current one when sides are reused.
  await datapath.grace();
  let restored = 0;
  let removed = 0;
  for (const raw of observed.tables.values()) {
    const found = leftovers(raw, observed.generation);
    if (found.restore.length > 0) {
      const keys = Buffer.concat(found.restore.map(([key]) => key));
      const values = Buffer.concat(found.restore.map(([, value]) => value));
      await datapath.write(raw.spec, keys, values);
    }
    if (found.remove.length > 0) await datapath.remove(raw.spec, Buffer.concat(found.remove));
    if (raw.spec.shape === "ordered" && datapath.endOf(raw.spec) !== found.end) {
      await datapath.setEnd(raw.spec, found.end);
      restored++;
    }
    restored += found.restore.length;
    removed += found.remove.length;
  }
  return { restored, removed };
}

interface Leftovers {
  readonly restore: readonly (readonly [Uint8Array, Uint8Array])[];
  readonly remove: readonly Uint8Array[];
  readonly end: number;
}

function leftovers(raw: RawTable, generation: bigint): Leftovers {
  const { spec } = raw;
  const view = viewOf(raw.values);
  const restore: (readonly [Uint8Array, Uint8Array])[] = [];
  const remove: Uint8Array[] = [];
  let end = 0;
  for (let i = 0; i < raw.count; i++) {
    const at = i * spec.valueSize;
    const key = entryAt(raw.keys, spec.keySize, i);
    const own = isOwn(spec, raw.values, sideOffset(spec, at, visibleSide(view, at, generation)));
    if (own && spec.shape === "ordered") end = Math.max(end, viewOf(key).getUint32(0, true) + 1);
    if (!own && !isArray(spec)) remove.push(key);
    else if (sinceOf(view, at) > generation) {
      restore.push([key, restValue(spec, key, entryAt(raw.values, spec.valueSize, i), generation)]);
    }
  }
  return { restore, remove, end };
}
