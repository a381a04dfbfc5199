// Digests of what packets see of Git's entries: equal states have equal digests, whatever stands on the hidden sides
// and, for ordered tables, in whichever slots the entries are.
import { createHash } from "node:crypto";
import { startPace } from "../base/index.ts";
import type { PackedTable, TableSpec } from "../compile/index.ts";
import { forEachVisible, type ObservedState } from "./observe.ts";
import type { RawTable } from "./ports.ts";
import { countUp, sortKeys } from "./sort-keys.ts";
import { viewOf } from "./versions.ts";

/** Hex SHA-256 of each table's visible entries, by table name. */
export async function digestObserved(observed: ObservedState): Promise<Record<string, string>> {
  const digests: Record<string, string> = {};
  for (const [name, raw] of observed.tables) digests[name] = await digestRaw(raw, observed.generation);
  return digests;
}

async function digestRaw(raw: RawTable, generation: bigint): Promise<string> {
  const { spec } = raw;
  const entries = new Uint32Array(raw.count);
  const payloads = new Uint32Array(raw.count);
  let count = 0;
  forEachVisible(raw, { generation }, (entry, at) => {
    entries[count] = entry;
    payloads[count++] = at;
  });
  if (spec.shape === "ordered") {
    const slots = viewOf(raw.keys);
    const slotOf = (i: number) => slots.getUint32((entries[i] ?? 0) * spec.keySize, true);
    const order = countUp(count).sort((a, b) => slotOf(a) - slotOf(b));
    return digestInOrder(spec, order, {
      keys: undefined,
      payloads: raw.values,
      payloadAt: (i) => payloads[i] ?? 0,
    });
  }
  const keys = new Uint8Array(count * spec.keySize);
  for (let i = 0; i < count; i++) {
    const at = (entries[i] ?? 0) * spec.keySize;
    keys.set(raw.keys.subarray(at, at + spec.keySize), i * spec.keySize);
  }
  return digestInOrder(spec, await sortKeys(keys, spec.keySize), {
    keys,
    payloads: raw.values,
    payloadAt: (i) => payloads[i] ?? 0,
  });
}

const digests = new WeakMap<PackedTable, string>();

/** The digest that a table has when packets see exactly these entries. */
export async function digestDesired(table: PackedTable): Promise<string> {
  const known = digests.get(table);
  if (known !== undefined) return known;
  const { spec, keys, payloads, count } = table;
  const ordered = spec.shape === "ordered";
  const order = ordered ? countUp(count) : await sortKeys(keys, spec.keySize);
  const digest = await digestInOrder(spec, order, {
    keys: ordered ? undefined : keys,
    payloads,
    payloadAt: (i) => i * spec.payloadSize,
  });
  digests.set(table, digest);
  return digest;
}

interface Entries {
  /** Undefined where keys are only places. */
  readonly keys: Uint8Array | undefined;
  readonly payloads: Uint8Array;
  payloadAt(entry: number): number;
}

/** Entries that are hashed at once. */
const chunkEntries = 8192;

async function digestInOrder(spec: TableSpec, order: Uint32Array, entries: Entries): Promise<string> {
  const { keys, payloads } = entries;
  const keySize = keys === undefined ? 0 : spec.keySize;
  const size = keySize + spec.payloadSize;
  const hash = createHash("sha256");
  const chunk = new Uint8Array(Math.min(chunkEntries, order.length) * size);
  const pace = startPace(`hash ${spec.name}`);
  for (let from = 0; from < order.length; from += chunkEntries) {
    const to = Math.min(order.length, from + chunkEntries);
    for (let n = from; n < to; n++) {
      const i = order[n] ?? 0;
      const at = (n - from) * size;
      if (keys !== undefined) chunk.set(keys.subarray(i * keySize, (i + 1) * keySize), at);
      const payload = entries.payloadAt(i);
      chunk.set(payloads.subarray(payload, payload + spec.payloadSize), at + keySize);
    }
    hash.update(chunk.subarray(0, (to - from) * size));
    await pace.step(from);
  }
  return hash.digest("hex");
}
