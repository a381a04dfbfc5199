// Protocols by the names that policy has for them.

/** IANA numbers of the protocols that policy can name. */
export const protocolNumbers: Readonly<Record<string, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  sctp: 132,
};

/** `tcp`, or the number where policy has no name. */
export function protocolName(number: number): string {
  return Object.entries(protocolNumbers).find(([, n]) => n === number)?.[0] ?? String(number);
}
