// Rule records in words: for plans, drift reports and whoever asks what the kernel holds.
import {
  type FwEndpoint,
  FwFamily,
  type FwRule,
  FwRuleFlag,
  fwActionNames,
  fwRuleCodec,
} from "../../abi/index.ts";
import { formatPrefix, type PortRange } from "../../base/index.ts";
import type { EntryText, Names } from "../../compile/index.ts";
import { actionWords } from "./actions.ts";
import { protocolName } from "./protocols.ts";
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
    portWords(
      rule.flags & FwRuleFlag.destination ? "port" : "to port",
      rule.destinationPorts,
      rule.destinationPortCount,
    ),
    `on ${groupWords(rule.groups, names)}`,
    rule.flags & FwRuleFlag.log ? "with log" : "",
    actionWords(rule),
    routeWords(rule, names),
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

function groupWords(groups: bigint, names: Names): string {
  const found: string[] = [];
  for (let id = 0; id < 64; id++) {
    if ((groups >> BigInt(id)) & 1n) found.push(names.nameOf("interface-group", id) ?? `group ${id}`);
  }
  return found.join(",");
}
