// What happens to a packet under a policy, said by the reference model, with the lines of policy that decide.
import { formatAddress, type PolicyFile, parseAddress } from "../../base/index.ts";
import {
  type DescribedPacket,
  dscpNumbers,
  findTracker,
  type Judgement,
  type ModelInput,
  nameOfNumber,
  nameTcpFlags,
  prepareModel,
  type RouteReference,
  type RuleReference,
} from "../../kinds/firewall/index.ts";
import type { PolicyDocument, PolicySet } from "../../policy/index.ts";
import type { DescribedQuestion, Question } from "../question.ts";
import type { Style } from "../style.ts";
import { plain, plainLines } from "../text.ts";
import { type ConnectionsView, judgeConnection, renderConnections } from "./explain-connections.ts";

/** A rule with the place and the text that it has in the policy. */
export interface RuleView {
  /** `document/rule` */
  readonly rule: string;
  readonly file: string;
  readonly line: number;
  readonly text: readonly string[];
  /** What a rule in audit mode would have done. */
  readonly wouldBe: "pass" | "drop" | "reject" | null;
}

export interface ExplainView extends ConnectionsView {
  /** The revision or folder that was asked. */
  readonly policy: string;
  readonly packet: string;
  readonly verdict: "pass" | "drop" | "reject";
  readonly reason: string;
  /** How the sender of a rejected packet is answered; null if it is not. */
  readonly answer: string | null;
  /** What the rule sets: the packet's mark, its DSCP. */
  readonly mark: number | null;
  readonly dscp: number | null;
  readonly rule: RuleView | null;
  /** Where the rule sends the packet, replies to it and a copy of it. */
  readonly route: RouteReference | null;
  readonly logged: readonly RuleView[];
  /** Rules that a later fragment passes by because it has no ports. */
  readonly passedOverForPorts: readonly RuleView[];
}

export interface ExplainInput {
  readonly name: string;
  readonly policy: PolicySet;
  readonly files: readonly PolicyFile[];
  readonly interfaces: readonly string[];
  readonly now: number;
  readonly countryOf: NonNullable<ModelInput["countryOf"]>;
}

export function explainPacket(question: Question, input: ExplainInput): ExplainView {
  const { policy } = input;
  const model: ModelInput = {
    policy: {
      interfaceGroups: policy.byKind("InterfaceGroup"),
      addressSets: policy.byKind("AddressSet"),
      portSets: policy.byKind("PortSet"),
      firewalls: policy.byKind("Firewall"),
    },
    interfaceName: question.interface,
    interfaces: input.interfaces,
    now: input.now,
    countryOf: input.countryOf,
  };
  const trackedBy = findTracker(model, policy.byKind("Conntrack")) ?? null;
  const judgement = judgeConnection(judgeWith(model, question), question.state, trackedBy);
  const show = (reference: RuleReference, wouldBe: RuleView["wouldBe"] = null) =>
    viewRule(reference, wouldBe, input);
  return {
    policy: input.name,
    packet: describePacket(question),
    verdict: judgement.verdict,
    reason: judgement.reason,
    answer: judgement.answer ?? null,
    mark: judgement.mark ?? null,
    dscp: judgement.dscp ?? null,
    rule: judgement.rule === undefined ? null : show(judgement.rule),
    state: question.state,
    limits: judgement.limits ?? null,
    trackedBy,
    route: judgement.route ?? null,
    logged: judgement.logged.map((rule) => show(rule, rule.wouldBe ?? null)),
    passedOverForPorts: judgement.passedOverForPorts.map((rule) => show(rule)),
  };
}

function judgeWith(model: ModelInput, question: Question): Judgement {
  const prepared = prepareModel(model);
  return question.kind === "frame"
    ? prepared.judgeFrame(Buffer.from(question.frame, "hex"), question.state)
    : prepared.judgePacket(packetOf(question), question.state);
}

function packetOf(question: DescribedQuestion): DescribedPacket {
  const { protocol, sourcePort, destinationPort, fragment, tcpFlags, icmpType, icmpCode } = question;
  const bytesOf = (text: string) => {
    const parsed = parseAddress(text);
    return parsed.ok ? parsed.value.bytes : new Uint8Array(4);
  };
  const source = bytesOf(question.source);
  const { sourceMac, destinationMac, dscp, length } = question;
  return {
    family: source.length === 4 ? 4 : 6,
    source,
    destination: bytesOf(question.destination),
    protocol,
    fragment: fragment !== "whole",
    laterFragment: fragment === "later",
    tags: question.vlan.map((vid) => ({ tpid: 0x8100, vid, pcp: 0 })),
    ...(sourcePort !== null && { sourcePort }),
    ...(destinationPort !== null && { destinationPort }),
    ...(tcpFlags !== null && { tcpFlags }),
    ...(icmpType !== null && { icmpType }),
    ...(icmpCode !== null && { icmpCode }),
    ...(dscp !== null && { dscp }),
    ...(length !== null && { l3Length: length }),
    ...(sourceMac !== null && { sourceMac: macBytes(sourceMac) }),
    ...(destinationMac !== null && { destinationMac: macBytes(destinationMac) }),
  };
}

function macBytes(text: string): Uint8Array {
  return Buffer.from(text.replaceAll(":", ""), "hex");
}

function describePacket(question: Question): string {
  const state = question.state === "new" ? "" : `, ${question.state}`;
  if (question.kind === "frame")
    return `frame of ${question.frame.length / 2} bytes on ${question.interface}${state}`;
  const { source, destination, sourcePort, destinationPort, fragment } = question;
  const join = (text: string, port: number | null) => {
    const parsed = parseAddress(text);
    const address = parsed.ok ? formatAddress(parsed.value) : text;
    if (port === null) return address;
    return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  };
  const part = fragment === "whole" ? "" : `, ${fragment} fragment`;
  const way = `${join(source, sourcePort)} -> ${join(destination, destinationPort)}`;
  return `${question.protocolName} ${way} on ${question.interface}${part}${describeFields(question)}${state}`;
}

function describeFields(question: DescribedQuestion): string {
  const { tcpFlags, icmpType, icmpCode, dscp, length, vlan, sourceMac, destinationMac } = question;
  const words = [
    vlan.length === 0 ? "" : `vlan ${vlan.join(",")}`,
    sourceMac === null ? "" : `from ${sourceMac}`,
    destinationMac === null ? "" : `to ${destinationMac}`,
    tcpFlags === null ? "" : `flags ${nameTcpFlags(tcpFlags)}`,
    icmpType === null ? "" : `type ${icmpType}${icmpCode === null ? "" : `/${icmpCode}`}`,
    dscp === null ? "" : `dscp ${nameOfNumber(dscpNumbers, dscp)}`,
    length === null ? "" : `${length} bytes`,
  ];
  return words
    .filter((word) => word !== "")
    .map((word) => `, ${word}`)
    .join("");
}

function viewRule(reference: RuleReference, wouldBe: RuleView["wouldBe"], input: ExplainInput): RuleView {
  const rule = `${reference.document}/${reference.rule}`;
  const document = input.policy.byKind("Firewall").find((d) => d.name === reference.document);
  const index = document?.spec.rules.findIndex((r) => r.name === reference.rule) ?? -1;
  if (document === undefined || index < 0) return { rule, file: "", line: 0, text: [], wouldBe };
  const { file, line, column } = document.locate(["spec", "rules", index]);
  return { rule, file, line, text: readRuleText(document, { line, column }, input.files), wouldBe };
}

/** Lines of one rule that are shown. */
const linesMax = 40;

/** The lines of an item of a list: up to the next line that does not stand deeper. */
function readRuleText(
  document: PolicyDocument<"Firewall">,
  start: { readonly line: number; readonly column: number },
  files: readonly PolicyFile[],
): string[] {
  const file = files.find(({ path }) => path === document.file);
  if (file === undefined) return [];
  const lines = plainLines(new TextDecoder().decode(file.content)).slice(start.line - 1);
  const [first = ""] = lines;
  const indent = first.search(/\S/);
  const end = lines.findIndex((text, i) => i > 0 && text.trim() !== "" && text.search(/\S/) <= indent);
  const own = lines.slice(0, end < 0 ? lines.length : end);
  // The closing brace of JSON stands as far out as the opening one.
  if (first.trim().startsWith("{") && end >= 0 && /^\s*\}/.test(lines[end] ?? "")) own.push(lines[end] ?? "");
  while (own.at(-1)?.trim() === "" || own.at(-1)?.trim().startsWith("#")) own.pop();
  const shown = own.slice(0, linesMax).map((text) => text.slice(Math.max(0, indent)));
  return own.length > linesMax ? [...shown, `... ${own.length - linesMax} more lines`] : shown;
}

export function renderExplain(view: ExplainView, style: Style): string[] {
  const paint = view.verdict === "pass" ? style.green : style.red;
  const lines = [
    `${style.dim("Packet")}   ${plain(view.packet)}`,
    `${style.dim("Policy")}   ${plain(view.policy)}`,
    `${style.dim("Verdict")}  ${paint(view.verdict.toUpperCase())}, ${explainReason(view.reason)} (${view.reason})`,
  ];
  if (view.answer !== null) lines.push(`${style.dim("Answer")}   ${view.answer}, unless too many are sent`);
  if (view.mark !== null) lines.push(`${style.dim("Mark")}     ${view.mark}`);
  if (view.dscp !== null) lines.push(`${style.dim("DSCP")}     ${view.dscp}`);
  if (view.route !== null) lines.push(...renderRoute(view.route, style));
  lines.push(...renderConnections(view, style));
  if (view.rule !== null) lines.push("", ...renderRule("Decided by", view.rule, style));
  for (const rule of view.logged) {
    const what = rule.wouldBe === null ? "Logged by" : `Logged by (would ${rule.wouldBe})`;
    lines.push("", ...renderRule(what, rule, style));
  }
  for (const rule of view.passedOverForPorts) {
    lines.push("", ...renderRule("Passed by, as a later fragment has no transport header:", rule, style));
  }
  return lines;
}

function renderRoute({ routeTo, replyTo, dupTo }: RouteReference, style: Style): string[] {
  const ways = [
    ["Leaves", routeTo],
    ["Replies", replyTo],
    ["Copy", dupTo],
  ] as const;
  return ways.flatMap(([what, name]) =>
    name === undefined ? [] : [`${style.dim(what.padEnd(8))} by ${plain(name)}`],
  );
}

function renderRule(what: string, rule: RuleView, style: Style): string[] {
  const place = rule.file === "" ? "" : `  ${style.dim(`${plain(rule.file)}:${rule.line}`)}`;
  return [`${what} ${style.bold(plain(rule.rule))}${place}`, ...rule.text.map((text) => `    ${text}`)];
}

const reasons: Readonly<Record<string, string>> = {
  unbound: "since no policy is bound to this interface",
  "non-ip-pass": "as all that is not IP",
  "non-ip-drop": "as all that is not IP",
  "rule-pass": "by a rule",
  "rule-drop": "by a rule",
  reject: "and its sender is answered",
  "reject-silent": "without an answer, as a packet like this may not have one",
  routed: "and goes where its rule says",
  "route-expired": "and cannot be sent on, as it has no time left: the host says so to its sender",
  "no-route":
    "as it cannot go where its rule sends it: the interface is missing, or its family has no next hop",
  established: "as one of a connection that was let through: no rule is asked",
  "default-pass": "by the default, as no rule decided",
  "default-drop": "by the default, as no rule decided",
};

function explainReason(reason: string): string {
  return reasons[reason] ?? "since the packet is malformed";
}
