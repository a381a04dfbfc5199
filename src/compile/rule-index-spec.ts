// What of an ordered table's record the index before it may know (bpf/lib/rule_index.h), and how large the index is
// made. The index is a hint: what it does not know of a record, the record says itself.

/** Where ranges stand in a record: pairs of 16-bit numbers. */
export interface IndexedField {
  readonly ranges: number;
  /** The byte that says how many are in use; 0: everything matches. */
  readonly count: number;
  readonly most: number;
}

/** Where an address stands in a record, and the flags that say whether it counts. */
export interface IndexedAddress {
  readonly flag: number;
  readonly notFlag: number;
  readonly address: number;
  readonly mask: number;
  /** With a set here the prefix is not all that matches. */
  readonly sets: number;
  readonly family: number;
}

/** Offsets in the record, and bits of its flags. */
export interface RuleIndexSpec {
  /** What the names of the index's maps begin with. */
  readonly name: string;
  readonly flags: number;
  readonly source: IndexedAddress;
  readonly destination: IndexedAddress;
  /** Set if the ranges are of ports. */
  readonly portsFlag: number;
  readonly sourcePorts: IndexedField;
  /** Or types and codes of ICMP. */
  readonly destinationPorts: IndexedField;
  readonly icmpFlag: number;
  /** A bit for each protocol. */
  readonly protocols: number;
}

/** What an index over `slots` records may hold. */
export interface IndexRoom {
  readonly classes: number;
  /** Lines of 64 bytes. */
  readonly lines: number;
  readonly chunks: number;
  readonly prefixes: number;
}

/** Room for rules of every kind that were seen in real filters, and for any of them alone. */
export function indexRoomFor(slots: number): IndexRoom {
  return {
    classes: 4 * slots + 1024,
    lines: 8 * slots + 4096,
    chunks: 2 * slots + 64,
    prefixes: 2 * slots,
  };
}

/**
 * Capacities of the index's maps. They are twice what an index may hold: old and new stand side by side while a
 * transaction runs, and while one agent takes over from another.
 */
export function indexCapacitiesFor(name: string, slots: number): Readonly<Record<string, number>> {
  const room = indexRoomFor(slots);
  const unitWords = slots <= 16_384 ? 1 : slots <= 32_768 ? 2 : 4;
  return {
    [`${name}_classes`]: Math.ceil((2 * room.classes) / 16),
    [`${name}_rows`]: 2 * room.lines,
    [`${name}_chunks`]: 2 * room.chunks,
    [`${name}_any`]: 4 + 256 * unitWords,
    [`${name}_v6`]: 2 * room.prefixes,
  };
}
