// The record of which revision a generation carries. It is a versioned table like any other, so it changes with
// the commit and a restart finds it in the kernel.
import { appliedRevisionCodec, xdpFirewallMaps } from "../abi/index.ts";
import { type PackedTable, PackedTableBuilder, type TableSpec, tableSpec } from "../compile/index.ts";
import { forEachVisible, type ObservedState } from "./observe.ts";

export const appliedTable: TableSpec = tableSpec(xdpFirewallMaps.applied, {
  shape: "slots",
  presence: "present",
});

export interface Applied {
  /** 40 hex digits. */
  readonly commit: string;
  /** The commit that a rollback went away from and that must not be applied again, or undefined. */
  readonly held: string | undefined;
  /** Seconds since the epoch when it was prepared. */
  readonly timeS: number;
}

/** What the current generation says was applied; undefined if nothing ever was. */
export function readApplied(observed: ObservedState): Applied | undefined {
  const raw = observed.tables.get(appliedTable.name);
  let found: Applied | undefined;
  if (raw === undefined) return undefined;
  forEachVisible(raw, observed.generation, (_, at) => {
    const record = appliedRevisionCodec.decode(raw.values, at);
    found = {
      commit: Buffer.from(record.commit).toString("hex"),
      held: record.held.every((byte) => byte === 0) ? undefined : Buffer.from(record.held).toString("hex"),
      timeS: Number(record.timeS),
    };
  });
  return found;
}

/** The table that says so; one entry, or none before anything was applied. */
export function appliedEntries(applied: Applied | undefined): PackedTable {
  const builder = new PackedTableBuilder(appliedTable, 1);
  if (applied !== undefined) {
    const payload = appliedRevisionCodec.encode({
      commit: bytesOf(applied.commit),
      held: bytesOf(applied.held),
      timeS: BigInt(applied.timeS),
      present: 1,
    });
    builder.add(new Uint8Array(4), payload, 0);
  }
  return builder.build();
}

function bytesOf(commit: string | undefined): Uint8Array {
  const bytes = new Uint8Array(20);
  if (commit !== undefined) bytes.set(Buffer.from(commit, "hex").subarray(0, 20));
  return bytes;
}
