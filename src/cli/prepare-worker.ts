// The thread in which a large policy is prepared: takes its input when it starts, answers once, and ends.
import { parentPort, workerData } from "node:worker_threads";
import type { DesiredState, PackedTable } from "../compile/index.ts";
import { kinds } from "../kinds/index.ts";
import { type PreparedPolicy, preparePolicy } from "../reconcile/index.ts";
import type { ThreadInput } from "./prepare-elsewhere.ts";

const prepared = preparePolicy({ ...(workerData as ThreadInput), kinds });
if (prepared.ok) {
  const desired = toSize(prepared.desired);
  const { geo, diagnostics } = prepared;
  const answer: PreparedPolicy = { ok: true, desired, geo, diagnostics };
  parentPort?.postMessage(answer, buffersOf(desired));
} else {
  parentPort?.postMessage(prepared);
}

/** The same in buffers of the tables' size: those that grew by doubling are up to twice as large. */
function toSize(desired: DesiredState): DesiredState {
  const sized = (table: PackedTable): PackedTable => ({
    ...table,
    keys: table.keys.slice(),
    payloads: table.payloads.slice(),
    origins: table.origins.slice(),
  });
  return { ...desired, tables: new Map([...desired.tables].map(([name, table]) => [name, sized(table)])) };
}

/** Handed over, they are not copied. */
function buffersOf({ tables }: DesiredState): ArrayBuffer[] {
  return [...tables.values()].flatMap(({ keys, payloads, origins }) =>
    [keys, payloads, origins].map(({ buffer }) => buffer as ArrayBuffer),
  );
}
