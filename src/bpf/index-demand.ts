// What a record says about the fields of a packet that an index knows. Where the fields stand in the record is the
// table's description to say; everything that is not simply a prefix or ranges is left to the record itself.
import type { IndexedField, RuleIndexSpec } from "../compile/index.ts";
import type { Prefix } from "./prefix-tree.ts";
import type { NumberRange } from "./range-field.ts";

/** A prefix of one family. */
export interface FamilyPrefix extends Prefix {
  readonly family: 4 | 6;
}

/** For each field what matches, or undefined if the record does not restrict it; no range: nothing matches. */
export interface Demand {
  readonly source: FamilyPrefix | undefined;
  readonly destination: FamilyPrefix | undefined;
  readonly sourcePorts: readonly NumberRange[] | undefined;
  readonly destinationPorts: readonly NumberRange[] | undefined;
  readonly icmp: readonly NumberRange[] | undefined;
  readonly protocols: readonly NumberRange[] | undefined;
}

/** Reads the demand of a record. */
export function readDemand(spec: RuleIndexSpec, payload: Uint8Array): Demand {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const flags = view.getUint32(spec.flags, true);
  const has = (flag: number) => (flags & flag) !== 0;
  const hasPorts = has(spec.portsFlag);
  const second = hasPorts || has(spec.icmpFlag) ? readRanges(view, spec.destinationPorts) : undefined;
  return {
    source: readPrefix(payload, spec.source, flags),
    destination: readPrefix(payload, spec.destination, flags),
    sourcePorts: hasPorts ? readRanges(view, spec.sourcePorts) : undefined,
    destinationPorts: hasPorts ? second : undefined,
    icmp: hasPorts ? undefined : second,
    protocols: readProtocols(payload.subarray(spec.protocols, spec.protocols + 32)),
  };
}

function readPrefix(
  payload: Uint8Array,
  at: RuleIndexSpec["source"],
  flags: number,
): FamilyPrefix | undefined {
  const family = payload[at.family];
  const names = (flags & at.flag) !== 0 && (flags & at.notFlag) === 0;
  if (!names || (family !== 4 && family !== 6)) return undefined;
  // What lies in a set is not known here.
  for (let i = at.sets; i < at.sets + 4; i++) if (payload[i] !== 0) return undefined;
  const size = family === 4 ? 4 : 16;
  let length = 0;
  while (length < size * 8 && ((payload[at.mask + (length >> 3)] ?? 0) >> (7 - (length & 7))) & 1) length++;
  if (length === 0) return undefined;
  const bytes = new Uint8Array(16);
  for (let i = 0; i < length; i += 8) {
    const kept = length - i >= 8 ? 0xff : 0xff00 >> (length - i);
    bytes[i >> 3] = (payload[at.address + (i >> 3)] ?? 0) & kept;
  }
  return { family, bytes, length };
}

function readRanges(view: DataView, at: IndexedField): readonly NumberRange[] | undefined {
  const count = Math.min(view.getUint8(at.count), at.most);
  if (count === 0) return undefined;
  const ranges: NumberRange[] = [];
  for (let i = at.ranges; i < at.ranges + count * 4; i += 4) {
    const [first, last] = [view.getUint16(i, true), view.getUint16(i + 2, true)];
    if (first <= last) ranges.push({ first, last });
  }
  return isEverything(ranges) ? undefined : ranges;
}

function isEverything(ranges: readonly NumberRange[]): boolean {
  return ranges.some(({ first, last }) => first === 0 && last === 0xffff);
}

/** Runs of bits that are set; undefined if all are. */
function readProtocols(bits: Uint8Array): readonly NumberRange[] | undefined {
  if (bits.every((byte) => byte === 0xff)) return undefined;
  const ranges: NumberRange[] = [];
  let first = -1;
  for (let number = 0; number <= 256; number++) {
    const isSet = (((bits[number >> 3] ?? 0) >> (number & 7)) & 1) === 1;
    if (isSet && first < 0) first = number;
    if (isSet || first < 0) continue;
    ranges.push({ first, last: number - 1 });
    first = -1;
  }
  return ranges;
}

/** Two demands of one name are the same. */
export function nameDemand(demand: Demand): string {
  const prefix = (p: FamilyPrefix | undefined) =>
    p === undefined ? "*" : `${p.family}/${p.length}/${Buffer.from(p.bytes).toString("latin1")}`;
  const ranges = (list: readonly NumberRange[] | undefined) =>
    list === undefined ? "*" : list.map(({ first, last }) => `${first}-${last}`).join();
  const { source, destination, sourcePorts, destinationPorts, icmp, protocols } = demand;
  return [
    prefix(source),
    prefix(destination),
    ranges(sourcePorts),
    ranges(destinationPorts),
    ranges(icmp),
    ranges(protocols),
  ].join("|");
}
