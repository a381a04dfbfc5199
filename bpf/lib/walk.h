/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One packet's way through the rules, and whether a rule matches it. */
#pragma once

#include "lib/ct_count.h"
#include "lib/packet.h"
#include "lib/rule_index.h"

/* What is known of the sets that a packet's address is in; only the first 64 ids are remembered. */
struct membership {
	__u64 known;
	__u64 member;
};

/**
 * struct walk - one packet's way through the rules
 * @verdict: enum verdict of the rule that decided, 0 if none did
 * @by_default: whether that rule was a document's default
 * @audited_document: the audit document that has matched: the rest of it is skipped
 * @state: enum connection_state of the packet
 * @reject: enum fw_reject of the rule that decided
 * @dscp: what that rule sets
 * @carried: enum carried_flag of what programs behind shall know of it
 * @rule_id: its id, 0 if it was a document's default
 * @mark: what it sets
 * @route_to: slot of the route that it gives the packet; 0 for none
 * @mirror_to: likewise for a copy
 * @limits: how many connections it allows
 * @steering: slot of the processors among which the interface's packets are spread; 0 for none
 * @block_s: how long a source that would have more is blocked
 * @candidates: the slots that are still to be looked at
 */
struct walk {
	struct packet packet;
	struct membership source_sets;
	struct membership destination_sets;
	__u64 generation;
	__u64 groups;
	__u32 interface;
	__u32 audited_document;
	__u32 events_per_second;
	__u8 verdict;
	__u8 by_default;
	__u8 state;
	__u8 reject;
	__u8 dscp;
	__u8 carried;
	__u8 steering;
	__u8 reserved;
	__u32 rule_id;
	__u32 mark;
	__u32 route_to;
	__u32 mirror_to;
	struct ct_limits limits;
	__u32 block_s;
	struct candidates candidates;
};

static __always_inline int look_up_set(const struct walk *walk, const __u32 *address, __u32 set_id)
{
	if (walk->packet.family == 4) {
		struct address_key_v4 key = { .prefix_length = HOST_LENGTH(key), .set_id = set_id };

		__builtin_memcpy(key.address, address, sizeof(key.address));
		return !!look_up_address_set_v4(&key, walk->generation);
	} else {
		struct address_key_v6 key = { .prefix_length = HOST_LENGTH(key), .set_id = set_id };

		__builtin_memcpy(key.address, address, sizeof(key.address));
		return !!look_up_address_set_v6(&key, walk->generation);
	}
}

/*
 * The functions below that are neither static nor inline are verified once, for any argument, instead of once
 * for each way that leads to them: this keeps the program far below the verifier's limit.
 */

/* 1 if set @set_id holds the packet's source or destination address. */
__noinline int in_set(struct walk *walk, __u32 set_id, int source)
{
	struct membership *membership;
	__u64 bit = set_id < 64 ? 1ULL << set_id : 0;
	int member;

	if (!walk)
		return 0;
	membership = source ? &walk->source_sets : &walk->destination_sets;
	if (membership->known & bit)
		return !!(membership->member & bit);
	member = look_up_set(walk, source ? walk->packet.source : walk->packet.destination, set_id);
	membership->known |= bit;
	if (member)
		membership->member |= bit;
	return member;
}

/* 1 if one of the endpoint's sets holds the packet's source or destination address. */
__noinline int in_sets(struct walk *walk, const struct fw_endpoint *endpoint, int source)
{
	if (!walk || !endpoint)
		return 0;
	for (int i = 0; i < ENDPOINT_SETS; i++) {
		if (!endpoint->sets[i])
			return 0;
		if (in_set(walk, endpoint->sets[i], source))
			return 1;
	}
	return 0;
}

/* 1 if the endpoint's prefix or one of its sets holds the packet's source or destination address. */
static __always_inline int in_endpoint(struct walk *walk, const struct fw_endpoint *endpoint,
				       int source)
{
	const __u32 *address = source ? walk->packet.source : walk->packet.destination;
	const __u32 *value = (const __u32 *)endpoint->address;
	const __u32 *mask = (const __u32 *)endpoint->mask;

	if (endpoint->family == walk->packet.family &&
	    !(((address[0] ^ value[0]) & mask[0]) | ((address[1] ^ value[1]) & mask[1]) |
	      ((address[2] ^ value[2]) & mask[2]) | ((address[3] ^ value[3]) & mask[3])))
		return 1;
	return endpoint->sets[0] ? in_sets(walk, endpoint, source) : 0;
}

/* 1 if one of the ranges holds @port (or a type << 8 | code of ICMP), or if there are none. */
static __always_inline int in_ports(const struct port_range *ranges, __u32 count, __u16 port)
{
	for (__u32 i = 0; i < PORT_RANGES; i++) {
		if (i >= count)
			return count == 0;
		if (port >= ranges[i].first && port <= ranges[i].last)
			return 1;
	}
	return 0;
}

static __always_inline int names_protocol(const struct fw_rule *rule, __u8 protocol)
{
	return rule->protocols[protocol >> 6] >> (protocol & 63) & 1;
}

/* @asked: an id or enum fw_vlan; @index: 0 for the outer tag, 1 for the inner one. */
static __always_inline int has_vlan(const struct packet *packet, __u16 asked, int index)
{
	if (asked == FW_VLAN_NONE)
		return packet->tags <= index;
	if (packet->tags <= index)
		return 0;
	return asked == FW_VLAN_ANY || packet->vlan[index] == asked;
}

static __always_inline int in_macs(const struct fw_macs *macs, const __u8 *address)
{
	for (int i = 0; i < ENDPOINT_MACS; i++) {
		if (i >= macs->count)
			return 0;
		if (!__builtin_memcmp(macs->address[i], address, sizeof(macs->address[i])))
			return 1;
	}
	return 0;
}

static __always_inline __u8 fragment_of(const struct packet *packet)
{
	if (packet->later_fragment)
		return FW_FRAGMENT_LATER;
	return packet->fragment ? FW_FRAGMENT_FIRST : FW_FRAGMENT_WHOLE;
}

/* What a rule asks of the transport header besides ports; a later fragment has none. */
static __always_inline int transport_matches(const struct packet *packet,
					     const struct fw_rule *rule)
{
	if ((rule->flags & FW_RULE_FLAG_TCP_FLAGS) &&
	    (packet->protocol != PROTOCOL_TCP || !packet->has_ports ||
	     (packet->tcp_flags & rule->tcp_mask) != rule->tcp_flags))
		return 0;
	if ((rule->flags & FW_RULE_FLAG_ICMP) &&
	    (!packet->has_icmp ||
	     !in_ports(rule->destination_ports, rule->destination_port_count, packet->icmp)))
		return 0;
	return 1;
}

/* What a rule asks of the link: where the packet came in, its tags and hardware addresses. */
static __always_inline int link_matches(const struct walk *walk, const struct fw_rule *rule)
{
	const struct packet *packet = &walk->packet;
	__u32 flags = rule->flags;

	if ((flags & FW_RULE_FLAG_INTERFACES) &&
	    !!(rule->interfaces & walk->groups) == !!(flags & FW_RULE_FLAG_INTERFACES_NOT))
		return 0;
	if ((flags & FW_RULE_FLAG_OUTER_VLAN) && !has_vlan(packet, rule->outer_vlan, 0))
		return 0;
	if ((flags & FW_RULE_FLAG_INNER_VLAN) && !has_vlan(packet, rule->inner_vlan, 1))
		return 0;
	if ((flags & FW_RULE_FLAG_SOURCE_MAC) && in_macs(&rule->source_macs, packet->source_mac) ==
							 !!(flags & FW_RULE_FLAG_SOURCE_MAC_NOT))
		return 0;
	if ((flags & FW_RULE_FLAG_DESTINATION_MAC) &&
	    in_macs(&rule->destination_macs, packet->destination_mac) ==
		    !!(flags & FW_RULE_FLAG_DESTINATION_MAC_NOT))
		return 0;
	return 1;
}

/* 1 if the packet is what the rule asks for by FW_RULE_FLAGS_SELDOM. */
__noinline int seldom_matches(const struct walk *walk, const struct fw_rule *rule)
{
	const struct packet *packet;

	if (!walk || !rule)
		return 0;
	packet = &walk->packet;
	if ((rule->flags & FW_RULE_FLAG_STATES) && !(rule->states & walk->state))
		return 0;
	if ((rule->flags & FW_RULE_FLAG_DSCP) && !(rule->dscps >> (packet->traffic_class >> 2) & 1))
		return 0;
	if ((rule->flags & FW_RULE_FLAG_LENGTH) &&
	    (packet->ip_length < rule->length_min || packet->ip_length > rule->length_max))
		return 0;
	if ((rule->flags & FW_RULE_FLAG_FRAGMENTS) && !(rule->fragments & fragment_of(packet)))
		return 0;
	return transport_matches(packet, rule) && link_matches(walk, rule);
}

/* The cheapest and most selective fields first. */
static __always_inline int rule_matches(struct walk *walk, const struct fw_rule *rule)
{
	const struct packet *packet = &walk->packet;

	if (!(rule->groups & walk->groups))
		return 0;
	if (rule->family != packet->family &&
	    (rule->family != FW_FAMILY_ANY_IP || packet->family == FW_FAMILY_NON_IP))
		return 0;
	if (!names_protocol(rule, packet->protocol) &&
	    !(packet->authenticated && names_protocol(rule, PROTOCOL_AH)))
		return 0;
	if (rule->flags & FW_RULE_FLAG_PORTS) {
		if (!packet->has_ports)
			return 0;
		if (!in_ports(rule->destination_ports, rule->destination_port_count,
			      packet->destination_port))
			return 0;
		if (!in_ports(rule->source_ports, rule->source_port_count, packet->source_port))
			return 0;
	}
	if ((rule->flags & FW_RULE_FLAGS_SELDOM) && !seldom_matches(walk, rule))
		return 0;
	if ((rule->flags & FW_RULE_FLAG_SOURCE) &&
	    in_endpoint(walk, &rule->source, 1) == !!(rule->flags & FW_RULE_FLAG_SOURCE_NOT))
		return 0;
	if ((rule->flags & FW_RULE_FLAG_DESTINATION) &&
	    in_endpoint(walk, &rule->destination, 0) ==
		    !!(rule->flags & FW_RULE_FLAG_DESTINATION_NOT))
		return 0;
	return 1;
}
