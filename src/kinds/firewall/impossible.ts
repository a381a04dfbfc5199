// Rules that no packet could ever match, or whose fields do not go together: found before they are compiled.
import type { Family } from "../../base/index.ts";
import type { FirewallEndpoint, FirewallMatch } from "../../policy/index.ts";
import { parseLength } from "./match-text.ts";
import type { MatchInput } from "./matches.ts";
import { protocolNumbers } from "./protocols.ts";

type Field = keyof FirewallMatch;

/** A field that only packets of one family can fit. */
interface FamilyDemand {
  readonly field: Field;
  readonly family: Family;
}

/** Bytes of the IP headers: no packet is shorter. */
const headerBytes: Readonly<Record<Family, number>> = { 4: 20, 6: 40 };
/** What the length field of IPv4 can say. IPv6 does not count its header. */
const ipv4BytesMax = 65535;

const { tcp = 0, udp = 0, icmp = 0, icmpv6 = 0 } = protocolNumbers;

/** Reports fields that contradict each other; `protocols` are the rule's, undefined if it names none. */
export function reportImpossible(input: MatchInput, protocols: readonly number[] | undefined): void {
  const match = input.rule.match ?? {};
  reportProtocols(input, protocols);
  reportFamilies(input, familyDemands(match, protocols));
  const ofTransport = (["sourcePorts", "destinationPorts", "tcpFlags", "icmp"] as const).find(
    (field) => match[field] !== undefined,
  );
  if (match.fragment === "later" && ofTransport !== undefined) {
    report(
      input,
      "fragment",
      `a later fragment has no ${ofTransport}, so the rule can never match; leave one of the two out`,
    );
  }
  const { vlan } = match;
  if (
    typeof vlan === "object" &&
    vlan.outer === "none" &&
    vlan.inner !== undefined &&
    vlan.inner !== "none"
  ) {
    report(
      input,
      "vlan",
      "a frame without an outer tag has no inner one, so the rule can never match; correct one of the two",
    );
  }
  const { interfaces } = match;
  if (interfaces !== undefined && "groups" in interfaces && interfaces.not === true) {
    if (input.on.every((name) => interfaces.groups.includes(name)))
      report(
        input,
        "interfaces",
        "no interface of the document is left, so the rule can never match; exclude fewer",
      );
  }
}

function reportProtocols(input: MatchInput, protocols: readonly number[] | undefined): void {
  const match = input.rule.match ?? {};
  const only = (...allowed: number[]) => protocols?.every((n) => allowed.includes(n)) ?? true;
  const say = (code: string, message: string) => {
    const path = [...input.at.path, ...(protocols === undefined ? ["icmp"] : ["protocol"])];
    input.context.report({ ...input.at, path }, "error", code, message);
  };
  if ((match.sourcePorts ?? match.destinationPorts) !== undefined && !only(tcp, udp)) {
    say(
      "ports-need-tcp-or-udp",
      `only TCP and UDP have ports; write "protocol: tcp", "protocol: udp" or both, or leave the ports out`,
    );
  }
  if (match.tcpFlags !== undefined && !only(tcp)) {
    say("tcp-flags-need-tcp", `only TCP has these flags; write "protocol: tcp", or leave tcpFlags out`);
  }
  if (match.icmp !== undefined && (protocols === undefined || !only(icmp, icmpv6))) {
    say(
      "icmp-needs-protocol",
      `only ICMP and ICMPv6 have types; write "protocol: icmp" or "protocol: icmpv6", or leave icmp out`,
    );
  }
}

function familyDemands(match: FirewallMatch, protocols: readonly number[] | undefined): FamilyDemand[] {
  const demands: FamilyDemand[] = [];
  const demand = (field: Field, family: Family | undefined) => {
    if (family !== undefined) demands.push({ field, family });
  };
  if (match.family !== undefined) demand("family", match.family === "ipv4" ? 4 : 6);
  demand("source", onlyFamily(match.source));
  demand("destination", onlyFamily(match.destination));
  if (match.icmp !== undefined && protocols?.every((n) => n === icmp)) demand("icmp", 4);
  if (match.icmp !== undefined && protocols?.every((n) => n === icmpv6)) demand("icmp", 6);
  const length = match.length === undefined ? undefined : parseLength(match.length);
  if (length?.ok && length.value.last < headerBytes[6]) demand("length", 4);
  if (length?.ok && length.value.first > ipv4BytesMax) demand("length", 6);
  return demands;
}

/** The family of all its addresses; undefined if they are of both, or not known here. */
function onlyFamily(endpoint: FirewallEndpoint | undefined): Family | undefined {
  if (endpoint?.prefixes === undefined || endpoint.sets !== undefined || endpoint.not) return undefined;
  const found = new Set(endpoint.prefixes.map((text): Family => (text.includes(":") ? 6 : 4)));
  return found.size === 1 ? [...found][0] : undefined;
}

function reportFamilies(input: MatchInput, demands: readonly FamilyDemand[]): void {
  const [first] = demands;
  const other = demands.find(({ family }) => family !== first?.family);
  if (first !== undefined && other !== undefined) {
    const message = `only IPv${other.family} packets fit this and only IPv${first.family} packets fit "${first.field}", so the rule can never match; correct one of the two`;
    report(input, other.field, message);
  }
  const length = input.rule.match?.length;
  const parsed = length === undefined ? undefined : parseLength(length);
  if (parsed?.ok && parsed.value.last < headerBytes[4])
    report(
      input,
      "length",
      `no IP packet is shorter than its header of ${headerBytes[4]} bytes, so the rule can never match; write a greater length`,
    );
}

function report({ context, at }: MatchInput, field: Field, message: string): void {
  context.report({ ...at, path: [...at.path, field] }, "error", "never-matches", message);
}
