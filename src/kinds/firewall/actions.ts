// What a rule does -> fields of its records, and those fields in words.
import { FwAction, FwReject, type FwRule, FwRuleFlag } from "../../abi/index.ts";
import type { CompileContext, Origin } from "../../compile/index.ts";
import type { FirewallRule } from "../../policy/index.ts";
import { compileLimits, type LimitFields, limitWords } from "./limits.ts";
import { dscpNumbers, nameOfNumber } from "./names.ts";
import { protocolNumbers } from "./protocols.ts";

/** `flags` are those of the action alone, to be joined with the others. */
export type ActionFields = Pick<FwRule, "action" | "flags" | "reject" | "mark" | "dscp"> & LimitFields;

type RejectWord = NonNullable<FirewallRule["reject"]>;

const rejectNumbers: Readonly<Record<RejectWord, number>> = {
  auto: FwReject.auto,
  "tcp-reset": FwReject.reset,
  "port-unreachable": FwReject.port,
  "host-unreachable": FwReject.host,
  "net-unreachable": FwReject.network,
  "admin-prohibited": FwReject.prohibited,
};

/** Compiles what a rule does; what its action has no use for, or cannot do, is reported. */
export function compileAction(context: CompileContext, rule: FirewallRule, at: Origin): ActionFields {
  const { action, reject, mark, dscp } = rule;
  const expect = (field: keyof FirewallRule, needed: FirewallRule["action"]) => {
    if (rule[field] === undefined || action === needed) return;
    const message = `"${rule.name}" has the action ${action}, with which ${field} means nothing; it belongs to "action: ${needed}"`;
    context.report({ ...at, path: [...at.path, field] }, "error", "needs-other-action", message);
  };
  expect("reject", "reject");
  expect("mark", "pass");
  expect("dscp", "pass");
  expect("limits", "pass");
  if (reject === "tcp-reset" && !isTcpOnly(rule)) {
    const message = `only TCP has resets; give "${rule.name}" the match "protocol: tcp", or write "reject: auto" for resets to TCP and port-unreachable to all others`;
    context.report({ ...at, path: [...at.path, "reject"] }, "error", "reset-needs-tcp", message);
  }
  return {
    ...compileLimits(context, rule, at),
    action: FwAction[action],
    flags:
      (mark === undefined ? 0 : FwRuleFlag["set-mark"]) | (dscp === undefined ? 0 : FwRuleFlag["set-dscp"]),
    reject: rejectNumbers[reject ?? "auto"],
    mark: mark ?? 0,
    dscp: typeof dscp === "string" ? (dscpNumbers[dscp] ?? 0) : (dscp ?? 0),
  };
}

/** `with tcp-reset`, `with mark 5, dscp ef`, `at most 20 of a source`; an empty text if there is nothing to say. */
export function actionWords(rule: ActionFields): string {
  const words: string[] = [];
  if (rule.action === FwAction.reject) {
    const [word] = Object.entries(rejectNumbers).find(([, number]) => number === rule.reject) ?? [];
    if (word !== "auto") words.push(word ?? `answer ${rule.reject}`);
  }
  if (rule.flags & FwRuleFlag["set-mark"]) words.push(`mark ${rule.mark}`);
  if (rule.flags & FwRuleFlag["set-dscp"]) words.push(`dscp ${nameOfNumber(dscpNumbers, rule.dscp)}`);
  const given = words.length === 0 ? "" : `with ${words.join(", ")}`;
  return [given, limitWords(rule)].filter((word) => word !== "").join(" ");
}

function isTcpOnly(rule: FirewallRule): boolean {
  const given = rule.match?.protocol;
  const list = Array.isArray(given) ? given : given === undefined ? [] : [given];
  return list.length > 0 && list.every((p) => p === "tcp" || p === protocolNumbers["tcp"]);
}
