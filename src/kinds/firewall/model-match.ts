// Whether one rule matches one packet, by trying every prefix, member and range that the rule names. Slow and
// obvious on purpose: this is what the datapath's fast structures are compared with.
import {
  type Address,
  bug,
  type Family,
  type IpPacket,
  type Prefix,
  parsePrefix,
  prefixContains,
} from "../../base/index.ts";
import type {
  FirewallEndpoint,
  FirewallPortChoice,
  FirewallPorts,
  FirewallProtocol,
  FirewallRule,
} from "../../policy/index.ts";
import type { SetLookup } from "./model-policy.ts";
import { type ParsedRoutes, parseRoutes } from "./model-routes.ts";

/** What a rule says about the answer to packets that it rejects. */
export type RejectWord = NonNullable<FirewallRule["reject"]>;

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
  Partial<Pick<IpPacket, "extensionHeaders" | "hopLimit" | "tcpFlags" | "icmpType">> & {
    /** Absent: addresses of single hosts. */
    readonly sourceMac?: Uint8Array;
    readonly destinationMac?: Uint8Array;
  };

/** A rule with its texts parsed; an absent field matches every packet. */
export interface ParsedRule {
  readonly name: string;
  readonly action: FirewallRule["action"];
  readonly log: boolean;
  readonly reject: RejectWord;
  readonly mark?: number;
  readonly dscp?: number;
  readonly family?: Family;
  readonly protocols?: readonly number[];
  readonly source?: ParsedEndpoint;
  readonly destination?: ParsedEndpoint;
  readonly sourcePorts?: ParsedPorts;
  readonly destinationPorts?: ParsedPorts;
  readonly routes: ParsedRoutes;
}

/** `no-ports`: the rule asks for ports of a later fragment of TCP or UDP, and all else matches. */
export type RuleMatch = "yes" | "no" | "no-ports";

interface ParsedEndpoint {
  readonly prefixes: readonly Prefix[];
  readonly countries: readonly string[];
  readonly countryOf: SetLookup["countryOf"];
  readonly not: boolean;
}

interface ParsedPorts {
  readonly ranges: readonly { readonly first: number; readonly last: number }[];
  readonly not: boolean;
}

const protocolNumbers = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  sctp: 132,
} as const;

/** Parses a rule of a valid document. */
export function parseRule(rule: FirewallRule, sets: SetLookup): ParsedRule {
  const { family, protocol, source, destination, sourcePorts, destinationPorts } = rule.match ?? {};
  return {
    name: rule.name,
    action: rule.action,
    log: rule.log ?? false,
    reject: rule.reject ?? "auto",
    ...(rule.mark !== undefined && { mark: rule.mark }),
    ...(rule.dscp !== undefined && { dscp: parseDscp(rule.dscp) }),
    routes: parseRoutes(rule),
    ...(family !== undefined && { family: family === "ipv4" ? 4 : 6 }),
    ...(protocol !== undefined && { protocols: parseProtocols(protocol) }),
    ...(source !== undefined && { source: parseEndpoint(source, sets) }),
    ...(destination !== undefined && { destination: parseEndpoint(destination, sets) }),
    ...(sourcePorts !== undefined && { sourcePorts: parsePorts(sourcePorts, sets) }),
    ...(destinationPorts !== undefined && { destinationPorts: parsePorts(destinationPorts, sets) }),
  };
}

export function matchRule(rule: ParsedRule, packet: DescribedPacket): RuleMatch {
  const { family } = packet;
  if (rule.family !== undefined && rule.family !== family) return "no";
  if (rule.protocols !== undefined && !protocolMatches(rule.protocols, packet)) return "no";
  if (!endpointMatches(rule.source, { family, bytes: packet.source })) return "no";
  if (!endpointMatches(rule.destination, { family, bytes: packet.destination })) return "no";
  if (rule.sourcePorts === undefined && rule.destinationPorts === undefined) return "yes";

  const isPortProtocol = packet.protocol === protocolNumbers.tcp || packet.protocol === protocolNumbers.udp;
  if (!isPortProtocol) return "no";
  if (packet.laterFragment) return "no-ports";
  return portsMatch(rule.sourcePorts, packet.sourcePort) &&
    portsMatch(rule.destinationPorts, packet.destinationPort)
    ? "yes"
    : "no";
}

/** IPv6 is looked through to the transport, so an authentication header is met on the way and counts too. */
function protocolMatches(protocols: readonly number[], packet: DescribedPacket): boolean {
  if (protocols.includes(packet.protocol)) return true;
  const authenticated = packet.extensionHeaders?.includes(protocolNumbers.ah) === true;
  return authenticated && protocols.includes(protocolNumbers.ah);
}

function endpointMatches(endpoint: ParsedEndpoint | undefined, address: Address): boolean {
  if (endpoint === undefined) return true;
  const { prefixes, countries, countryOf, not } = endpoint;
  const isHeld =
    prefixes.some((prefix) => prefixContains(prefix, address)) ||
    (countries.length > 0 && countries.includes(countryOf(address) ?? ""));
  return isHeld !== not;
}

/** A port that nobody stated (a description may leave it out) meets no range and no negated range. */
function portsMatch(ports: ParsedPorts | undefined, port: number | undefined): boolean {
  if (ports === undefined) return true;
  if (port === undefined) return false;
  return ports.ranges.some(({ first, last }) => first <= port && port <= last) !== ports.not;
}

/** cs0 to cs7, af11 to af43 (class and drop precedence), ef, le. */
function parseDscp(dscp: NonNullable<FirewallRule["dscp"]>): number {
  if (typeof dscp === "number") return dscp;
  if (dscp === "ef") return 46;
  if (dscp === "le") return 1;
  const [upper = 0, lower = 0] = dscp.slice(2).split("").map(Number);
  return upper * 8 + lower * 2;
}

function parseProtocols(protocol: FirewallProtocol | readonly FirewallProtocol[]): number[] {
  const list = typeof protocol === "object" ? protocol : [protocol];
  return list.map((item) => (typeof item === "number" ? item : protocolNumbers[item]));
}

function parseEndpoint(endpoint: FirewallEndpoint, sets: SetLookup): ParsedEndpoint {
  const specs = (endpoint.sets ?? []).map((set) => sets.addresses(set));
  const texts = [...(endpoint.prefixes ?? []), ...specs.flatMap(({ prefixes = [] }) => prefixes)];
  return {
    prefixes: texts.map(parseMember),
    countries: specs.flatMap(({ countries = [] }) => countries),
    countryOf: (address) => sets.countryOf(address),
    not: endpoint.not ?? false,
  };
}

function parseMember(text: string): Prefix {
  const parsed = parsePrefix(text);
  if (!parsed.ok) throw bug("Cannot judge by this policy: a prefix is not valid", { prefix: text });
  return parsed.value;
}

function parsePorts(ports: FirewallPorts, sets: SetLookup): ParsedPorts {
  const choice: FirewallPortChoice = "map" in ports ? { ports } : ports;
  const members = (choice.sets ?? []).flatMap((set) => sets.ports(set).ports);
  const list = [...(choice.ports ?? []), ...members];
  return {
    ranges: list.map((item) => {
      const [first = "", last = first] = String(item).split("-");
      return { first: Number(first), last: Number(last) };
    }),
    not: choice.not ?? false,
  };
}
