// Versioned entries, the C side's bpf/lib/generation.h in TypeScript: which side of an entry a packet sees at a
// generation, and how the other side is prepared without that packet noticing. Works on values in packed buffers, by
// their offsets, so that a million entries cost no million objects. Generations are numbers here: the adapter has
// refused those that do not fit.
import { type Owner, owners, presence, type TableSpec } from "../compile/index.ts";

/** A key and a raw value in packed buffers, by their offsets. */
export interface RawEntry {
  readonly keys: DataView;
  readonly key: number;
  readonly values: DataView;
  readonly value: number;
}

/** True for tables whose entries always exist and are written in place. */
export function isArray(spec: TableSpec): boolean {
  return spec.shape === "ordered" || spec.shape === "slots";
}

/** True for tables whose values carry a version; references do not: only versioned entries refer to them. */
export function isVersioned(spec: TableSpec): boolean {
  return spec.shape !== "references";
}

/** The generation from which the newer side of the value at `offset` is seen; inexact beyond 2^53. */
export function sinceOf(values: DataView, offset: number): number {
  return values.getUint32(offset + 4, true) * 0x80000000 + (values.getUint32(offset, true) >>> 1);
}

/** The side that a reader at generation `at` sees. */
export function visibleSide(values: DataView, offset: number, at: number): 0 | 1 {
  const newer = values.getUint32(offset, true) & 1;
  return (sinceOf(values, offset) > at ? newer ^ 1 : newer) as 0 | 1;
}

/** Where in the buffer the payload of one side of the value at `offset` begins. */
export function sideOffset(spec: TableSpec, offset: number, side: 0 | 1): number {
  return offset + spec.sideOffset + side * spec.payloadSize;
}

/** Where the payload begins that a reader at generation `at` sees of the value at `offset`. */
export function visiblePayload(spec: TableSpec, values: DataView, at: Moment): number {
  const { offset, generation } = at;
  return isVersioned(spec) ? sideOffset(spec, offset, visibleSide(values, offset, generation)) : offset;
}

/** A value, by its offset, as seen at a generation. */
export interface Moment {
  readonly offset: number;
  readonly generation: number;
}

/** True if the payload at `offset` is an entry of its own: neither absent nor a copy of a covering prefix. */
export function isOwn(spec: TableSpec, values: DataView, offset: number): boolean {
  if (!isVersioned(spec)) return true;
  const mark = values.getUint8(offset + spec.presenceOffset);
  return spec.shape === "prefix" ? mark === presence.own : mark !== presence.absent;
}

/** Whose the payload at `offset` is, as a number of `enum owner`. The lower number has the say over a key. */
export function ownerOf(spec: TableSpec, values: DataView, offset: number): number {
  return spec.ownerOffset === undefined ? owners.git : values.getUint8(offset + spec.ownerOffset);
}

/** What people call it; what is not one of ours is taken for the datapath's, and left alone. */
export function ownerName(owner: number): Owner {
  return owner === owners.git ? "git" : owner === owners.feed ? "feed" : "datapath";
}

/**
 * The sums that both sides of a keyed entry carry: over the 32-bit words of the key, the version and the side's
 * payload, each with its own odd weight, as the C side's `check_words` takes them (bpf/lib/generation.h says why).
 * Left in `sums`: a table of a million entries is summed at every scan.
 */
function sumUp(spec: TableSpec, { keys, key, values, value }: RawEntry): void {
  let sum = 0;
  let weight = 1;
  for (let i = key; i < key + spec.keySize; i += 4) {
    weight = Math.imul(weight, checkFactor);
    sum += Math.imul(keys.getUint32(i, true), weight);
  }
  for (let i = value; i < value + 8; i += 4) {
    weight = Math.imul(weight, checkFactor);
    sum += Math.imul(values.getUint32(i, true), weight);
  }
  let first = sum | 0;
  let second = first;
  const begin = value + spec.sideOffset;
  for (let i = begin; i < begin + spec.payloadSize; i += 4) {
    weight = Math.imul(weight, checkFactor);
    first = (first + Math.imul(values.getUint32(i, true), weight)) | 0;
    second = (second + Math.imul(values.getUint32(i + spec.payloadSize, true), weight)) | 0;
  }
  sums[0] = first;
  sums[1] = second;
}

/** Of the entry that was summed last. */
const sums = new Uint32Array(2);

/** CHECK_FACTOR of the C side. */
const checkFactor = 0x9e3779b1;

/** Writes the version (generation `since` from which `side` is seen) and then the sums: last of all of a value. */
export function seal(
  spec: TableSpec,
  entry: RawEntry,
  version: { readonly since: number; readonly side: 0 | 1 },
): void {
  const { values, value } = entry;
  values.setUint32(value, ((version.since % 0x80000000) << 1) | version.side, true);
  values.setUint32(value + 4, Math.floor(version.since / 0x80000000), true);
  if (spec.checkOffset === undefined) return;
  sumUp(spec, entry);
  values.setUint32(value + spec.checkOffset, sums[0] ?? 0, true);
  values.setUint32(value + spec.checkOffset + 4, sums[1] ?? 0, true);
}

/** Gives a value the sums that its key and content ask for; values without sums stay as they are. */
export function sealValue(spec: TableSpec, key: Uint8Array, value: Uint8Array): void {
  if (!isVersioned(spec)) return;
  const values = viewOf(value);
  const side = (values.getUint32(0, true) & 1) as 0 | 1;
  seal(spec, { keys: viewOf(key), key: 0, values, value: 0 }, { since: sinceOf(values, 0), side });
}

/**
 * Whether the raw value is what this project would leave behind at rest in `generation`: nothing prepared, the
 * right sums. What is not was written by somebody else, or is left from a transaction that died.
 */
export function isAtRest(spec: TableSpec, entry: RawEntry, generation: number): boolean {
  const { values, value } = entry;
  if (!isVersioned(spec)) return true;
  if (sinceOf(values, value) > generation) return false;
  if (spec.checkOffset === undefined) return true;
  const at = value + spec.checkOffset;
  sumUp(spec, entry);
  return values.getUint32(at, true) === sums[0] && values.getUint32(at + 4, true) === sums[1];
}

/** Puts the value at rest: it shows at generation `at` what it shows now, whatever was prepared in it. */
export function putAtRest(spec: TableSpec, entry: RawEntry, at: number): void {
  if (!isVersioned(spec)) return;
  const side = visibleSide(entry.values, entry.value, at);
  const since = sinceOf(entry.values, entry.value);
  seal(spec, entry, { since: since > at ? 0 : since, side });
}

/** A DataView over the same bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
