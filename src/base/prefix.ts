// IP addresses and prefixes: strict text forms to bytes and back. Only the canonical dotted quad is taken for
// IPv4: `010.0.0.1`, `10.1` and `0x7f.1` mean different hosts to different programs, so they are refused.

export type Family = 4 | 6;

/** An address in network byte order: 4 or 16 bytes. */
export interface Address {
  readonly family: Family;
  readonly bytes: Uint8Array;
}

/** An address and the number of leading bits that count. Host bits are zero in every value made here. */
export interface Prefix extends Address {
  readonly length: number;
}

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | {
      readonly ok: false;
      readonly code: "bad-address" | "bad-prefix" | "host-bits";
      readonly message: string;
    };

/** Parses `10.0.0.1` or `2001:db8::1`. Zone ids and IPv4 in any non-canonical form are refused. */
export function parseAddress(text: string): Parsed<Address> {
  const bytes = parseBytes(text, text.length);
  if (bytes === undefined) return { ok: false, code: "bad-address", message: describeBadAddress(text) };
  return { ok: true, value: { family: bytes.length === 4 ? 4 : 6, bytes } };
}

/** Parses `10.0.0.0/8`, `2001:db8::/32`, or an address, which stands for itself alone (/32 or /128). */
export function parsePrefix(text: string): Parsed<Prefix> {
  const slash = text.indexOf("/");
  const end = slash < 0 ? text.length : slash;
  const bytes = parseBytes(text, end);
  if (bytes === undefined) {
    return { ok: false, code: "bad-address", message: describeBadAddress(text.slice(0, end)) };
  }
  const family = bytes.length === 4 ? 4 : 6;
  const bits = bytes.length * 8;
  const length = slash < 0 ? bits : parseLength(text, slash + 1);
  if (length < 0 || length > bits) {
    return {
      ok: false,
      code: "bad-prefix",
      message: `"${text}" has no valid prefix length; write a number from 0 to ${bits} after the slash`,
    };
  }
  if (hasHostBits(bytes, length)) {
    const fixed = formatPrefix({ family, bytes: maskBytes(bytes, length), length });
    return {
      ok: false,
      code: "host-bits",
      message: `"${text}" has bits set after the prefix; write "${fixed}", or "${formatAddress({ family, bytes })}" for the one host`,
    };
  }
  return { ok: true, value: { family, bytes, length } };
}

/** Dotted quad, or IPv6 in the canonical form of RFC 5952. */
export function formatAddress(address: Address): string {
  return address.family === 4 ? Array.from(address.bytes).join(".") : formatIPv6(address.bytes);
}

/** `10.0.0.0/8`; a full-length prefix is written with its length too. */
export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix)}/${prefix.length}`;
}

/** True if `address` lies in `prefix`; families never mix. */
export function prefixContains(prefix: Prefix, address: Address): boolean {
  if (prefix.family !== address.family) return false;
  const whole = prefix.length >> 3;
  for (let i = 0; i < whole; i++) if (prefix.bytes[i] !== address.bytes[i]) return false;
  const rest = prefix.length & 7;
  if (rest === 0) return true;
  const shift = 8 - rest;
  return byteAt(prefix.bytes, whole) >> shift === byteAt(address.bytes, whole) >> shift;
}

/** A copy with the bits after the first `length` cleared. */
export function maskBytes(bytes: Uint8Array, length: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  const whole = length >> 3;
  out.set(bytes.subarray(0, whole));
  if (whole < bytes.length && (length & 7) !== 0) {
    out[whole] = byteAt(bytes, whole) & (0xff00 >> (length & 7));
  }
  return out;
}

// The parsers below go through the text once and make nothing but the bytes: lists hold a million prefixes.

const colon = 0x3a;
const dot = 0x2e;

/** The address in the first `end` characters. */
function parseBytes(text: string, end: number): Uint8Array | undefined {
  const firstColon = text.indexOf(":");
  return firstColon < 0 || firstColon >= end ? parseIPv4(text, 0, end) : parseIPv6(text, end);
}

function parseIPv4(text: string, start: number, end: number): Uint8Array | undefined {
  const bytes = new Uint8Array(4);
  let at = start;
  for (let part = 0; part < 4; part++) {
    if (part > 0 && (at >= end || text.charCodeAt(at++) !== dot)) return undefined;
    const first = at;
    let value = 0;
    while (at < end && at - first < 4) {
      const digit = text.charCodeAt(at) - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
      at++;
    }
    const digits = at - first;
    if (digits === 0 || digits > 3 || value > 255) return undefined;
    if (digits > 1 && text.charCodeAt(first) === 0x30) return undefined;
    bytes[part] = value;
  }
  return at === end ? bytes : undefined;
}

/** RFC 4291, section 2.2: `::` once, for one group or more; the last two groups may be an IPv4 address. */
function parseIPv6(text: string, end: number): Uint8Array | undefined {
  const bytes = new Uint8Array(16);
  let at = 0;
  let filled = 0;
  /** Where `::` stands in the bytes. */
  let gap = -1;
  if (text.charCodeAt(0) === colon) {
    if (end < 2 || text.charCodeAt(1) !== colon) return undefined;
    gap = 0;
    at = 2;
  }
  while (at < end) {
    if (filled === 16) return undefined;
    const first = at;
    let value = 0;
    while (at < end && at - first < 4) {
      const digit = hexDigit(text.charCodeAt(at));
      if (digit < 0) break;
      value = (value << 4) | digit;
      at++;
    }
    if (at < end && text.charCodeAt(at) === dot) {
      const tail = filled > 12 ? undefined : parseIPv4(text, first, end);
      if (tail === undefined) return undefined;
      bytes.set(tail, filled);
      filled += 4;
      break;
    }
    if (at === first) return undefined;
    bytes[filled++] = value >> 8;
    bytes[filled++] = value & 0xff;
    if (at === end) break;
    // A colon leads to another group or to `::`, and stands nowhere else.
    if (text.charCodeAt(at++) !== colon || at === end) return undefined;
    if (text.charCodeAt(at) !== colon) continue;
    if (gap >= 0) return undefined;
    gap = filled;
    at++;
  }
  return placeGap(bytes, filled, gap);
}

/** Moves the groups behind `::` to the end of the address; undefined if there are too few groups or too many. */
function placeGap(bytes: Uint8Array, filled: number, gap: number): Uint8Array | undefined {
  if (gap < 0) return filled === 16 ? bytes : undefined;
  if (filled === 16) return undefined;
  const start = 16 - (filled - gap);
  bytes.copyWithin(start, gap, filled);
  return bytes.fill(0, gap, start);
}

/** The digit's value; negative if it is none. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = (code | 0x20) - 0x61;
  return letter >= 0 && letter < 6 ? letter + 10 : -1;
}

/** A decimal number without leading zeros from `start` to the end of the text; -1 if there is none. */
function parseLength(text: string, start: number): number {
  const digits = text.length - start;
  if (digits < 1 || digits > 3 || (digits > 1 && text.charCodeAt(start) === 0x30)) return -1;
  let value = 0;
  for (let at = start; at < text.length; at++) {
    const digit = text.charCodeAt(at) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

function hasHostBits(bytes: Uint8Array, length: number): boolean {
  const whole = length >> 3;
  if ((byteAt(bytes, whole) & (0xff >> (length & 7))) !== 0) return true;
  for (let i = whole + 1; i < bytes.length; i++) if (bytes[i] !== 0) return true;
  return false;
}

function formatIPv6(bytes: Uint8Array): string {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((byteAt(bytes, i) << 8) | byteAt(bytes, i + 1));
  let best = { start: -1, length: 1 };
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > best.length) best = { start: i, length: end - i };
  }
  const hex = groups.map((g) => g.toString(16));
  if (best.start < 0) return hex.join(":");
  return `${hex.slice(0, best.start).join(":")}::${hex.slice(best.start + best.length).join(":")}`;
}

function describeBadAddress(text: string): string {
  if (/^[0-9a-fx.]+$/i.test(text) && text.includes(".") && !text.includes(":")) {
    return `"${text}" is not an IPv4 address in the form a.b.c.d with four decimal numbers from 0 to 255 and no leading zeros; other forms are read differently by different programs`;
  }
  return `"${text}" is not an IPv4 or IPv6 address; write for example 192.0.2.1 or 2001:db8::1`;
}

function byteAt(bytes: Uint8Array, index: number): number {
  return bytes[index] ?? 0;
}
