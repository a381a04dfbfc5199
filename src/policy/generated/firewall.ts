// Generated from schema/firewall.schema.json by scripts/generate-policy-types.ts. Do not edit.
import type { Metadata, NodeSelector, PortList } from "./common.ts";

/**
 * A DSCP: cs0 to cs7, af11 to af43, ef, le, or a number from 0 to 63.
 */
export type FirewallDscp =
  | (
      | "cs0"
      | "cs1"
      | "cs2"
      | "cs3"
      | "cs4"
      | "cs5"
      | "cs6"
      | "cs7"
      | "af11"
      | "af12"
      | "af13"
      | "af21"
      | "af22"
      | "af23"
      | "af31"
      | "af32"
      | "af33"
      | "af41"
      | "af42"
      | "af43"
      | "ef"
      | "le"
    )
  | number;
/**
 * tcp, udp, icmp (IPv4), icmpv6, or a protocol number from 0 to 255.
 */
export type FirewallProtocol = ("tcp" | "udp" | "icmp" | "icmpv6" | "esp" | "ah" | "gre" | "sctp") | number;
/**
 * Ports and ranges, or an object that also names sets or negates.
 */
export type FirewallPorts = PortList | FirewallPortChoice;
/**
 * A type by name or number: echo-request, 8; or a type with one code of it: { type: destination-unreachable, code: 4 }.
 */
export type FirewallIcmp =
  | FirewallIcmpType
  | {
      readonly type: FirewallIcmpType;
      /**
       * From 0 to 255.
       */
      readonly code: number;
    };
/**
 * A type of ICMP or ICMPv6 by name or number.
 */
export type FirewallIcmpType = number | string;
/**
 * new, established, related or invalid.
 */
export type FirewallState = "new" | "established" | "related" | "invalid";
/**
 * none: there is no such tag. any: there is one. A number from 0 to 4095: there is one with this id.
 */
export type FirewallVlan = ("none" | "any") | number;
/**
 * Hardware addresses of which one must match, or an object that negates them.
 */
export type FirewallMacs =
  | FirewallMacList
  | {
      readonly macs: FirewallMacList;
      /**
       * Match frames whose address is none of these, of which there may be four.
       */
      readonly not?: boolean;
    };
/**
 * Hardware addresses: 02:00:5e:10:00:01.
 *
 * @minItems 1
 * @maxItems 64
 */
export type FirewallMacList = readonly string[];
/**
 * Names of InterfaceGroup documents, or of interfaces: without spaces, slashes, colons and *.
 *
 * @minItems 1
 * @maxItems 64
 */
export type FirewallGroupList = readonly string[];
/**
 * The address of the neighbour that packets go to, or one of each family. Without any the host's routes through the interface say; with one, packets of the other family are dropped.
 */
export type FirewallNextHop = string | readonly string[];

/**
 * An ordered list of rules for the packets that arrive on some interfaces. The first rule that matches decides; documents are evaluated by order, then by name.
 */
export interface Firewall {
  /**
   * The version of the policy language.
   */
  readonly apiVersion: "penstock/v1";
  /**
   * The kind of this document.
   */
  readonly kind: "Firewall";
  readonly metadata: Metadata;
  readonly spec: FirewallSpec;
}
/**
 * Where the rules apply, and the rules.
 */
export interface FirewallSpec {
  readonly nodes?: NodeSelector;
  /**
   * Names of InterfaceGroup documents, or of interfaces. A name that is both means the group.
   *
   * @minItems 1
   * @maxItems 64
   *
   * Items: A group's or an interface's name: without spaces, slashes, colons and *; to follow a pattern, name an InterfaceGroup.
   */
  readonly interfaces: readonly string[];
  /**
   * Documents with a lower number are evaluated first; equal numbers by name.
   */
  readonly order?: number;
  /**
   * enforce applies verdicts. audit counts and reports what the document's first matching rule would have done, then goes on to the next document.
   */
  readonly mode?: "enforce" | "audit";
  /**
   * The verdict for IP packets to these interfaces that no rule of any document decided. Enforcing documents that share an interface must agree; pass if none says anything. reject answers as the rule action with reject: auto does. In audit mode it is reported for packets that no rule of the document decided, and not applied.
   */
  readonly default?: "pass" | "drop" | "reject";
  /**
   * The verdict for frames that carry neither IPv4 nor IPv6, ARP among them. Documents that share an interface must agree; pass if none says anything.
   */
  readonly nonIp?: "pass" | "drop";
  readonly steering?: FirewallSteering;
  /**
   * What a commit means for connections that the document has let through. reevaluate: the next packet of each, in its original direction, meets the rules as if it began today. keep: they go on until they end.
   */
  readonly onChange?: "keep" | "reevaluate";
  /**
   * Rules in the order in which they are tried.
   *
   * @maxItems 65535
   */
  readonly rules: readonly FirewallRule[];
}
/**
 * At which processors packets that pass go on, by flow.
 */
export interface FirewallSteering {
  /**
   * all: every processor that is online. local: those of the node of memory where the interface is. Or their numbers.
   */
  readonly cpus: ("all" | "local") | readonly number[];
}
/**
 * One rule: what it matches and what happens then.
 */
export interface FirewallRule {
  /**
   * Unique in the document. Counters and history follow the name, wherever the rule moves.
   */
  readonly name: string;
  /**
   * What the rule is for.
   */
  readonly description?: string;
  /**
   * pass, drop and reject decide; reject drops the packet and answers its sender. log reports and counts the packet, then the next rule is tried.
   */
  readonly action: "pass" | "drop" | "reject" | "log";
  /**
   * With action reject: the answer. auto is tcp-reset for TCP and port-unreachable for everything else; the others but tcp-reset are errors of ICMP or ICMPv6.
   */
  readonly reject?:
    "auto" | "tcp-reset" | "port-unreachable" | "host-unreachable" | "net-unreachable" | "admin-prohibited";
  /**
   * With action pass: the packet's mark (skb->mark) for the programs, routing rules and filters behind.
   */
  readonly mark?: number;
  readonly dscp?: FirewallDscp;
  /**
   * Also send an event for each packet that this rule decides (bounded in rate).
   */
  readonly log?: boolean;
  readonly match?: FirewallMatch;
  readonly routeTo?: FirewallRoute;
  readonly replyTo?: FirewallReplyRoute;
  readonly dupTo?: FirewallMirror;
  readonly limits?: FirewallLimits;
  /**
   * The person or team to ask about this rule.
   */
  readonly owner?: string;
  /**
   * The rule is in force up to and including this day (UTC), or up to this instant: 2027-06-30 or 2027-06-30T12:00:00Z.
   */
  readonly expires?: string;
}
/**
 * All fields that are given must match; without any field every IP packet matches.
 */
export interface FirewallMatch {
  /**
   * Only IPv4 or only IPv6 packets.
   */
  readonly family?: "ipv4" | "ipv6";
  /**
   * An IP protocol by name or number, or a list of which one must match.
   */
  readonly protocol?: FirewallProtocol | readonly FirewallProtocol[];
  readonly source?: FirewallEndpoint;
  readonly destination?: FirewallEndpoint;
  readonly sourcePorts?: FirewallPorts;
  readonly destinationPorts?: FirewallPorts;
  /**
   * TCP flags as match/mask: syn/syn,ack means that of SYN and ACK only SYN is set; syn,ack without a mask that both are; none/all that no flag is.
   */
  readonly tcpFlags?: string;
  /**
   * Types of ICMP or ICMPv6, of which one must match; needs the protocol icmp or icmpv6, which says what the names mean.
   *
   * @minItems 1
   * @maxItems 64
   */
  readonly icmp?: readonly FirewallIcmp[];
  /**
   * Bytes of the IP packet, its header included, padding not: 1500, "40-1500".
   */
  readonly length?: number | string;
  /**
   * none: the packet is whole. first and later: that fragment of one that is not. any: any fragment.
   */
  readonly fragment?: "none" | "first" | "later" | "any";
  /**
   * A DSCP by name or number, or a list of which one must match.
   */
  readonly dscp?: FirewallDscp | readonly FirewallDscp[];
  /**
   * What the packet is to the connections that are known, or a list of which one must match.
   */
  readonly state?: FirewallState | readonly FirewallState[];
  /**
   * The VLAN of the outer tag, or outer and inner tag of a frame that may have two.
   */
  readonly vlan?:
    | FirewallVlan
    | {
        readonly outer?: FirewallVlan;
        readonly inner?: FirewallVlan;
      };
  readonly sourceMac?: FirewallMacs;
  readonly destinationMac?: FirewallMacs;
  /**
   * Of the document's interfaces only those in these groups, or, with not, those in none of them.
   */
  readonly interfaces?:
    | FirewallGroupList
    | {
        readonly groups: FirewallGroupList;
        /**
         * Match packets to interfaces that are in none of the groups.
         */
        readonly not?: boolean;
      };
}
/**
 * Addresses: a packet matches if any of the prefixes or sets holds its address, or, with not, if none does.
 */
export interface FirewallEndpoint {
  /**
   * Addresses and prefixes.
   *
   * @minItems 1
   * @maxItems 65536
   *
   * Items: An IPv4 or IPv6 address, or a prefix whose host bits are zero.
   */
  readonly prefixes?: readonly string[];
  /**
   * Names of AddressSet documents.
   *
   * @minItems 1
   * @maxItems 4
   *
   * Items: Lower-case letters, digits and hyphens, at most 63 characters, beginning and ending with a letter or digit.
   */
  readonly sets?: readonly string[];
  /**
   * Match addresses that are in none of the prefixes and sets.
   */
  readonly not?: boolean;
}
/**
 * Ports: a packet matches if any of the ports or sets holds its port, or, with not, if none does.
 */
export interface FirewallPortChoice {
  readonly ports?: PortList;
  /**
   * Names of PortSet documents.
   *
   * @minItems 1
   * @maxItems 16
   *
   * Items: Lower-case letters, digits and hyphens, at most 63 characters, beginning and ending with a letter or digit.
   */
  readonly sets?: readonly string[];
  /**
   * Match TCP and UDP packets whose port is none of these.
   */
  readonly not?: boolean;
}
/**
 * Where packets leave.
 */
export interface FirewallRoute {
  /**
   * The name of a network interface: at most 15 characters, without spaces, slashes, colons and *.
   */
  readonly interface: string;
  readonly nextHop?: FirewallNextHop;
  /**
   * Send from XDP where the neighbour is known. Only for interfaces whose driver takes frames from XDP: others lose them.
   */
  readonly fast?: boolean;
}
/**
 * Where replies leave.
 */
export interface FirewallReplyRoute {
  /**
   * The name of a network interface: at most 15 characters, without spaces, slashes, colons and *.
   */
  readonly interface: string;
  readonly nextHop?: FirewallNextHop;
}
/**
 * Where copies leave.
 */
export interface FirewallMirror {
  /**
   * The name of a network interface: at most 15 characters, without spaces, slashes, colons and *.
   */
  readonly interface: string;
}
/**
 * How many connections there may be at a time.
 */
export interface FirewallLimits {
  /**
   * How many connections one source address may have by this rule.
   */
  readonly connectionsPerSource?: number;
  /**
   * How many connections all sources together may have by this rule.
   */
  readonly connections?: number;
  /**
   * With connectionsPerSource: how long everything from a source is dropped that asked for one more connection than it may have.
   */
  readonly block?: string;
}
