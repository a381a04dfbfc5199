// Which revision is in force, as the kernel says.
import {
  type Applied,
  appliedTable,
  decodeApplied,
  encodeApplied,
  type PackedTable,
  PackedTableBuilder,
} from "../compile/index.ts";
import { forEachVisible, type ObservedState } from "./observe.ts";
import type { Datapath } from "./ports.ts";

/** What the current generation says was applied; undefined if nothing ever was. */
export function readApplied(observed: ObservedState): Applied | undefined {
  const raw = observed.tables.get(appliedTable.name);
  let found: Applied | undefined;
  if (raw === undefined) return undefined;
  forEachVisible(raw, observed, (_, at) => {
    found = decodeApplied(raw.values, at);
  });
  return found;
}

/** The same, read from the kernel: one slot, whatever else it holds. */
export async function readAppliedNow(
  datapath: Pick<Datapath, "generation" | "read">,
): Promise<Applied | undefined> {
  const generation = datapath.generation().current;
  const tables = new Map([[appliedTable.name, await datapath.read(appliedTable)]]);
  return readApplied({ generation, tables, attached: [] });
}

/** The table that says so; one entry, or none before anything was applied. */
export function appliedEntries(applied: Applied | undefined): PackedTable {
  const builder = new PackedTableBuilder(appliedTable, 1);
  if (applied !== undefined) builder.add(new Uint8Array(4), encodeApplied(applied), 0);
  return builder.build();
}
