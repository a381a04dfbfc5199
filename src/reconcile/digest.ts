// Digests of what packets see: equal states have equal digests, whatever stands on the hidden sides and, for
// ordered tables, in whichever slots the entries are.
import { createHash } from "node:crypto";
import type { PackedTable, TableSpec } from "../compile/index.ts";
import { forEachVisible, type ObservedState } from "./observe.ts";
import { viewOf } from "./versions.ts";

/** Hex SHA-256 of each table's visible entries, by table name. */
export function digestObserved(observed: ObservedState): Record<string, string> {
  const digests: Record<string, string> = {};
  for (const [name, raw] of observed.tables) {
    const { spec } = raw;
    const places: Place[] = [];
    forEachVisible(raw, observed.generation, (entry, at) => {
      places.push({ key: entry * spec.keySize, payload: at });
    });
    digests[name] = digestEntries(spec, { keys: raw.keys, payloads: raw.values, places });
  }
  return digests;
}

/** The digest that a table has when packets see exactly these entries. */
export function digestDesired(table: PackedTable): string {
  const { spec, keys, payloads } = table;
  const places: Place[] = [];
  for (let i = 0; i < table.count; i++) places.push({ key: i * spec.keySize, payload: i * spec.payloadSize });
  return digestEntries(spec, { keys, payloads, places, inOrder: spec.shape === "ordered" });
}

interface Place {
  readonly key: number;
  readonly payload: number;
}

interface Entries {
  readonly keys: Uint8Array;
  readonly payloads: Uint8Array;
  readonly places: Place[];
  /** The places are in the table's order already. */
  readonly inOrder?: boolean;
}

function digestEntries(spec: TableSpec, entries: Entries): string {
  const { keys, payloads, places } = entries;
  const hash = createHash("sha256");
  const ordered = spec.shape === "ordered";
  if (ordered && entries.inOrder !== true) {
    const slots = viewOf(keys);
    places.sort((a, b) => slots.getUint32(a.key, true) - slots.getUint32(b.key, true));
  } else if (!ordered) {
    places.sort((a, b) => compareAt(keys, a.key, b.key, spec.keySize));
  }
  for (const { key, payload } of places) {
    if (!ordered) hash.update(keys.subarray(key, key + spec.keySize));
    hash.update(payloads.subarray(payload, payload + spec.payloadSize));
  }
  return hash.digest("hex");
}

function compareAt(bytes: Uint8Array, a: number, b: number, size: number): number {
  for (let i = 0; i < size; i++) {
    const difference = (bytes[a + i] ?? 0) - (bytes[b + i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
