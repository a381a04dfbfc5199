// Whether and how the sender of a rejected packet is answered, after the standards: RFC 1122 (3.2.2), RFC 1812
// (4.3.2.7), RFC 4443 (2.4) and RFC 9293 (3.10.7.1).
import type { DescribedPacket } from "./model-fields.ts";
import type { RejectWord } from "./model-match.ts";

/** `tcp-reset`, or an error of ICMP or ICMPv6. */
export type Answer = Exclude<RejectWord, "auto">;

/** Undefined if a packet like this one must not be answered. */
export function answerTo(packet: DescribedPacket, how: RejectWord): Answer | undefined {
  const mayAnswer =
    !packet.laterFragment &&
    !isAuthenticated(packet) &&
    !isReset(packet) &&
    !isIcmpError(packet) &&
    [packet.sourceMac, packet.destinationMac].every((mac) => mac === undefined || !isGroupMac(mac)) &&
    [packet.source, packet.destination].every((address) => isOneHost(address));
  if (!mayAnswer) return undefined;
  if (how !== "auto") return how;
  return packet.protocol === protocols.tcp ? "tcp-reset" : "port-unreachable";
}

const protocols = { icmp: 1, tcp: 6, ah: 51, icmpv6: 58 } as const;
const resetFlag = 0x04;
/** The lowest bit of the first octet: multicast and broadcast. */
const groupBit = 0x01;

/** An answer would be believed although nobody has authenticated it. */
function isAuthenticated({ protocol, extensionHeaders = [] }: DescribedPacket): boolean {
  return protocol === protocols.ah || extensionHeaders.includes(protocols.ah);
}

function isReset({ protocol, tcpFlags = 0 }: DescribedPacket): boolean {
  return protocol === protocols.tcp && (tcpFlags & resetFlag) !== 0;
}

/** Errors must not answer errors. A type that nobody knows may be one, and so may not be answered either. */
function isIcmpError({ family, protocol, icmpType }: DescribedPacket): boolean {
  if (icmpType === undefined) return false;
  if (family === 6) return protocol === protocols.icmpv6 && (icmpType < 128 || icmpType === 137);
  return protocol === protocols.icmp && ([3, 4, 5, 11, 12].includes(icmpType) || icmpType > 18);
}

function isGroupMac(mac: Uint8Array): boolean {
  return ((mac[0] ?? 0) & groupBit) !== 0;
}

/** Not unspecified, loopback, multicast, reserved or broadcast. */
function isOneHost(address: Uint8Array): boolean {
  const [first = 0] = address;
  if (address.length === 4) return first > 0 && first < 224 && first !== 127;
  const isZeroOrLoopback = address.subarray(0, 15).every((byte) => byte === 0) && (address[15] ?? 0) <= 1;
  return first !== 0xff && !isZeroOrLoopback;
}
