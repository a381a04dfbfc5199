// What a firewall can say about a packet: the vocabulary of the reference model, and of everybody who compares
// something with it.
import type { FwReason } from "../../abi/index.ts";
import type { Verdict } from "./model-policy.ts";
import type { Answer } from "./model-reject.ts";

/** A rule by the name of its document and its own. */
export interface RuleReference {
  readonly document: string;
  readonly rule: string;
}

/** A rule that a packet met and that recorded it; `wouldBe` is what a rule of a document in audit mode would have done. */
export interface LoggedRule extends RuleReference {
  readonly wouldBe?: Verdict;
}

/** `log`: the rule also asks for an event for each packet that it decides. */
export interface DecidingRule extends RuleReference {
  readonly log: boolean;
}

/** Interfaces that the packet, the replies of its connection and a copy leave by, where a rule names them. */
export interface RouteReference {
  readonly routeTo?: string;
  readonly replyTo?: string;
  readonly dupTo?: string;
}

/** How many connections there may be at a time; what would be one more is dropped. Absent: any number. */
export interface ConnectionLimits {
  readonly connectionsPerSource?: number;
  readonly connections?: number;
  /** How long a source is blocked that wants more than `connectionsPerSource`, as it is written. */
  readonly block?: string;
}

export interface Judgement {
  readonly verdict: Verdict;
  /** Every packet has exactly one. The model never gives `internal-error`: something that cannot be. */
  readonly reason: FwReason;
  /** Absent where no rule decided. */
  readonly rule?: DecidingRule;
  /** How the sender of a rejected packet is answered, as long as not too many are; absent if it must not be. */
  readonly answer?: Answer;
  /** What the rule that lets the packet through sets. */
  readonly mark?: number;
  readonly dscp?: number;
  /** The verdict of a packet that begins a connection is `pass` as long as there are not as many yet. */
  readonly limits?: ConnectionLimits;
  /** Absent where no rule says where anything goes. */
  readonly route?: RouteReference;
  /** In the order in which the packet met them: log rules, and the first match of each document in audit mode. */
  readonly logged: readonly LoggedRule[];
  /** What the packet is of the one that was sent; `whole` too where it was not read as an IP packet. */
  readonly fragment: "whole" | "first" | "later";
  /**
   * Rules that a later fragment meets in all but the ports, TCP flags or type of ICMP, which it does not have. They
   * did not match, although they may match the packet that was sent.
   */
  readonly passedOverForPorts: readonly RuleReference[];
}
