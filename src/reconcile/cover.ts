// Covering prefixes. The longest match hides shorter ones, so an entry of a prefix table that exists on one side
// only must repeat, on the other, what the nearest shorter prefix says there.
import { KeyIndex, type PackedTable, type TableSpec } from "../compile/index.ts";
import type { RawTable } from "./ports.ts";
import { isOwn, presence, sideOffset, viewOf, visibleSide } from "./versions.ts";

/** Finds what covers a key: the nearest shorter prefix of the same table that is an entry of its own. */
export interface CoverIndex {
  /** The covering entry's payload, marked as inherited; undefined if nothing covers the key. */
  coverOf(key: Uint8Array): Uint8Array | undefined;
}

/** Covers among the entries that packets see at `generation`. */
export function coversOfObserved(raw: RawTable, generation: bigint): CoverIndex {
  const view = viewOf(raw.values);
  return coverIndex(raw.spec, raw.keys, raw.count, (entry) => {
    const value = entry * raw.spec.valueSize;
    const at = sideOffset(raw.spec, value, visibleSide(view, value, generation));
    return isOwn(raw.spec, raw.values, at) ? raw.values.subarray(at, at + raw.spec.payloadSize) : undefined;
  });
}

/** Covers among desired entries. */
export function coversOfDesired(table: PackedTable): CoverIndex {
  const size = table.spec.payloadSize;
  return coverIndex(table.spec, table.keys, table.count, (entry) =>
    table.payloads.subarray(entry * size, (entry + 1) * size),
  );
}

function coverIndex(
  spec: TableSpec,
  keys: Uint8Array,
  count: number,
  payloadOf: (entry: number) => Uint8Array | undefined,
): CoverIndex {
  const view = viewOf(keys);
  const lengths = new Set<number>();
  for (let i = 0; i < count; i++) lengths.add(view.getUint32(i * spec.keySize, true));
  // Only lengths that occur are probed: a table of single hosts has no covering prefixes to look for.
  const descending = [...lengths].sort((a, b) => b - a);
  let index: KeyIndex | undefined;
  return {
    coverOf(key) {
      const length = viewOf(key).getUint32(0, true);
      for (const shorter of descending) {
        if (shorter >= length) continue;
        index ??= new KeyIndex(keys, spec.keySize);
        const entry = index.find(shortenKey(key, shorter));
        const payload = entry < 0 ? undefined : payloadOf(entry);
        if (payload === undefined) continue;
        const inherited = new Uint8Array(payload);
        inherited[spec.presenceOffset] = presence.inherited;
        return inherited;
      }
      return undefined;
    },
  };
}

/** The key of the prefix of `length` bits that holds `key`'s: the length first, then bits in network order. */
function shortenKey(key: Uint8Array, length: number): Uint8Array {
  const short = new Uint8Array(key.length);
  viewOf(short).setUint32(0, length, true);
  const whole = length >> 3;
  short.set(key.subarray(4, 4 + whole), 4);
  if ((length & 7) !== 0) short[4 + whole] = (key[4 + whole] ?? 0) & (0xff00 >> (length & 7));
  return short;
}
