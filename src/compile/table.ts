// Packed tables: entries as two flat buffers (keys, payloads), so that a million of them are a few megabytes
// and no million objects. What a table is called, how its entries are laid out and how it becomes versioned
// is its specification; nothing here knows what an entry means.
import { type IdSpace, type Owner, Owner as ownerNumbers, Presence } from "../abi/index.ts";
import { bug } from "../base/index.ts";
import type { LimitsConfiguration } from "../policy/index.ts";
import { indexKeys, KeyIndex } from "./key-index.ts";
import type { RuleIndexSpec } from "./rule-index-spec.ts";

/**
 * How a table is looked up and therefore how it is versioned:
 * `keyed` by exact key in a hash map (sides carry a sum of what they are), `prefix` by longest match (an entry that
 * exists on one side only repeats the covering prefix on the other), `ordered` by position in an array that
 * packets walk (desired entries have an identity and an order, slots are found while planning), `slots` by
 * index in an array; a large payload there is a bank, and its two sides are the two banks. `references` are maps of
 * devices, processors and programs: put there before the commit, taken out after it, and only versioned entries
 * refer to them by a key that never changes its meaning.
 */
export type TableShape = "keyed" | "prefix" | "ordered" | "slots" | "references";

export interface TableSpec {
  /** The kernel map's name. */
  readonly name: string;
  readonly shape: TableShape;
  /** Bytes of the map's key. */
  readonly keySize: number;
  /** Bytes of one side of the map's value. */
  readonly payloadSize: number;
  /** Bytes of the map's value: version word, sums for keyed tables, both sides. */
  readonly valueSize: number;
  /** Where the two sides begin in the value. */
  readonly sideOffset: number;
  /** Where the 32-bit sums of both sides stand in the value; only keyed tables have them. */
  readonly checkOffset: number | undefined;
  /** The payload's byte that is 0 if the side is absent; prefix tables hold `enum presence` in it. */
  readonly presenceOffset: number;
  /** The payload's byte that holds `enum owner`; undefined if all entries are Git's. */
  readonly ownerOffset: number | undefined;
  /** Ordered tables: bytes of an entry's identity (see `OrderedIdentity`). */
  readonly identity: OrderedIdentity | undefined;
  /** Keyed tables: the map with the Bloom filter that stands before them, if there is one. */
  readonly filter: string | undefined;
  /** The field of the configuration's `limits` that gives the map its size; absent if none does. */
  readonly limit?: keyof LimitsConfiguration | undefined;
  /** References: the space whose ids their keys are. An entry lives as long as the directory names its key. */
  readonly space: IdSpace | undefined;
  /** Ordered tables: the index that says which slots may match a packet, if there is one. */
  readonly index: RuleIndexSpec | undefined;
}

/** Whose an entry is: the C side's `enum owner`. */
export type { Owner };
export const owners = ownerNumbers;

/** What the presence byte of a prefix table's payload says; elsewhere 0 is absent and anything else present. */
export const presence = Presence;

/** Where in an ordered table's payload its identity stands: bytes that name the entry wherever it moves. */
export interface OrderedIdentity {
  readonly offset: number;
  readonly size: number;
}

/** Entries of one table: `count` keys and payloads, one behind the other. */
export interface PackedTable {
  readonly spec: TableSpec;
  readonly count: number;
  /** count * keySize bytes; ordered tables have identities for keys, in evaluation order. */
  readonly keys: Uint8Array;
  /** count * payloadSize bytes. */
  readonly payloads: Uint8Array;
  /** For each entry an index into the desired state's provenances. */
  readonly origins: Uint32Array;
}

const indexes = new WeakMap<PackedTable, KeyIndex>();

/** The index of a table's keys: made once, however often it is asked for. */
export async function indexTable(table: PackedTable): Promise<KeyIndex> {
  const index = indexes.get(table) ?? (await indexKeys(table.keys, packedKeySize(table.spec)));
  indexes.set(table, index);
  return index;
}

/** Bytes of a key in a packed table of this specification: of the map's key, or of the identity. */
export function packedKeySize(spec: TableSpec): number {
  return spec.identity === undefined ? spec.keySize : spec.identity.size;
}

/** Collects entries of one table; grows by doubling. */
export class PackedTableBuilder {
  readonly spec: TableSpec;
  readonly #keySize: number;
  #count = 0;
  #keys: Uint8Array;
  #payloads: Uint8Array;
  #origins: Uint32Array;

  constructor(spec: TableSpec, capacity = 64) {
    this.spec = spec;
    this.#keySize = packedKeySize(spec);
    this.#keys = new Uint8Array(capacity * this.#keySize);
    this.#payloads = new Uint8Array(capacity * spec.payloadSize);
    this.#origins = new Uint32Array(capacity);
  }

  get count(): number {
    return this.#count;
  }

  /** Appends a copy of one entry. */
  add(key: Uint8Array, payload: Uint8Array, origin: number): void {
    if (key.length !== this.#keySize || payload.length !== this.spec.payloadSize) {
      throw bug(`Cannot add an entry to ${this.spec.name}: its key or payload has the wrong size`, {
        key: key.length,
        payload: payload.length,
      });
    }
    if (this.#count === this.#origins.length) this.#grow();
    this.#keys.set(key, this.#count * this.#keySize);
    this.#payloads.set(payload, this.#count * this.spec.payloadSize);
    this.#origins[this.#count] = origin;
    this.#count++;
  }

  /** The table so far; the builder must not be used afterwards. Of equal keys of a prefix table the first counts. */
  build(): PackedTable {
    if (this.spec.shape !== "prefix") return this.#table();
    const index = new KeyIndex(this.#keys.subarray(0, this.#count * this.#keySize), this.#keySize);
    const repeated = index.enter(0, this.#count);
    this.#drop(repeated);
    const table = this.#table();
    if (repeated.length === 0) indexes.set(table, index);
    return table;
  }

  #table(): PackedTable {
    return {
      spec: this.spec,
      count: this.#count,
      keys: this.#keys.subarray(0, this.#count * this.#keySize),
      payloads: this.#payloads.subarray(0, this.#count * this.spec.payloadSize),
      origins: this.#origins.subarray(0, this.#count),
    };
  }

  /** Closes the gaps that these entries leave. */
  #drop(entries: readonly number[]): void {
    let to = entries[0] ?? this.#count;
    entries.forEach((entry, i) => {
      const from = entry + 1;
      const end = entries[i + 1] ?? this.#count;
      const { payloadSize } = this.spec;
      this.#keys.copyWithin(to * this.#keySize, from * this.#keySize, end * this.#keySize);
      this.#payloads.copyWithin(to * payloadSize, from * payloadSize, end * payloadSize);
      this.#origins.copyWithin(to, from, end);
      to += end - from;
    });
    this.#count = to;
  }

  #grow(): void {
    const double = (old: Uint8Array) => {
      const grown = new Uint8Array(old.length * 2);
      grown.set(old);
      return grown;
    };
    this.#keys = double(this.#keys);
    this.#payloads = double(this.#payloads);
    const origins = new Uint32Array(this.#origins.length * 2);
    origins.set(this.#origins);
    this.#origins = origins;
  }
}

/** The bytes of entry `index` in a flat buffer of entries of `size` bytes; a view, not a copy. */
export function entryAt(buffer: Uint8Array, size: number, index: number): Uint8Array {
  return buffer.subarray(index * size, (index + 1) * size);
}

/** True if `size` bytes of `a` at `aOffset` equal those of `b` at `bOffset`. */
export function equalAt(
  a: Uint8Array,
  aOffset: number,
  b: Uint8Array,
  bOffset: number,
  size: number,
): boolean {
  for (let i = 0; i < size; i++) if (a[aOffset + i] !== b[bOffset + i]) return false;
  return true;
}
