// Generated from schema/conntrack.schema.json by scripts/generate-policy-types.ts. Do not edit.
import type { Metadata, NodeSelector } from "./common.ts";

/**
 * Connection tracking on some interfaces: packets of connections that rules let through need no rules any more, and rules can ask what a packet is to its connection.
 */
export interface Conntrack {
  /**
   * The version of the policy language.
   */
  readonly apiVersion: "penstock/v1";
  /**
   * The kind of this document.
   */
  readonly kind: "Conntrack";
  readonly metadata: Metadata;
  readonly spec: ConntrackSpec;
}
/**
 * Where connections are tracked, and how.
 */
export interface ConntrackSpec {
  readonly nodes?: NodeSelector;
  /**
   * Names of InterfaceGroup documents, or of interfaces. An interface takes the settings of one Conntrack document.
   *
   * @minItems 1
   * @maxItems 64
   *
   * Items: A group's or an interface's name: without spaces, slashes, colons and *.
   */
  readonly interfaces: readonly string[];
  /**
   * Take up TCP connections whose beginning nobody saw when one of their packets comes by that rules let through. Otherwise such packets are invalid.
   */
  readonly pickUp?: boolean;
  /**
   * Do not compare TCP sequence numbers with windows, but for resets: for hosts that see only one direction of a connection.
   */
  readonly liberal?: boolean;
  readonly timeouts?: ConntrackTimeouts;
}
/**
 * How long a connection lives without a packet, by protocol and state.
 */
export interface ConntrackTimeouts {
  readonly tcp?: ConntrackTcpTimeouts;
  readonly udp?: ConntrackRepliedTimeouts;
  readonly echo?: ConntrackRepliedTimeouts;
  readonly other?: ConntrackRepliedTimeouts;
}
/**
 * TCP, by state.
 */
export interface ConntrackTcpTimeouts {
  /**
   * A SYN was seen, and no answer.
   */
  readonly synSent?: string;
  /**
   * The SYN was answered, and the answer not acknowledged.
   */
  readonly synRecv?: string;
  /**
   * Both sides have acknowledged.
   */
  readonly established?: string;
  /**
   * One side has sent its FIN.
   */
  readonly finWait?: string;
  /**
   * That FIN is acknowledged.
   */
  readonly closeWait?: string;
  /**
   * Both sides have sent a FIN.
   */
  readonly lastAck?: string;
  /**
   * Both FINs are acknowledged.
   */
  readonly timeWait?: string;
  /**
   * After a reset.
   */
  readonly closed?: string;
}
/**
 * Protocols that know no states: before and after the first packet in the other direction.
 */
export interface ConntrackRepliedTimeouts {
  /**
   * Before the first answer. By default 30s for UDP and echo, 10m for others.
   */
  readonly new?: string;
  /**
   * After it. By default 3m for UDP, 30s for echo, 10m for others.
   */
  readonly replied?: string;
}
