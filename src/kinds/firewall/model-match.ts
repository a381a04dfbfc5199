// Whether one rule matches one packet, by trying every prefix, member and range that the rule names. Slow and
// obvious on purpose: this is what the datapath's fast structures are compared with.
import {
  type Address,
  bug,
  type Family,
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
import {
  type DescribedPacket,
  dscpNumber,
  type FieldTest,
  type PacketState,
  packetTests,
  type TransportTest,
  transportTests,
} from "./model-fields.ts";
import type { ConnectionLimits } from "./model-judgement.ts";
import type { SetLookup } from "./model-policy.ts";
import { type ParsedRoutes, parseRoutes } from "./model-routes.ts";

/** What a rule says about the answer to packets that it rejects. */
export type RejectWord = NonNullable<FirewallRule["reject"]>;

/** A rule with its texts parsed; an absent field matches every packet. */
export interface ParsedRule {
  readonly name: string;
  readonly action: FirewallRule["action"];
  readonly log: boolean;
  readonly reject: RejectWord;
  readonly mark?: number;
  readonly dscp?: number;
  readonly limits?: ConnectionLimits;
  readonly family?: Family;
  readonly protocols?: readonly number[];
  readonly source?: ParsedEndpoint;
  readonly destination?: ParsedEndpoint;
  readonly packet: readonly FieldTest[];
  readonly transport: readonly TransportTest[];
  readonly routes: ParsedRoutes;
}

/** `no-ports`: the rule asks for ports, TCP flags or types of ICMP of a later fragment, and all else matches. */
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
  const match = rule.match ?? {};
  const { family, protocol, source, destination, sourcePorts, destinationPorts } = match;
  return {
    name: rule.name,
    action: rule.action,
    log: rule.log ?? false,
    reject: rule.reject ?? "auto",
    ...(rule.mark !== undefined && { mark: rule.mark }),
    ...(rule.dscp !== undefined && { dscp: dscpNumber(rule.dscp) }),
    ...(rule.limits !== undefined && { limits: rule.limits }),
    routes: parseRoutes(rule),
    ...(family !== undefined && { family: family === "ipv4" ? 4 : 6 }),
    ...(protocol !== undefined && { protocols: parseProtocols(protocol) }),
    ...(source !== undefined && { source: parseEndpoint(source, sets) }),
    ...(destination !== undefined && { destination: parseEndpoint(destination, sets) }),
    packet: packetTests(match),
    transport: [
      ...transportTests(match),
      ...(sourcePorts === undefined ? [] : [portTest(parsePorts(sourcePorts, sets), "sourcePort")]),
      ...(destinationPorts === undefined
        ? []
        : [portTest(parsePorts(destinationPorts, sets), "destinationPort")]),
    ],
  };
}

export function matchRule(rule: ParsedRule, packet: DescribedPacket, state: PacketState): RuleMatch {
  const { family } = packet;
  if (rule.family !== undefined && rule.family !== family) return "no";
  if (rule.protocols !== undefined && !protocolMatches(rule.protocols, packet)) return "no";
  if (!endpointMatches(rule.source, { family, bytes: packet.source })) return "no";
  if (!endpointMatches(rule.destination, { family, bytes: packet.destination })) return "no";
  if (!rule.packet.every((test) => test(packet, state))) return "no";

  if (!rule.transport.every(({ isOf }) => isOf(packet))) return "no";
  if (rule.transport.length > 0 && packet.laterFragment) return "no-ports";
  return rule.transport.every(({ test }) => test(packet, state)) ? "yes" : "no";
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

function portTest({ ranges, not }: ParsedPorts, side: "sourcePort" | "destinationPort"): TransportTest {
  return {
    isOf: ({ protocol }) => protocol === protocolNumbers.tcp || protocol === protocolNumbers.udp,
    test: ({ [side]: port }) =>
      port !== undefined && ranges.some(({ first, last }) => first <= port && port <= last) !== not,
  };
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
