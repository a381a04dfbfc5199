// Reads what the kernel holds: every table in full, the generation first. Only the agent writes policy tables
// and it does one thing at a time, so what is read is one state (foreign writes are what a drift scan is for).
import { entryAt, packedKeySize, type TableSpec } from "../compile/index.ts";
import type { Attached, Datapath, RawTable } from "./ports.ts";
import { isOwn, sideOffset, viewOf, visibleSide } from "./versions.ts";

export interface ObservedState {
  readonly generation: bigint;
  readonly tables: ReadonlyMap<string, RawTable>;
  readonly attached: readonly Attached[];
}

/** All tables, as they are now. */
export async function observe(datapath: Datapath): Promise<ObservedState> {
  const generation = datapath.generation().current;
  const tables = new Map<string, RawTable>();
  for (const spec of datapath.tables) tables.set(spec.name, await datapath.read(spec));
  return { generation, tables, attached: datapath.attached() };
}

/** Calls `visit` for each entry that packets see at `generation`: its number and where its payload begins. */
export function forEachVisible(
  raw: RawTable,
  generation: bigint,
  visit: (entry: number, payloadOffset: number) => void,
): void {
  const view = viewOf(raw.values);
  for (let i = 0; i < raw.count; i++) {
    const at = i * raw.spec.valueSize;
    const payload = sideOffset(raw.spec, at, visibleSide(view, at, generation));
    if (isOwn(raw.spec, raw.values, payload)) visit(i, payload);
  }
}

/** The key under which plans know an entry: the map's key, or the identity of an ordered entry. */
export function packedKeyOf(raw: RawTable, entry: number, payloadOffset: number): Uint8Array {
  const { spec } = raw;
  if (spec.identity === undefined) return entryAt(raw.keys, spec.keySize, entry);
  const at = payloadOffset + spec.identity.offset;
  return raw.values.subarray(at, at + packedKeySize(spec));
}

/** An empty table of a specification. */
export function emptyTable(spec: TableSpec): RawTable {
  return { spec, count: 0, keys: new Uint8Array(0), values: new Uint8Array(0) };
}
