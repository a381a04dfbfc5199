// IP addresses and prefixes: strict text forms to bytes and back. Only the canonical dotted quad is taken for
// IPv4: `010.0.0.1`, `10.1` and `0x7f.1` mean different hosts to different programs, so they are refused.
import { isIPv6 } from "node:net";

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
  const bytes = text.includes(":") ? parseIPv6(text) : parseIPv4(text);
  if (bytes === undefined) return { ok: false, code: "bad-address", message: describeBadAddress(text) };
  return { ok: true, value: { family: bytes.length === 4 ? 4 : 6, bytes } };
}

/** Parses `10.0.0.0/8`, `2001:db8::/32`, or an address, which stands for itself alone (/32 or /128). */
export function parsePrefix(text: string): Parsed<Prefix> {
  const slash = text.indexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (!address.ok) return address;
  const { family, bytes } = address.value;
  const bits = family === 4 ? 32 : 128;
  if (slash < 0) return { ok: true, value: { family, bytes, length: bits } };
  const lengthText = text.slice(slash + 1);
  const length = /^(0|[1-9][0-9]{0,2})$/.test(lengthText) ? Number(lengthText) : -1;
  if (length < 0 || length > bits) {
    return {
      ok: false,
      code: "bad-prefix",
      message: `"${text}" has no valid prefix length; write a number from 0 to ${bits} after the slash`,
    };
  }
  const masked = maskBytes(bytes, length);
  if (!equalBytes(masked, bytes)) {
    const fixed = formatPrefix({ family, bytes: masked, length });
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

function parseIPv4(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4);
  let at = 0;
  for (let part = 0; part < 4; part++) {
    if (part > 0 && text.charCodeAt(at++) !== 0x2e) return undefined;
    const start = at;
    let value = 0;
    while (at < text.length && at - start < 4) {
      const digit = text.charCodeAt(at) - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
      at++;
    }
    const digits = at - start;
    if (digits === 0 || digits > 3 || value > 255) return undefined;
    if (digits > 1 && text.charCodeAt(start) === 0x30) return undefined;
    bytes[part] = value;
  }
  return at === text.length ? bytes : undefined;
}

function parseIPv6(text: string): Uint8Array | undefined {
  if (text.includes("%") || !isIPv6(text)) return undefined;
  const bytes = new Uint8Array(16);
  let groups = text;
  const lastColon = text.lastIndexOf(":");
  if (text.includes(".", lastColon)) {
    const tail = parseIPv4(text.slice(lastColon + 1));
    if (tail === undefined) return undefined;
    const hex = (i: number) => ((byteAt(tail, i) << 8) | byteAt(tail, i + 1)).toString(16);
    groups = `${text.slice(0, lastColon + 1)}${hex(0)}:${hex(2)}`;
  }
  const [head = "", tail] = groups.split("::") as [string, string | undefined];
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  left.forEach((group, i) => {
    writeGroup(bytes, i, group);
  });
  right.forEach((group, i) => {
    writeGroup(bytes, 8 - right.length + i, group);
  });
  return bytes;
}

function writeGroup(bytes: Uint8Array, index: number, group: string): void {
  const value = Number.parseInt(group, 16);
  bytes[index * 2] = value >> 8;
  bytes[index * 2 + 1] = value & 0xff;
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

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
