// Names that policy has for numbers in headers: from IANA's registries, in the form that policy writes them.

/** Types of ICMP. */
export const icmpTypes: Readonly<Record<string, number>> = {
  "echo-reply": 0,
  "destination-unreachable": 3,
  "source-quench": 4,
  redirect: 5,
  "echo-request": 8,
  "router-advertisement": 9,
  "router-solicitation": 10,
  "time-exceeded": 11,
  "parameter-problem": 12,
  "timestamp-request": 13,
  "timestamp-reply": 14,
};

/** Types of ICMPv6. */
export const icmpv6Types: Readonly<Record<string, number>> = {
  "destination-unreachable": 1,
  "packet-too-big": 2,
  "time-exceeded": 3,
  "parameter-problem": 4,
  "echo-request": 128,
  "echo-reply": 129,
  "multicast-listener-query": 130,
  "multicast-listener-report": 131,
  "multicast-listener-done": 132,
  "router-solicitation": 133,
  "router-advertisement": 134,
  "neighbor-solicitation": 135,
  "neighbor-advertisement": 136,
  redirect: 137,
  "multicast-listener-report-v2": 143,
};

/** Classes of service: cs0 to cs7, af11 to af43, ef, le. */
export const dscpNumbers: Readonly<Record<string, number>> = {
  ...Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`cs${i}`, i * 8])),
  ...Object.fromEntries([1, 2, 3, 4].flatMap((x) => [1, 2, 3].map((y) => [`af${x}${y}`, x * 8 + y * 2]))),
  ef: 46,
  le: 1,
};

/** Bits of the flags octet. */
export const tcpFlagBits: Readonly<Record<string, number>> = {
  fin: 1,
  syn: 2,
  rst: 4,
  psh: 8,
  ack: 16,
  urg: 32,
  ece: 64,
  cwr: 128,
};

/** `ef`, or the number where there is no name. */
export function nameOfNumber(names: Readonly<Record<string, number>>, number: number): string {
  return Object.entries(names).find(([, n]) => n === number)?.[0] ?? String(number);
}

/** `syn,ack`; `none` for no bit. */
export function nameTcpFlags(bits: number): string {
  const set = Object.entries(tcpFlagBits).flatMap(([name, bit]) => (bits & bit ? [name] : []));
  return set.length === 0 ? "none" : set.join(",");
}
