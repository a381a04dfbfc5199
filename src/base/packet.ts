// Takes a frame apart the way the datapath does: Ethernet, up to two VLAN tags, IPv4 or IPv6 with its chain of
// extension headers, the transport header. It is strict: a frame whose lengths lie is malformed, because two
// readers that guess differently judge different packets. Nothing here decides a verdict.
import { bug } from "./errors.ts";
import type { Family } from "./prefix.ts";

/** Why a frame cannot be read, in the order of the headers. */
export const malformedReasons = [
  "truncated-ethernet",
  "truncated-vlan",
  "too-many-tags",
  "truncated-ip",
  "bad-ip-version",
  "bad-ip-header",
  "bad-fragment",
  "too-many-extension-headers",
  "bad-extension-header",
  "truncated-extension-header",
  "truncated-transport",
  "bad-transport",
] as const;

export type MalformedReason = (typeof malformedReasons)[number];

/** An 802.1Q (0x8100) or 802.1ad (0x88a8) tag. */
export interface VlanTag {
  readonly tpid: number;
  /** 0 to 4095. */
  readonly vid: number;
  /** Priority, 0 to 7. */
  readonly pcp: number;
}

/** A frame that breaks a rule of its format; `tags` are those taken before the fault was met. */
export interface MalformedFrame {
  readonly kind: "malformed";
  readonly reason: MalformedReason;
  readonly tags: readonly VlanTag[];
}

/** A frame that carries something other than IPv4 and IPv6: ARP, LLDP, an 802.3 length, ... */
export interface NonIpFrame {
  readonly kind: "non-ip";
  readonly ethertype: number;
  readonly tags: readonly VlanTag[];
  /** Where the payload starts in the frame. */
  readonly l3Offset: number;
}

/** What the IP header says. Addresses are views into the frame, in network byte order. */
export interface IpHeader {
  readonly family: Family;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** The transport protocol: for IPv6 the next header value after the last extension header. */
  readonly protocol: number;
  /** Offset other than 0, or more fragments follow. An IPv6 fragment header with neither is no fragment. */
  readonly fragment: boolean;
  /** A fragment other than the first: it has no transport header, so no ports. */
  readonly laterFragment: boolean;
  /** In bytes of the packet before it was cut. */
  readonly fragmentOffset: number;
  /** 0 to 63. */
  readonly dscp: number;
  /** IPv4's time to live, IPv6's hop limit. */
  readonly hopLimit: number;
  /** The extension headers that were walked over, in order; empty for IPv4. */
  readonly extensionHeaders: readonly number[];
  /** Where the IP header starts in the frame. */
  readonly l3Offset: number;
  /** The whole IP packet in bytes, header included; what the frame holds after that is padding. */
  readonly l3Length: number;
  /** Where the transport header (or a later fragment's data) starts in the frame. */
  readonly l4Offset: number;
  /** Bytes from `l4Offset` to the end of the IP packet. */
  readonly l4Length: number;
}

/** What the transport header says; a field is absent where the packet has none. */
export interface TransportHeader {
  /** TCP or UDP, and not a later fragment. */
  readonly hasPorts: boolean;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  /** The eight flags CWR, ECE, URG, ACK, PSH, RST, SYN, FIN from the highest bit down. */
  readonly tcpFlags?: number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
}

export interface IpPacket extends IpHeader, TransportHeader {
  readonly kind: "ip";
  /** Six bytes each: views into the frame. */
  readonly sourceMac: Uint8Array;
  readonly destinationMac: Uint8Array;
  readonly tags: readonly VlanTag[];
}

export type Dissected = MalformedFrame | NonIpFrame | IpPacket;

const tpids: ReadonlySet<number> = new Set([0x8100, 0x88a8]);
const tagsMax = 2;
const ethertypeIpv4 = 0x0800;
const ethertypeIpv6 = 0x86dd;

const protocolIcmp = 1;
const protocolTcp = 6;
const protocolUdp = 17;
const protocolIcmpv6 = 58;

const headerHopByHop = 0;
const headerFragment = 44;
const headerAuthentication = 51;
/** Hop-by-hop, routing, fragment, AH, destination options: the headers that Linux looks through. */
const extensionHeaderTypes: ReadonlySet<number> = new Set([
  headerHopByHop,
  43,
  headerFragment,
  headerAuthentication,
  60,
]);
const extensionHeadersMax = 8;
/** The largest IP payload; a fragment that would end beyond it could never be put together. */
const payloadMax = 65535;

/** Reads a frame that starts with its Ethernet header (no preamble, no checksum). Total: any bytes give a result. */
export function dissect(frame: Uint8Array): Dissected {
  const tags: VlanTag[] = [];
  if (frame.length < 14) return { kind: "malformed", reason: "truncated-ethernet", tags };
  let ethertype = readU16(frame, 12);
  let l3Offset = 14;
  while (tpids.has(ethertype) && tags.length < tagsMax) {
    if (frame.length < l3Offset + 4) return { kind: "malformed", reason: "truncated-vlan", tags };
    const control = readU16(frame, l3Offset);
    tags.push({ tpid: ethertype, vid: control & 0x0fff, pcp: control >> 13 });
    ethertype = readU16(frame, l3Offset + 2);
    l3Offset += 4;
  }
  if (tpids.has(ethertype)) return { kind: "malformed", reason: "too-many-tags", tags };
  if (ethertype !== ethertypeIpv4 && ethertype !== ethertypeIpv6) {
    return { kind: "non-ip", ethertype, tags, l3Offset };
  }
  const header = ethertype === ethertypeIpv4 ? readIpv4(frame, l3Offset) : readIpv6(frame, l3Offset);
  if (typeof header === "string") return { kind: "malformed", reason: header, tags };
  const transport = readTransport(frame, header);
  if (typeof transport === "string") return { kind: "malformed", reason: transport, tags };
  const macs = { destinationMac: frame.subarray(0, 6), sourceMac: frame.subarray(6, 12) };
  return { kind: "ip", ...macs, tags, ...header, ...transport };
}

/** RFC 791. The checksum is not looked at: the network stack and the cards see to that. */
function readIpv4(frame: Uint8Array, l3Offset: number): IpHeader | MalformedReason {
  const available = frame.length - l3Offset;
  if (available < 20) return "truncated-ip";
  const first = readU8(frame, l3Offset);
  if (first >> 4 !== 4) return "bad-ip-version";
  const headerLength = (first & 0x0f) * 4;
  if (headerLength < 20) return "bad-ip-header";
  if (available < headerLength) return "truncated-ip";
  const l3Length = readU16(frame, l3Offset + 2);
  if (l3Length < headerLength) return "bad-ip-header";
  if (l3Length > available) return "truncated-ip";

  const l4Length = l3Length - headerLength;
  const protocol = readU8(frame, l3Offset + 9);
  const word = readU16(frame, l3Offset + 6);
  const moreFragments = (word & 0x2000) !== 0;
  const fragmentOffset = (word & 0x1fff) * 8;
  if (fragmentOffset + l4Length > payloadMax) return "bad-fragment";
  // A second fragment at 8 bytes would replace the flags of a TCP header that was judged already (RFC 3128).
  if (fragmentOffset === 8 && protocol === protocolTcp) return "bad-fragment";
  return {
    family: 4,
    source: frame.subarray(l3Offset + 12, l3Offset + 16),
    destination: frame.subarray(l3Offset + 16, l3Offset + 20),
    protocol,
    fragment: fragmentOffset !== 0 || moreFragments,
    laterFragment: fragmentOffset !== 0,
    fragmentOffset,
    dscp: readU8(frame, l3Offset + 1) >> 2,
    hopLimit: readU8(frame, l3Offset + 8),
    extensionHeaders: [],
    l3Offset,
    l3Length,
    l4Offset: l3Offset + headerLength,
    l4Length,
  };
}

/** RFC 8200. A jumbogram (payload length 0) leaves no room for headers and fails on its hop-by-hop header. */
function readIpv6(frame: Uint8Array, l3Offset: number): IpHeader | MalformedReason {
  const available = frame.length - l3Offset;
  if (available < 40) return "truncated-ip";
  if (readU8(frame, l3Offset) >> 4 !== 6) return "bad-ip-version";
  const payloadLength = readU16(frame, l3Offset + 4);
  if (payloadLength > available - 40) return "truncated-ip";
  const walk = walkExtensionHeaders(frame, {
    next: readU8(frame, l3Offset + 6),
    at: l3Offset + 40,
    remaining: payloadLength,
  });
  if (typeof walk === "string") return walk;
  return {
    family: 6,
    source: frame.subarray(l3Offset + 8, l3Offset + 24),
    destination: frame.subarray(l3Offset + 24, l3Offset + 40),
    protocol: walk.next,
    fragment: walk.fragment,
    laterFragment: walk.fragmentOffset !== 0,
    fragmentOffset: walk.fragmentOffset,
    dscp: (readU16(frame, l3Offset) >> 6) & 0x3f,
    hopLimit: readU8(frame, l3Offset + 7),
    extensionHeaders: walk.taken,
    l3Offset,
    l3Length: 40 + payloadLength,
    l4Offset: walk.at,
    l4Length: walk.remaining,
  };
}

/** A place in the chain: the type of the header at `at`, and the bytes from there to the end of the packet. */
interface ChainPosition {
  readonly next: number;
  readonly at: number;
  readonly remaining: number;
}

interface Walk extends ChainPosition {
  readonly taken: readonly number[];
  readonly fragment: boolean;
  readonly fragmentOffset: number;
}

function walkExtensionHeaders(frame: Uint8Array, start: ChainPosition): Walk | MalformedReason {
  let { next, at, remaining } = start;
  const taken: number[] = [];
  let fragment = false;
  while (extensionHeaderTypes.has(next)) {
    if (taken.length === extensionHeadersMax) return "too-many-extension-headers";
    if (next === headerHopByHop && taken.length > 0) return "bad-extension-header";
    if (remaining < 8) return "truncated-extension-header";
    if (next === headerFragment) {
      if (taken.includes(headerFragment)) return "bad-extension-header";
      const word = readU16(frame, at + 2);
      const fragmentOffset = (word >> 3) * 8;
      fragment = word >> 3 !== 0 || (word & 1) !== 0;
      taken.push(next);
      next = readU8(frame, at);
      at += 8;
      remaining -= 8;
      if (fragmentOffset + remaining > payloadMax) return "bad-fragment";
      if (fragmentOffset === 0) continue;
      // What follows is data from the middle of the packet, whatever `next` calls it: the walk ends here.
      if (fragmentOffset === 8 && next === protocolTcp) return "bad-fragment";
      return { next, at, remaining, taken, fragment, fragmentOffset };
    }
    // The length rule is that of the header at hand, not of the one that it announces.
    const lengthByte = readU8(frame, at + 1);
    const length = next === headerAuthentication ? (lengthByte + 2) * 4 : (lengthByte + 1) * 8;
    if (remaining < length) return "truncated-extension-header";
    taken.push(next);
    next = readU8(frame, at);
    at += length;
    remaining -= length;
  }
  return { next, at, remaining, taken, fragment, fragmentOffset: 0 };
}

function readTransport(frame: Uint8Array, header: IpHeader): TransportHeader | MalformedReason {
  if (header.laterFragment) return { hasPorts: false };
  const at = header.l4Offset;
  const remaining = header.l4Length;
  if (header.protocol === protocolTcp) {
    if (remaining < 20) return "truncated-transport";
    const dataOffset = readU8(frame, at + 12) >> 4;
    if (dataOffset < 5) return "bad-transport";
    if (dataOffset * 4 > remaining) return "truncated-transport";
    return { ...readPorts(frame, at), tcpFlags: readU8(frame, at + 13) };
  }
  if (header.protocol === protocolUdp) {
    if (remaining < 8) return "truncated-transport";
    const udpLength = readU16(frame, at + 4);
    if (udpLength < 8) return "bad-transport";
    // A first fragment carries the length of the whole datagram, of which it holds only a part.
    if (!header.fragment && udpLength > remaining) return "truncated-transport";
    return readPorts(frame, at);
  }
  if (header.protocol === (header.family === 4 ? protocolIcmp : protocolIcmpv6)) {
    if (remaining < 8) return "truncated-transport";
    return { hasPorts: false, icmpType: readU8(frame, at), icmpCode: readU8(frame, at + 1) };
  }
  return { hasPorts: false };
}

function readPorts(frame: Uint8Array, at: number): TransportHeader {
  return { hasPorts: true, sourcePort: readU16(frame, at), destinationPort: readU16(frame, at + 2) };
}

/** Every read is behind a length check; one that is not is a fault in this file. */
function readU8(frame: Uint8Array, at: number): number {
  const byte = frame[at];
  if (byte === undefined)
    throw bug("Cannot read a frame: the offset is outside", { at, length: frame.length });
  return byte;
}

/** Network byte order. */
function readU16(frame: Uint8Array, at: number): number {
  return (readU8(frame, at) << 8) | readU8(frame, at + 1);
}
