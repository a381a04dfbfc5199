// What can be said of a packet's connection without having seen any packet of it: whether connections are tracked where
// it comes in, when the rules are not asked, and that a rule lets only so many through.
import type { ConnectionLimits, Judgement } from "../../kinds/firewall/index.ts";
import type { Question } from "../question.ts";
import type { Style } from "../style.ts";
import { formatCount, plain } from "../text.ts";

/** What an answer says of the packet and of connections. */
export interface ConnectionsView {
  readonly verdict: Judgement["verdict"];
  readonly reason: string;
  /** What the packet is taken to be. */
  readonly state: Question["state"];
  /** The Conntrack document that tracks connections on the interface; null if none does. */
  readonly trackedBy: string | null;
  /** How many connections the rule lets through at a time; null if it does not say. */
  readonly limits: ConnectionLimits | null;
}

/** Reasons of packets that the rules were asked about; all others never come so far. */
const askedRules: readonly string[] = [
  "rule-pass",
  "rule-drop",
  "default-pass",
  "default-drop",
  "reject",
  "reject-silent",
  "routed",
  "route-expired",
  "no-route",
];

/** What happens, where the rules said `judgement`: packets of an established connection do not ask them. */
export function judgeConnection(
  judgement: Judgement,
  state: Question["state"],
  trackedBy: string | null,
): Judgement {
  const { reason, fragment } = judgement;
  // Later fragments have no ports, and so no connection.
  if (trackedBy === null || state !== "established" || fragment === "later") return judgement;
  if (!askedRules.includes(reason)) return judgement;
  return { verdict: "pass", reason: "established", fragment, logged: [], passedOverForPorts: [] };
}

/** Lines for people; the titles are as wide as those of the rest of the answer. */
export function renderConnections(view: ConnectionsView, style: Style): string[] {
  const lines: string[] = [];
  if (view.limits !== null) lines.push(`${style.dim("Limits")}   ${limitWords(view.limits)}`);
  const tracking = trackingWords(view);
  if (tracking !== "") lines.push(`${style.dim("State")}    ${tracking}`);
  return lines;
}

function trackingWords({ state, trackedBy, verdict, reason }: ConnectionsView): string {
  if (reason !== "established" && !askedRules.includes(reason)) return "";
  if (trackedBy === null)
    return state === "new" ? "" : "connections are not tracked here: every packet is new";
  const tracked = `tracked by ${plain(trackedBy)}`;
  if (reason === "established")
    return `${tracked}: rules are met again after a commit, or to mark or route; --state new says how they decide`;
  return state === "new" && verdict === "pass"
    ? `${tracked}: once answered, its connection passes without rules`
    : tracked;
}

function limitWords({ connectionsPerSource, connections, block }: ConnectionLimits): string {
  const most = [
    connectionsPerSource === undefined
      ? ""
      : `its source has ${formatCount(connectionsPerSource)} connections`,
    connections === undefined ? "" : `all sources have ${formatCount(connections)}`,
  ].filter((word) => word !== "");
  const blocked = block === undefined ? "" : `, and its source blocked for ${block}`;
  return `dropped if ${most.join(" or ")} by this rule already${blocked}`;
}
