// What a rule matches -> fields of its records. Lists that are longer than a record holds are cut in pieces, and
// each combination of pieces is a record of its own.
import {
  ConnectionState,
  countOf,
  FwFamily,
  FwFragment,
  type FwMacs,
  type FwRule,
  FwRuleFlag,
  FwVlan,
  fwMacsLayout,
  fwRuleLayout,
} from "../../abi/index.ts";
import { mergeRanges, type PortRange } from "../../base/index.ts";
import type { CompileContext, Origin } from "../../compile/index.ts";
import type { FirewallMacs, FirewallMatch, FirewallRule, FirewallVlan } from "../../policy/index.ts";
import { compileEndpoint } from "./endpoint.ts";
import { reportImpossible } from "./impossible.ts";
import {
  parseDscps,
  parseIcmp,
  parseLength,
  parseMacs,
  parseTcpFlags,
  type TextResult,
} from "./match-text.ts";
import { icmpTypes, icmpv6Types } from "./names.ts";
import { compilePorts } from "./port-match.ts";
import { protocolNumbers } from "./protocols.ts";
import { reportUnknownInterface } from "./unknown-interface.ts";

/** Fields of a record; flags of several are joined. */
export type MatchFields = Partial<FwRule>;

/** A rule, with the place of its `match`. */
export interface MatchInput {
  readonly context: CompileContext;
  readonly rule: FirewallRule;
  /** `document/rule` */
  readonly name: string;
  /** Names of the interfaces and groups that the rule's document is for. */
  readonly on: readonly string[];
  readonly at: Origin;
}

/** Every protocol. */
export const allProtocols: FwRule["protocols"] = [
  0xffffffffffffffffn,
  0xffffffffffffffffn,
  0xffffffffffffffffn,
  0xffffffffffffffffn,
];

/** Records that one rule may become: its lists multiply. */
const partsMax = 256;
/** Port ranges that one record holds, of source and destination each. */
const rangesMax = countOf(fwRuleLayout, "sourcePorts");
const macsMax = countOf(fwMacsLayout, "address");

/** IPv6 extension headers that cannot be matched: hop-by-hop, routing, fragment, destination options. */
const lookedThrough: readonly number[] = [0, 43, 44, 60];

/** The fields of each record that the rule becomes; none if it cannot be compiled, which is reported then. */
export function compileMatch(input: MatchInput): readonly MatchFields[] {
  const match = input.rule.match ?? {};
  const protocols = protocolsOf(match);
  reportImpossible(input, protocols);
  const whole = [
    { family: match.family === undefined ? FwFamily["any-ip"] : FwFamily[match.family] },
    protocolFields(input, protocols),
    endpointFields(input, "source"),
    endpointFields(input, "destination"),
    tcpFields(input),
    lengthFields(input),
    stateFields(match),
    vlanFields(match),
    interfaceFields(input),
  ].reduce(joinFields);
  const lists = [
    portPieces(input, "sourcePorts"),
    portPieces(input, "destinationPorts"),
    icmpPieces(input, protocols),
    macPieces(input, "sourceMac"),
    macPieces(input, "destinationMac"),
  ];
  const parts = lists.reduce((product, pieces) => product * pieces.length, 1);
  if (parts > partsMax) {
    const message = `"${input.rule.name}" has lists so long that together they need ${parts} records, more than ${partsMax}; split the rule, or use wider ranges`;
    report(input, [], { code: "too-many-records", message });
    return [];
  }
  return lists.reduce<readonly MatchFields[]>(
    (records, pieces) => records.flatMap((record) => pieces.map((piece) => joinFields(record, piece))),
    [whole],
  );
}

function joinFields(one: MatchFields, other: MatchFields): MatchFields {
  return { ...one, ...other, flags: (one.flags ?? 0) | (other.flags ?? 0) };
}

/** Numbers; undefined if the rule says nothing. */
function protocolsOf({ protocol }: FirewallMatch): readonly number[] | undefined {
  if (protocol === undefined) return undefined;
  const list = typeof protocol === "object" ? protocol : [protocol];
  return list.map((item) => (typeof item === "number" ? item : (protocolNumbers[item] ?? 0)));
}

function protocolFields(input: MatchInput, numbers: readonly number[] | undefined): MatchFields {
  if (numbers === undefined) return { protocols: allProtocols };
  const words: [bigint, bigint, bigint, bigint] = [0n, 0n, 0n, 0n];
  for (const n of numbers) words[n >> 6] = (words[n >> 6] ?? 0n) | (1n << BigInt(n & 63));
  const hidden = numbers.filter((n) => lookedThrough.includes(n));
  if (hidden.length > 0) {
    const message = `IPv6 is looked through to the transport, so protocol ${hidden.join(", ")} (an extension header) is not what a rule sees there; name the protocol behind it`;
    report(input, ["protocol"], { severity: "warning", code: "looked-through", message });
  }
  return { protocols: words };
}

function endpointFields(input: MatchInput, side: "source" | "destination"): MatchFields {
  const endpoint = input.rule.match?.[side];
  const at = { ...input.at, path: [...input.at.path, side] };
  const fields = compileEndpoint(input.context, endpoint, { at, rule: input.name, side });
  if (endpoint === undefined) return { [side]: fields };
  return { [side]: fields, flags: FwRuleFlag[side] | (endpoint.not ? FwRuleFlag[`${side}-not`] : 0) };
}

function tcpFields(input: MatchInput): MatchFields {
  const given = input.rule.match?.tcpFlags;
  if (given === undefined) return {};
  const bits = accept(input, "tcpFlags", { code: "bad-tcp-flags", result: parseTcpFlags(given) });
  if (bits === undefined) return {};
  if (bits.flags & ~bits.mask) {
    const message = `"${given}" asks for flags that its mask leaves out, so it can never match; name them behind the slash too`;
    report(input, ["tcpFlags"], { code: "never-matches", message });
  } else if (bits.mask === 0) {
    const message = `"${given}" asks for no flag; write none/all for packets without flags`;
    report(input, ["tcpFlags"], { code: "bad-tcp-flags", message });
  }
  return { tcpFlags: bits.flags, tcpMask: bits.mask, flags: FwRuleFlag["tcp-flags"] };
}

function lengthFields(input: MatchInput): MatchFields {
  const given = input.rule.match?.length;
  if (given === undefined) return {};
  const range = accept(input, "length", { code: "bad-length", result: parseLength(given) });
  if (range === undefined) return {};
  return { lengthMin: range.first, lengthMax: range.last, flags: FwRuleFlag.length };
}

/** Fields of fixed words. */
function stateFields({ state, fragment, dscp }: FirewallMatch): MatchFields {
  const states = state === undefined ? [] : typeof state === "object" ? state : [state];
  return {
    states: states.reduce((bits, word) => bits | ConnectionState[word], 0),
    fragments: fragment === undefined ? 0 : fragmentBits[fragment],
    dscps: dscp === undefined ? 0n : parseDscps(dscp),
    flags:
      (state === undefined ? 0 : FwRuleFlag.states) |
      (fragment === undefined ? 0 : FwRuleFlag.fragments) |
      (dscp === undefined ? 0 : FwRuleFlag.dscp),
  };
}

const fragmentBits: Readonly<Record<NonNullable<FirewallMatch["fragment"]>, number>> = {
  none: FwFragment.whole,
  first: FwFragment.first,
  later: FwFragment.later,
  any: FwFragment.first | FwFragment.later,
};

function vlanFields({ vlan }: FirewallMatch): MatchFields {
  if (vlan === undefined) return {};
  const { outer, inner } = typeof vlan === "object" ? vlan : { outer: vlan, inner: undefined };
  const asked = (word: FirewallVlan) => (typeof word === "number" ? word : FwVlan[word]);
  return {
    outerVlan: outer === undefined ? 0 : asked(outer),
    innerVlan: inner === undefined ? 0 : asked(inner),
    flags:
      (outer === undefined ? 0 : FwRuleFlag["outer-vlan"]) |
      (inner === undefined ? 0 : FwRuleFlag["inner-vlan"]),
  };
}

/** Groups are only looked up here: a rule that names one does not bring the firewall to its interfaces. */
function interfaceFields(input: MatchInput): MatchFields {
  const { context, at } = input;
  const given = input.rule.match?.interfaces;
  if (given === undefined) return {};
  const { groups, not = false } = "groups" in given ? given : { groups: given };
  const steps = "groups" in given ? ["interfaces", "groups"] : ["interfaces"];
  let interfaces = 0n;
  groups.forEach((name, i) => {
    const place: Origin = { ...at, path: [...at.path, ...steps, i] };
    const { group, members } = context.groups.use(name);
    if (group !== name && members.length === 0) reportUnknownInterface(context, name, place);
    interfaces |= 1n << BigInt(context.id("interface-group", group, place));
  });
  return { interfaces, flags: FwRuleFlag.interfaces | (not ? FwRuleFlag["interfaces-not"] : 0) };
}

/** Pieces of the ranges of which one must hold the port; one empty piece if the rule says nothing. */
function portPieces(input: MatchInput, field: "sourcePorts" | "destinationPorts"): readonly MatchFields[] {
  const at = { ...input.at, path: [...input.at.path, field] };
  const ranges = compilePorts(input.context, input.rule.match?.[field], at);
  if (ranges === undefined) return [{}];
  return chunk(ranges, rangesMax).map((piece) =>
    field === "sourcePorts"
      ? { sourcePorts: padRanges(piece), sourcePortCount: piece.length, flags: FwRuleFlag.ports }
      : destinationRanges(piece, FwRuleFlag.ports),
  );
}

/** ICMP has no ports: its types stand where they would. */
function icmpPieces(input: MatchInput, protocols: readonly number[] | undefined): readonly MatchFields[] {
  const given = input.rule.match?.icmp;
  if (given === undefined) return [{}];
  const tables = [icmpTypes, icmpv6Types].filter((_, i) => protocols?.includes(icmpProtocols[i] ?? 0));
  const [types = {}, others] = tables;
  if (
    others !== undefined &&
    given.some((item) => typeof (typeof item === "object" ? item.type : item) === "string")
  ) {
    const message = `names of types mean other numbers in ICMP than in ICMPv6; write numbers, or a rule for each`;
    report(input, ["icmp"], { code: "bad-icmp-type", message });
    return [{}];
  }
  const ranges = accept(input, "icmp", { code: "bad-icmp-type", result: parseIcmp(given, types) });
  return chunk(mergeRanges(ranges ?? []), rangesMax).map((piece) =>
    destinationRanges(piece, FwRuleFlag.icmp),
  );
}

const icmpProtocols = [protocolNumbers["icmp"], protocolNumbers["icmpv6"]];

function macPieces(input: MatchInput, field: "sourceMac" | "destinationMac"): readonly MatchFields[] {
  const given = input.rule.match?.[field];
  if (given === undefined) return [{}];
  const { macs, not } = readMacs(given);
  const addresses = parseMacs(macs);
  if (not && addresses.length > macsMax) {
    const message = `at most ${macsMax} addresses can be excluded, not ${addresses.length}; pass the others by rules of their own before this one`;
    report(input, [field, "macs"], { code: "too-many-macs", message });
  }
  return chunk(addresses, macsMax).map((piece) =>
    field === "sourceMac"
      ? {
          sourceMacs: padMacs(piece),
          flags: FwRuleFlag["source-mac"] | (not ? FwRuleFlag["source-mac-not"] : 0),
        }
      : {
          destinationMacs: padMacs(piece),
          flags: FwRuleFlag["destination-mac"] | (not ? FwRuleFlag["destination-mac-not"] : 0),
        },
  );
}

function readMacs(given: FirewallMacs): { readonly macs: readonly string[]; readonly not: boolean } {
  return "macs" in given ? { macs: given.macs, not: given.not === true } : { macs: given, not: false };
}

/** Pieces of at most `most` items. */
function chunk<T>(items: readonly T[], most: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / most) }, (_, i) =>
    items.slice(i * most, (i + 1) * most),
  );
}

function destinationRanges(ranges: readonly PortRange[], flags: number): MatchFields {
  return { destinationPorts: padRanges(ranges), destinationPortCount: ranges.length, flags };
}

function padRanges(ranges: readonly PortRange[]): PortRange[] {
  return Array.from({ length: rangesMax }, (_, i) => ranges[i] ?? { first: 0, last: 0 });
}

function padMacs(macs: readonly Uint8Array[]): FwMacs {
  const [a = noMac, b = noMac, c = noMac, d = noMac] = macs;
  return { address: [a, b, c, d], count: macs.length };
}

const noMac = new Uint8Array(6);

/** The value, or undefined once it is reported what is wrong. */
function accept<T>(
  input: MatchInput,
  field: keyof FirewallMatch,
  { code, result }: { readonly code: string; readonly result: TextResult<T> },
): T | undefined {
  if (result.ok) return result.value;
  report(input, [field, ...result.at], { code, message: result.message });
  return undefined;
}

interface Finding {
  readonly code: string;
  readonly message: string;
  readonly severity?: "error" | "warning";
}

function report({ context, at }: MatchInput, steps: readonly (string | number)[], finding: Finding): void {
  const { code, message, severity = "error" } = finding;
  context.report({ ...at, path: [...at.path, ...steps] }, severity, code, message);
}
