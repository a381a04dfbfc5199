// Versioned entries, the C side's bpf/lib/generation.h in TypeScript: which side of an entry a packet sees at a
// generation, and how the other side is prepared without that packet noticing. Pure functions on raw values.
import type { TableSpec } from "../compile/index.ts";

/** The mark of a payload; other values than these mean "present" in tables that are not prefix tables. */
export const presence = { absent: 0, own: 1, inherited: 2 } as const;

/** A version word: generation `since` from which `side` is seen. */
export function versionWord(since: bigint, side: 0 | 1): bigint {
  return (since << 1n) | BigInt(side);
}

/** The generation from which the newer side of a raw value is seen. */
export function sinceOf(value: DataView, offset: number): bigint {
  return value.getBigUint64(offset, true) >> 1n;
}

/** The side that a reader at generation `at` sees. */
export function visibleSide(value: DataView, offset: number, at: bigint): 0 | 1 {
  const version = value.getBigUint64(offset, true);
  const newer = Number(version & 1n);
  return (version >> 1n > at ? newer ^ 1 : newer) as 0 | 1;
}

/** Where in the buffer the payload of one side of the value at `offset` begins. */
export function sideOffset(spec: TableSpec, offset: number, side: 0 | 1): number {
  return offset + spec.sideOffset + side * spec.payloadSize;
}

/** True if the payload at `offset` is an entry of its own: neither absent nor a copy of a covering prefix. */
export function isOwn(spec: TableSpec, bytes: Uint8Array, offset: number): boolean {
  const mark = bytes[offset + spec.presenceOffset] ?? 0;
  return spec.shape === "prefix" ? mark === presence.own : mark !== presence.absent;
}

/** A key and a raw value in packed buffers, by their offsets. */
export interface RawEntry {
  readonly keys: DataView;
  readonly key: number;
  readonly values: DataView;
  readonly value: number;
}

/**
 * The sum that a side of a keyed entry carries: over the 32-bit words of the key, the version and the payload, each
 * with its own odd weight, as the C side's `check_words` takes it (bpf/lib/generation.h says why).
 */
export function checkSum(spec: TableSpec, entry: RawEntry, side: 0 | 1): number {
  const { keys, key, values, value } = entry;
  let sum = 0;
  let weight = 1;
  const take = (from: DataView, at: number, size: number) => {
    for (let i = at; i < at + size; i += 4) {
      weight = Math.imul(weight, checkFactor);
      sum = (sum + Math.imul(from.getUint32(i, true), weight)) | 0;
    }
  };
  take(keys, key, spec.keySize);
  take(values, value, 8);
  take(values, sideOffset(spec, value, side), spec.payloadSize);
  return sum >>> 0;
}

/** CHECK_FACTOR of the C side. */
const checkFactor = 0x9e3779b1;

/** Writes both sides' sums, after everything else of the value. */
function seal(spec: TableSpec, entry: RawEntry): void {
  if (spec.checkOffset === undefined) return;
  const at = entry.value + spec.checkOffset;
  entry.values.setUint32(at, checkSum(spec, entry, 0), true);
  entry.values.setUint32(at + 4, checkSum(spec, entry, 1), true);
}

function isSealed(spec: TableSpec, entry: RawEntry): boolean {
  if (spec.checkOffset === undefined) return true;
  const at = entry.value + spec.checkOffset;
  return (
    entry.values.getUint32(at, true) === checkSum(spec, entry, 0) &&
    entry.values.getUint32(at + 4, true) === checkSum(spec, entry, 1)
  );
}

/**
 * Whether the raw value is what this project would leave behind at rest in generation `at`: nothing prepared,
 * the right sums. What is not was written by somebody else, or is left from a transaction that died.
 */
export function isAtRest(
  spec: TableSpec,
  key: Uint8Array,
  value: DataView,
  offset: number,
  at: bigint,
): boolean {
  if (sinceOf(value, offset) > at) return false;
  return isSealed(spec, { keys: viewOf(key), key: 0, values: value, value: offset });
}

/** What a transaction to generation `target` writes for one entry. */
export interface Preparation {
  readonly spec: TableSpec;
  readonly key: Uint8Array;
  /** The raw value that the kernel holds, or undefined if it holds none. */
  readonly before: Uint8Array | undefined;
  /** What packets see from `target` on. */
  readonly after: Uint8Array;
  /** What packets before `target` must see where the kernel holds no entry yet. */
  readonly cover: Uint8Array | undefined;
  readonly current: bigint;
  readonly target: bigint;
}

/** The raw value whose readers at `current` see what they saw before, and whose readers at `target` see `after`. */
export function prepareValue(p: Preparation): Uint8Array {
  const value = new Uint8Array(p.spec.valueSize);
  const view = new DataView(value.buffer);
  let kept: 0 | 1 = 0;
  if (p.before === undefined) {
    if (p.cover !== undefined) value.set(p.cover, sideOffset(p.spec, 0, kept));
  } else {
    value.set(p.before);
    kept = visibleSide(new DataView(p.before.buffer, p.before.byteOffset, p.before.length), 0, p.current);
  }
  const prepared = (kept ^ 1) as 0 | 1;
  value.set(p.after, sideOffset(p.spec, 0, prepared));
  view.setBigUint64(0, versionWord(p.target, prepared), true);
  seal(p.spec, { keys: viewOf(p.key), key: 0, values: view, value: 0 });
  return value;
}

/** The raw value at rest that shows at `current` what `before` shows, whatever was prepared in it. */
export function restValue(spec: TableSpec, key: Uint8Array, before: Uint8Array, current: bigint): Uint8Array {
  const value = new Uint8Array(before);
  const view = new DataView(value.buffer);
  const side = visibleSide(view, 0, current);
  const since = sinceOf(view, 0);
  view.setBigUint64(0, versionWord(since > current ? 0n : since, side), true);
  seal(spec, { keys: viewOf(key), key: 0, values: view, value: 0 });
  return value;
}

/** A DataView over the same bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
