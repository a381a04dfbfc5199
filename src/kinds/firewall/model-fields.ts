// What a rule may ask for besides addresses, protocol and ports, as tests that the packet passes or does not. Part of
// the reference model: it has its names of numbers from the registries, not from the compiler.
import { bug, type IpPacket } from "../../base/index.ts";
import type {
  FirewallDscp,
  FirewallIcmp,
  FirewallMacs,
  FirewallMatch,
  FirewallState,
  FirewallVlan,
} from "../../policy/index.ts";

/** An IP packet as far as rules can see it: read from a frame, or described by a person. */
export type DescribedPacket = Pick<
  IpPacket,
  | "family"
  | "source"
  | "destination"
  | "protocol"
  | "fragment"
  | "laterFragment"
  | "sourcePort"
  | "destinationPort"
> &
  Partial<
    Pick<
      IpPacket,
      | "extensionHeaders"
      | "hopLimit"
      | "tags"
      | "sourceMac"
      | "destinationMac"
      | "dscp"
      | "l3Length"
      | "tcpFlags"
      | "icmpType"
      | "icmpCode"
    >
  >;

/** What the packet is to the connections that are known. */
export type PacketState = FirewallState;

/** What nobody stated of a packet (a description may leave it out) passes no test, a negated one neither. */
export type FieldTest = (packet: DescribedPacket, state: PacketState) => boolean;

/** A test of the transport header, which only some protocols have, and no later fragment. */
export interface TransportTest {
  readonly isOf: (packet: DescribedPacket) => boolean;
  readonly test: FieldTest;
}

/** Tests of what every IP packet has. */
export function packetTests(match: FirewallMatch): FieldTest[] {
  const { state, dscp, length, fragment, vlan, sourceMac, destinationMac } = match;
  const tests: FieldTest[] = [];
  if (state !== undefined) {
    const states = listOf(state);
    tests.push((_, found) => states.includes(found));
  }
  if (dscp !== undefined) {
    const numbers = listOf(dscp).map(dscpNumber);
    tests.push((packet) => packet.dscp !== undefined && numbers.includes(packet.dscp));
  }
  if (length !== undefined) {
    const [least = 0, most = least] = `${length}`.split("-").map(Number);
    tests.push(({ l3Length }) => l3Length !== undefined && l3Length >= least && l3Length <= most);
  }
  if (fragment !== undefined) tests.push((packet) => isFragment(fragment, packet));
  if (vlan !== undefined) {
    const { outer, inner } = typeof vlan === "object" ? vlan : { outer: vlan, inner: undefined };
    tests.push(({ tags = [] }) => hasTag(outer, tags[0]?.vid) && hasTag(inner, tags[1]?.vid));
  }
  if (sourceMac !== undefined) tests.push((packet) => macMatches(sourceMac, packet.sourceMac));
  if (destinationMac !== undefined) tests.push((packet) => macMatches(destinationMac, packet.destinationMac));
  return tests;
}

/** Tests of the transport header, but for ports. */
export function transportTests({ tcpFlags, icmp }: FirewallMatch): TransportTest[] {
  const tests: TransportTest[] = [];
  if (tcpFlags !== undefined) {
    const [asked = "", looked = asked] = tcpFlags.split("/");
    const set = flagsOf(asked);
    const seen = flagsOf(looked);
    tests.push({
      isOf: ({ protocol }) => protocol === 6,
      test: (packet) => {
        const { tcpFlags: octet } = packet;
        if (octet === undefined) return false;
        return flagOrder.every(
          (flag, bit) => !seen.has(flag) || set.has(flag) === (((octet >> bit) & 1) === 1),
        );
      },
    });
  }
  if (icmp !== undefined) {
    tests.push({
      isOf: ({ family, protocol }) => protocol === (family === 4 ? 1 : 58),
      test: (packet) => icmp.some((item) => icmpMatches(item, packet)),
    });
  }
  return tests;
}

function listOf<T extends string | number>(given: T | readonly T[]): readonly T[] {
  return typeof given === "object" ? given : [given];
}

/** By RFC 2474 (cs), RFC 2597 (af), RFC 3246 (ef), RFC 8622 (le). */
export function dscpNumber(dscp: FirewallDscp): number {
  if (typeof dscp === "number") return dscp;
  if (dscp === "ef") return 0b101110;
  if (dscp === "le") return 0b000001;
  const [level = 0, precedence = 0] = [...dscp.slice(2)].map(Number);
  return (level << 3) | (precedence << 1);
}

function isFragment(asked: NonNullable<FirewallMatch["fragment"]>, packet: DescribedPacket): boolean {
  switch (asked) {
    case "none":
      return !packet.fragment;
    case "any":
      return packet.fragment;
    case "first":
      return packet.fragment && !packet.laterFragment;
    case "later":
      return packet.laterFragment;
  }
}

function hasTag(asked: FirewallVlan | undefined, vid: number | undefined): boolean {
  if (asked === undefined) return true;
  if (asked === "none") return vid === undefined;
  return asked === "any" ? vid !== undefined : vid === asked;
}

function macMatches(macs: FirewallMacs, found: Uint8Array | undefined): boolean {
  if (found === undefined) return false;
  const { macs: list, not = false } = "macs" in macs ? macs : { macs };
  const text = [...found].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
  return list.some((mac) => mac.toLowerCase() === text) !== not;
}

const flagOrder = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"] as const;

function flagsOf(text: string): ReadonlySet<string> {
  if (text === "all") return new Set(flagOrder);
  return new Set(text.split(","));
}

function icmpMatches(item: FirewallIcmp, packet: DescribedPacket): boolean {
  const { type, code } = typeof item === "object" ? item : { type: item, code: undefined };
  const number = typeof type === "number" ? type : icmpNumbers[type]?.[packet.family];
  if (typeof type === "string" && icmpNumbers[type] === undefined)
    throw bug("Cannot judge by this policy: a type of ICMP has no such name", { type });
  return (
    packet.icmpType === number &&
    packet.icmpType !== undefined &&
    (code ?? packet.icmpCode) === packet.icmpCode
  );
}

/** By family. */
const icmpNumbers: Readonly<Record<string, { readonly 4?: number; readonly 6?: number }>> = {
  "destination-unreachable": { 4: 3, 6: 1 },
  "echo-reply": { 4: 0, 6: 129 },
  "echo-request": { 4: 8, 6: 128 },
  "multicast-listener-done": { 6: 132 },
  "multicast-listener-query": { 6: 130 },
  "multicast-listener-report": { 6: 131 },
  "multicast-listener-report-v2": { 6: 143 },
  "neighbor-advertisement": { 6: 136 },
  "neighbor-solicitation": { 6: 135 },
  "packet-too-big": { 6: 2 },
  "parameter-problem": { 4: 12, 6: 4 },
  redirect: { 4: 5, 6: 137 },
  "router-advertisement": { 4: 9, 6: 134 },
  "router-solicitation": { 4: 10, 6: 133 },
  "source-quench": { 4: 4 },
  "time-exceeded": { 4: 11, 6: 3 },
  "timestamp-reply": { 4: 14 },
  "timestamp-request": { 4: 13 },
};
