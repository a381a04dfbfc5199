/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The record of a firewall rule: everything that it matches and does, and the table of all rules in their order. */
#pragma once

#include "lib/policy.h"
#include "lib/verdict.h"

#define ENDPOINT_SETS 6
#define PORT_RANGES   8
#define ENDPOINT_MACS 4

enum fw_action {
	FW_ACTION_ABSENT = 0,
	FW_ACTION_PASS = 1,
	FW_ACTION_DROP = 2,
	FW_ACTION_LOG = 3,
	/* Drop, and tell the sender: a TCP reset, or ICMP or ICMPv6 unreachable. */
	FW_ACTION_REJECT = 4,
};

/* A match that a rule does not ask for has no flag, and its fields are zero. */
enum fw_rule_flag {
	/* The document is in audit mode: report, do not decide. */
	FW_RULE_FLAG_AUDIT = 1,
	/* Send an event for each packet that this rule decides. */
	FW_RULE_FLAG_LOG = 2,
	FW_RULE_FLAG_SOURCE = 4,
	FW_RULE_FLAG_SOURCE_NOT = 8,
	FW_RULE_FLAG_DESTINATION = 16,
	FW_RULE_FLAG_DESTINATION_NOT = 32,
	/* Only packets with ports can match. */
	FW_RULE_FLAG_PORTS = 64,
	/* Not a rule of a document but what it says for packets that no rule decided. */
	FW_RULE_FLAG_DEFAULT = 128,
	/* Only ICMP and ICMPv6 can match: destination_ports hold ranges of type << 8 | code. */
	FW_RULE_FLAG_ICMP = 256,
	FW_RULE_FLAG_INTERFACES = 1 << 9,
	FW_RULE_FLAG_INTERFACES_NOT = 1 << 10,
	FW_RULE_FLAG_DSCP = 1 << 11,
	FW_RULE_FLAG_LENGTH = 1 << 12,
	FW_RULE_FLAG_TCP_FLAGS = 1 << 13,
	FW_RULE_FLAG_STATES = 1 << 14,
	FW_RULE_FLAG_FRAGMENTS = 1 << 15,
	FW_RULE_FLAG_SOURCE_MAC = 1 << 16,
	FW_RULE_FLAG_SOURCE_MAC_NOT = 1 << 17,
	FW_RULE_FLAG_DESTINATION_MAC = 1 << 18,
	FW_RULE_FLAG_DESTINATION_MAC_NOT = 1 << 19,
	FW_RULE_FLAG_OUTER_VLAN = 1 << 20,
	FW_RULE_FLAG_INNER_VLAN = 1 << 21,
	/* The rule sets the packet's mark, its DSCP. */
	FW_RULE_FLAG_SET_MARK = 1 << 22,
	FW_RULE_FLAG_SET_DSCP = 1 << 23,
	/* Connections that this rule let through are judged again after each commit. */
	FW_RULE_FLAG_REEVALUATE = 1 << 24,
};

/* What few rules ask for: those that ask for none of it are done with one test. */
#define FW_RULE_FLAGS_SELDOM                                                                     \
	(FW_RULE_FLAG_ICMP | FW_RULE_FLAG_INTERFACES | FW_RULE_FLAG_DSCP | FW_RULE_FLAG_LENGTH | \
	 FW_RULE_FLAG_TCP_FLAGS | FW_RULE_FLAG_STATES | FW_RULE_FLAG_FRAGMENTS |                 \
	 FW_RULE_FLAG_SOURCE_MAC | FW_RULE_FLAG_DESTINATION_MAC | FW_RULE_FLAG_OUTER_VLAN |      \
	 FW_RULE_FLAG_INNER_VLAN)

/* What a rule says about a VLAN tag, besides an id from 0 to 4095. */
enum fw_vlan {
	FW_VLAN_NONE = 0x8000,
	FW_VLAN_ANY = 0x8001,
};

/* Bits of fw_rule.fragments. */
enum fw_fragment {
	FW_FRAGMENT_WHOLE = 1,
	FW_FRAGMENT_FIRST = 2,
	FW_FRAGMENT_LATER = 4,
};

/* How a rule with action reject answers. */
enum fw_reject {
	/* A reset for TCP, port unreachable for everything else. */
	FW_REJECT_AUTO = 0,
	FW_REJECT_RESET = 1,
	FW_REJECT_PORT = 2,
	FW_REJECT_HOST = 3,
	FW_REJECT_NETWORK = 4,
	FW_REJECT_PROHIBITED = 5,
};

enum fw_family {
	FW_FAMILY_ANY_IP = 0,
	FW_FAMILY_NON_IP = 1,
	FW_FAMILY_IPV4 = 4,
	FW_FAMILY_IPV6 = 6,
};

/**
 * struct fw_endpoint - the addresses that a rule names on one side
 * @address: one prefix, network byte order, IPv4 in the first four bytes
 * @mask: its mask; bytes that do not belong to the family are zero
 * @sets: ids of address sets, 0 for none
 * @family: 4 or 6, of the prefix; 0 if there is none
 */
struct fw_endpoint {
	__u8 address[16];
	__u8 mask[16];
	__u32 sets[ENDPOINT_SETS];
	__u8 family;
	__u8 reserved[7];
};

/* Both ends belong to the range; host byte order. */
struct port_range {
	__u16 first;
	__u16 last;
};

/**
 * struct fw_macs - the hardware addresses that a rule names on one side
 * @address: the first @count are in use
 */
struct fw_macs {
	__u8 address[ENDPOINT_MACS][6];
	__u8 count;
	__u8 reserved[7];
};

/**
 * struct fw_rule - one record of the rule table
 * @groups: interface groups to which the document applies
 * @protocols: bit p is set if IP protocol p matches
 * @source: what the rule names as source address
 * @destination: likewise
 * @source_ports: ranges, of which one must hold the port
 * @destination_ports: likewise; with FW_RULE_FLAG_ICMP ranges of type << 8 | code
 * @rule_id: id in ID_SPACE_RULE: counters and events
 * @part: a rule that needs several records has them numbered, one behind the other
 * @flags: enum fw_rule_flag
 * @mark: for skb->mark and later programs
 * @action: enum fw_action; FW_ACTION_ABSENT marks an empty slot
 * @family: enum fw_family
 * @source_port_count: ranges in use; 0 if any port matches
 * @destination_port_count: likewise
 * @states: enum connection_state, of which the packet's must be one
 * @fragments: enum fw_fragment, likewise
 * @tcp_flags: what the bits of @tcp_mask must be
 * @tcp_mask: bits of the TCP flags octet, FIN the lowest
 * @length_min: of the IP packet, in bytes; 65575 at most, as IPv6 does not count its own header
 * @length_max: both belong to the range
 * @interfaces: interface groups that the rule itself names
 * @dscps: bit d is set if DSCP d matches
 * @source_macs: what the rule names as Ethernet source
 * @destination_macs: likewise
 * @source_connections: how many connections one source may have by this rule; 0 without limit
 * @connections: how many all may have
 * @block_s: how long a source that would have more is blocked, in seconds; 0 if it is not
 * @route_to: slot of the route that the packet takes; 0 for none
 * @reply_to: likewise, for the other direction of its connection
 * @mirror_to: likewise, for a copy
 * @document_id: id in ID_SPACE_DOCUMENT
 * @dscp: what to set
 * @reject: enum fw_reject
 * @outer_vlan: id of the first tag, or enum fw_vlan
 * @inner_vlan: likewise of the second
 */
struct fw_rule {
	__u64 groups;
	__u64 protocols[4];
	__u32 rule_id;
	__u32 part;
	__u32 flags;
	__u32 mark;
	__u8 action;
	__u8 family;
	__u8 source_port_count;
	__u8 destination_port_count;
	__u8 states;
	__u8 fragments;
	__u8 tcp_flags;
	__u8 tcp_mask;
	struct fw_endpoint source;
	struct fw_endpoint destination;
	struct port_range source_ports[PORT_RANGES];
	struct port_range destination_ports[PORT_RANGES];
	__u32 length_min;
	__u32 length_max;
	__u64 interfaces;
	__u64 dscps;
	struct fw_macs source_macs;
	struct fw_macs destination_macs;
	__u32 source_connections;
	__u32 connections;
	__u32 block_s;
	__u32 route_to;
	__u32 reply_to;
	__u32 mirror_to;
	__u16 document_id;
	__u8 dscp;
	__u8 reject;
	__u16 outer_vlan;
	__u16 inner_vlan;
};

/*
 * Written by the agent through mmap, walked in slot order by every packet that reaches the rules. A slot holds
 * at most two versions of what stands at this place; empty slots between rules let a rule be inserted with
 * one write.
 */
ORDERED_TABLE(fw_rules, struct fw_rule, action, 16384)
