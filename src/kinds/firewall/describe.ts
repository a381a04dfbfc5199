// Rule records in words: for plans, drift reports and whoever asks what the kernel holds.
import {
  connectionStateNames,
  FwAction,
  type FwEndpoint,
  FwFamily,
  FwFragment,
  type FwMacs,
  type FwRule,
  FwRuleFlag,
  fwActionNames,
  fwFragmentNames,
  fwRuleCodec,
  fwVlanNames,
} from "../../abi/index.ts";
import { formatPrefix, type PortRange } from "../../base/index.ts";
import type { EntryText, Names } from "../../compile/index.ts";
import { actionWords } from "./actions.ts";
import { dscpNumbers, icmpTypes, icmpv6Types, nameOfNumber, nameTcpFlags } from "./names.ts";
import { protocolName, protocolNumbers } from "./protocols.ts";
import { routeWords } from "./routes-describe.ts";

/** `rule edge/office-ssh`: `pass tcp from office to port 22` */
export function describeRule(payload: Uint8Array, names: Names): EntryText {
  const rule = fwRuleCodec.decode(payload);
  const words = [
    rule.flags & FwRuleFlag.audit ? "audit" : "",
    fwActionNames[rule.action] ?? `action ${rule.action}`,
    familyWord(rule.family),
    protocolWords(rule),
    endpointWords(
      "from",
      rule.source,
      rule.flags & FwRuleFlag.source,
      rule.flags & FwRuleFlag["source-not"],
      names,
    ),
    portWords("port", rule.sourcePorts, rule.sourcePortCount),
    endpointWords(
      "to",
      rule.destination,
      rule.flags & FwRuleFlag.destination,
      rule.flags & FwRuleFlag["destination-not"],
      names,
    ),
    destinationPortWords(rule),
    ...transportWords(rule),
    ...packetWords(rule),
    ...linkWords(rule, names),
    `on ${groupWords(rule.groups, names)}`,
    rule.flags & FwRuleFlag.log ? "with log" : "",
    actionWords(rule),
    routeWords(rule, names),
    rule.action === FwAction.pass && !(rule.flags & FwRuleFlag.reevaluate) ? "kept" : "",
  ];
  return {
    subject: `rule ${names.nameOf("rule", rule.ruleId) ?? `with id ${rule.ruleId}`}`,
    detail: words.filter((word) => word !== "").join(" "),
  };
}

function familyWord(family: number): string {
  if (family === FwFamily.ipv4) return "IPv4";
  if (family === FwFamily.ipv6) return "IPv6";
  return family === FwFamily["non-ip"] ? "non-IP" : "";
}

function protocolWords(rule: FwRule): string {
  const protocols: string[] = [];
  rule.protocols.forEach((word, w) => {
    for (let bit = 0; bit < 64; bit++)
      if ((word >> BigInt(bit)) & 1n) protocols.push(protocolName(w * 64 + bit));
  });
  return protocols.length === 256 ? "" : protocols.join(",");
}

function endpointWords(word: string, endpoint: FwEndpoint, given: number, not: number, names: Names): string {
  if (!given) return "";
  const parts: string[] = [];
  if (endpoint.family === 4 || endpoint.family === 6) {
    const length = endpoint.mask.reduce(
      (bits, byte) => bits + byte.toString(2).replaceAll("0", "").length,
      0,
    );
    const bytes = endpoint.address.subarray(0, endpoint.family === 4 ? 4 : 16);
    parts.push(formatPrefix({ family: endpoint.family, bytes, length }));
  }
  for (const id of endpoint.sets) if (id !== 0) parts.push(names.nameOf("address-set", id) ?? `set ${id}`);
  return `${word} ${not ? "not " : ""}${parts.join(",")}`;
}

function portWords(word: string, ranges: readonly PortRange[], count: number): string {
  if (count === 0) return "";
  const text = ranges
    .slice(0, count)
    .map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`));
  return `${word} ${text.join(",")}`;
}

/** With FwRuleFlag.icmp these are types of ICMP. */
function destinationPortWords(rule: FwRule): string {
  if (rule.flags & FwRuleFlag.icmp) return "";
  const word = rule.flags & FwRuleFlag.destination ? "port" : "to port";
  return portWords(word, rule.destinationPorts, rule.destinationPortCount);
}

function transportWords(rule: FwRule): string[] {
  const words: string[] = [];
  if (rule.flags & FwRuleFlag["tcp-flags"])
    words.push(`flags ${nameTcpFlags(rule.tcpFlags)}/${nameTcpFlags(rule.tcpMask)}`);
  if (rule.flags & FwRuleFlag.icmp) {
    const named = (number = 0) => ((rule.protocols[(number >> 6) & 3] ?? 0n) >> BigInt(number & 63)) & 1n;
    const known = [
      named(protocolNumbers["icmp"]) ? icmpTypes : undefined,
      named(protocolNumbers["icmpv6"]) ? icmpv6Types : undefined,
    ].filter((table) => table !== undefined);
    const ranges = rule.destinationPorts.slice(0, rule.destinationPortCount);
    words.push(
      `type ${ranges.map((range) => icmpWord(range, known.length === 1 ? known[0] : {})).join(",")}`,
    );
  }
  return words;
}

/** `echo-request`, `3-7`, `3/4`, `3/4-3/6`: a type, types, a code, or what stands next to each other. */
function icmpWord({ first, last }: PortRange, types: Readonly<Record<string, number>> = {}): string {
  const [type, lastType] = [first >> 8, last >> 8];
  if (first === last) return `${nameOfNumber(types, type)}/${first & 0xff}`;
  if ((first & 0xff) !== 0 || (last & 0xff) !== 0xff)
    return `${type}/${first & 0xff}-${lastType}/${last & 0xff}`;
  return type === lastType ? nameOfNumber(types, type) : `${type}-${lastType}`;
}

function packetWords({ flags, ...rule }: FwRule): string[] {
  const words: string[] = [];
  if (flags & FwRuleFlag.states)
    words.push(
      `state ${bitsOf(BigInt(rule.states))
        .map((bit) => connectionStateNames[1 << bit] ?? bit)
        .join(",")}`,
    );
  if (flags & FwRuleFlag.dscp)
    words.push(
      `dscp ${bitsOf(rule.dscps)
        .map((dscp) => nameOfNumber(dscpNumbers, dscp))
        .join(",")}`,
    );
  if (flags & FwRuleFlag.length) words.push(`length ${rule.lengthMin}-${rule.lengthMax}`);
  if (flags & FwRuleFlag.fragments) words.push(fragmentWords(rule.fragments));
  return words;
}

function fragmentWords(fragments: number): string {
  if (fragments === FwFragment.whole) return "no fragment";
  return `fragment ${bitsOf(BigInt(fragments))
    .map((bit) => fwFragmentNames[1 << bit] ?? bit)
    .join(",")}`;
}

function linkWords({ flags, ...rule }: FwRule, names: Names): string[] {
  const words: string[] = [];
  const vlan = (word: string, id: number) => words.push(`${word} ${fwVlanNames[id] ?? id}`);
  if (flags & FwRuleFlag["outer-vlan"]) vlan("vlan", rule.outerVlan);
  if (flags & FwRuleFlag["inner-vlan"]) vlan("inner vlan", rule.innerVlan);
  const macs = (word: string, side: FwMacs, not: number) =>
    words.push(`${word} ${not ? "not " : ""}${macTexts(side).join(",")}`);
  if (flags & FwRuleFlag["source-mac"])
    macs("from mac", rule.sourceMacs, flags & FwRuleFlag["source-mac-not"]);
  if (flags & FwRuleFlag["destination-mac"])
    macs("to mac", rule.destinationMacs, flags & FwRuleFlag["destination-mac-not"]);
  if (flags & FwRuleFlag.interfaces)
    words.push(
      `${flags & FwRuleFlag["interfaces-not"] ? "not in" : "in"} ${groupWords(rule.interfaces, names)}`,
    );
  return words;
}

function macTexts({ address, count }: FwMacs): string[] {
  return address.slice(0, count).map((bytes) =>
    Buffer.from(bytes)
      .toString("hex")
      .replace(/..(?=.)/g, "$&:"),
  );
}

function groupWords(groups: bigint, names: Names): string {
  return bitsOf(groups)
    .map((id) => names.nameOf("interface-group", id) ?? `group ${id}`)
    .join(",");
}

function bitsOf(bits: bigint): number[] {
  return Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (bits >> BigInt(bit)) & 1n);
}
