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

/** The check word of a key: `check_word` of the C side over the key's 32-bit words (keys are multiples of 4 bytes). */
export function checkWord(keys: Uint8Array, offset: number, size: number): number {
  let check = 0;
  for (let i = offset; i < offset + size; i += 4) {
    const word =
      (keys[i] ?? 0) | ((keys[i + 1] ?? 0) << 8) | ((keys[i + 2] ?? 0) << 16) | ((keys[i + 3] ?? 0) << 24);
    check = Math.imul(check ^ word, 0x85ebca6b) >>> 0;
    check = (check ^ (check >>> 15)) >>> 0;
  }
  return check;
}

/**
 * Whether the raw value is what this project would leave behind at rest in generation `at`: nothing prepared,
 * the right check word. What is not was written by somebody else, or is left from a transaction that died.
 */
export function isAtRest(
  spec: TableSpec,
  key: Uint8Array,
  value: DataView,
  offset: number,
  at: bigint,
): boolean {
  if (sinceOf(value, offset) > at) return false;
  if (spec.checkOffset === undefined) return true;
  return value.getUint32(offset + spec.checkOffset, true) === checkWord(key, 0, key.length);
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
  if (p.spec.checkOffset !== undefined) {
    view.setUint32(p.spec.checkOffset, checkWord(p.key, 0, p.key.length), true);
  }
  return value;
}

/** The raw value at rest that shows at `current` what `before` shows, whatever was prepared in it. */
export function restValue(spec: TableSpec, key: Uint8Array, before: Uint8Array, current: bigint): Uint8Array {
  const value = new Uint8Array(before);
  const view = new DataView(value.buffer);
  const side = visibleSide(view, 0, current);
  const since = sinceOf(view, 0);
  view.setBigUint64(0, versionWord(since > current ? 0n : since, side), true);
  if (spec.checkOffset !== undefined) view.setUint32(spec.checkOffset, checkWord(key, 0, key.length), true);
  return value;
}
