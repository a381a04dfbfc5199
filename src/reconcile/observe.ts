// Reads what the kernel holds: every table in full, the generation first. Only the agent writes policy tables
// and it does one thing at a time, so what is read is one state (foreign writes are what a drift scan is for).
import { type Owner, owners, packedKeySize, type TableSpec } from "../compile/index.ts";
import type { Attached, Datapath, RawTable } from "./ports.ts";
import { isOwn, ownerOf, viewOf, visiblePayload } from "./versions.ts";

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

/**
 * Calls `visit` for each of Git's entries that packets see at `generation`: its number and where its payload begins.
 * `owner` asks for somebody else's.
 */
export function forEachVisible(
  raw: RawTable,
  at: { readonly generation: bigint; readonly owner?: Owner },
  visit: (entry: number, payloadOffset: number) => void,
): void {
  const { spec } = raw;
  const view = viewOf(raw.values);
  const generation = Number(at.generation);
  const owner = owners[at.owner ?? "git"];
  for (let i = 0; i < raw.count; i++) {
    const payload = visiblePayload(spec, view, { offset: i * spec.valueSize, generation });
    if (isOwn(spec, view, payload) && ownerOf(spec, view, payload) === owner) visit(i, payload);
  }
}

/** The key under which plans know an entry: the map's key, or the identity of an ordered entry. */
export function packedKeyOf(raw: RawTable, entry: number, payloadOffset: number): Uint8Array {
  const { spec } = raw;
  const size = packedKeySize(spec);
  if (spec.identity === undefined) return raw.keys.subarray(entry * size, (entry + 1) * size);
  const at = payloadOffset + spec.identity.offset;
  return raw.values.subarray(at, at + size);
}

/** An empty table of a specification. */
export function emptyTable(spec: TableSpec): RawTable {
  return { spec, count: 0, keys: new Uint8Array(0), values: new Uint8Array(0) };
}
