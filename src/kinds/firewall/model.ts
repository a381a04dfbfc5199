// The reference model of the firewall: what must happen to a packet, straight from the policy documents. The
// datapath is compared with it, `explain` and `test` speak through it. It must stay independent of the compiler,
// of the compiled tables and of the C program, whose names for reasons are all that it knows of them, or a shared
// mistake would go unseen.
import { dissect } from "../../base/index.ts";
import type { DescribedPacket, PacketState } from "./model-fields.ts";
import type { Judgement, LoggedRule, RuleReference } from "./model-judgement.ts";
import { matchRule, type ParsedRule, parseRule, type RejectWord } from "./model-match.ts";
import {
  bindInterface,
  lookUpSets,
  type ModelInput,
  type NonIpVerdict,
  type Verdict,
} from "./model-policy.ts";
import { answerTo } from "./model-reject.ts";
import { followRoutes } from "./model-routes.ts";

export type { DescribedPacket, PacketState } from "./model-fields.ts";
export type {
  ConnectionLimits,
  DecidingRule,
  Judgement,
  LoggedRule,
  RouteReference,
  RuleReference,
} from "./model-judgement.ts";
export type { ModelInput, ModelPolicy, Verdict } from "./model-policy.ts";
export type { Answer } from "./model-reject.ts";

/** Judges packets that arrive on one interface under one policy at one time; they begin a connection by default. */
export interface FirewallModel {
  /** Any bytes, beginning with the Ethernet header. */
  judgeFrame(frame: Uint8Array, state?: PacketState): Judgement;
  /** An IP packet that is described rather than sent; it is taken to be well formed. */
  judgePacket(packet: DescribedPacket, state?: PacketState): Judgement;
}

/** A binding whose rules are parsed. */
interface ModelBinding {
  /** All interfaces of the host. */
  readonly interfaces: readonly string[];
  readonly documents: readonly ModelDocument[];
  readonly default: Verdict;
  readonly nonIp: NonIpVerdict;
}

interface ModelDocument {
  readonly name: string;
  readonly mode: "enforce" | "audit";
  readonly rules: readonly ParsedRule[];
  readonly auditedDefault: Verdict | undefined;
  readonly auditedNonIp: NonIpVerdict | undefined;
}

/** Parses the policy once for many packets. Throws a `bug` for a policy that the compiler would have refused. */
export function prepareModel(input: ModelInput): FirewallModel {
  const bound = bindInterface(input);
  if (bound === undefined) {
    const unbound = judgement("pass", "unbound");
    return { judgeFrame: () => unbound, judgePacket: () => unbound };
  }
  const binding: ModelBinding = {
    ...bound,
    interfaces: input.interfaces,
    documents: bound.documents.map((document) => ({
      ...document,
      rules: document.rules.map((rule) => parseRule(rule, lookUpSets(input))),
    })),
  };
  return {
    judgeFrame: (frame, state = "new") => judgeFrame(binding, frame, state),
    judgePacket: (packet, state = "new") => judgePacket(binding, packet, state),
  };
}

/** One frame, with the policy parsed for it alone. */
export function judge(input: ModelInput, frame: Uint8Array): Judgement {
  return prepareModel(input).judgeFrame(frame);
}

function judgeFrame(binding: ModelBinding, frame: Uint8Array, state: PacketState): Judgement {
  const dissected = dissect(frame);
  switch (dissected.kind) {
    case "malformed":
      return judgement("drop", dissected.reason);
    case "non-ip":
      return {
        ...judgement(binding.nonIp, `non-ip-${binding.nonIp}`),
        logged: binding.documents.flatMap(({ name, auditedNonIp }) =>
          auditedNonIp === undefined ? [] : [{ document: name, rule: "(non-ip)", wouldBe: auditedNonIp }],
        ),
      };
    case "ip":
      return judgePacket(binding, dissected, state);
  }
}

function judgePacket(binding: ModelBinding, packet: DescribedPacket, state: PacketState): Judgement {
  const logged: LoggedRule[] = [];
  const passedOverForPorts: RuleReference[] = [];
  const settle = (end: End): Judgement => ({
    ...end,
    logged,
    fragment: packet.laterFragment ? "later" : packet.fragment ? "first" : "whole",
    passedOverForPorts,
  });
  for (const document of binding.documents) {
    let decided = false;
    for (const rule of document.rules) {
      const reference: RuleReference = { document: document.name, rule: rule.name };
      const match = matchRule(rule, packet, state);
      if (match === "no-ports") passedOverForPorts.push(reference);
      if (match !== "yes") continue;
      if (rule.action === "log") {
        logged.push(reference);
        continue;
      }
      if (document.mode === "audit") {
        logged.push({ ...reference, wouldBe: rule.action });
        decided = true;
        break;
      }
      const settled = settle(endByRule(rule, reference, packet));
      if (rule.action !== "pass") return settled;
      return { ...settled, ...followRoutes(rule.routes, packet, binding.interfaces) };
    }
    if (!decided && document.auditedDefault !== undefined) {
      logged.push({ document: document.name, rule: "(default)", wouldBe: document.auditedDefault });
    }
  }
  return settle(
    binding.default === "reject"
      ? endWithAnswer(packet, "auto")
      : { verdict: binding.default, reason: `default-${binding.default}` },
  );
}

type End = Pick<Judgement, "verdict" | "reason" | "rule" | "answer" | "mark" | "dscp" | "limits">;

function endByRule(rule: ParsedRule, reference: RuleReference, packet: DescribedPacket): End {
  const decided = { rule: { ...reference, log: rule.log } };
  switch (rule.action) {
    case "reject":
      return { ...decided, ...endWithAnswer(packet, rule.reject) };
    case "drop":
      return { ...decided, verdict: "drop", reason: "rule-drop" };
    default: {
      const { mark, dscp, limits } = rule;
      const sets = {
        ...(mark !== undefined && { mark }),
        ...(dscp !== undefined && { dscp }),
        ...(limits !== undefined && { limits }),
      };
      return { ...decided, ...sets, verdict: "pass", reason: "rule-pass" };
    }
  }
}

function endWithAnswer(packet: DescribedPacket, how: RejectWord): End {
  const answer = answerTo(packet, how);
  return answer === undefined
    ? { verdict: "reject", reason: "reject-silent" }
    : { verdict: "reject", reason: "reject", answer };
}

/** About a frame that no rule was tried on. */
function judgement(verdict: Verdict, reason: Judgement["reason"]): Judgement {
  return { verdict, reason, logged: [], fragment: "whole", passedOverForPorts: [] };
}
