// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * xdp_firewall: first match over ordered rules, for IPv4 and IPv6, at the first hook that sees a packet.
 *
 * A packet gets its generation once; everything that it looks up afterwards, here and behind, is seen at that one.
 */
#include "lib/policy.h"
#include "lib/carry.h"
#include "lib/verdict.h"
#include "lib/packet.h"
#include "lib/event.h"

#define ENDPOINT_SETS 6
#define PORT_RANGES   8

enum fw_action {
	FW_ACTION_ABSENT = 0,
	FW_ACTION_PASS = 1,
	FW_ACTION_DROP = 2,
	FW_ACTION_LOG = 3,
};

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
 * struct fw_rule - one record of the rule table
 * @groups: interface groups to which the rule applies
 * @protocols: bit p is set if IP protocol p matches
 * @source_ports: ranges, of which one must hold the port
 * @destination_ports: likewise
 * @rule_id: id in ID_SPACE_RULE: counters and events
 * @part: a rule that needs several records has them numbered, one behind the other
 * @document_id: id in ID_SPACE_DOCUMENT
 * @flags: enum fw_rule_flag
 * @action: enum fw_action; FW_ACTION_ABSENT marks an empty slot
 * @family: enum fw_family
 * @source_port_count: ranges in use; 0 if any port matches
 * @destination_port_count: likewise
 */
struct fw_rule {
	__u64 groups;
	__u64 protocols[4];
	struct fw_endpoint source;
	struct fw_endpoint destination;
	struct port_range source_ports[PORT_RANGES];
	struct port_range destination_ports[PORT_RANGES];
	__u32 rule_id;
	__u32 part;
	__u16 document_id;
	__u16 flags;
	__u8 action;
	__u8 family;
	__u8 source_port_count;
	__u8 destination_port_count;
};

/*
 * Written by the agent through mmap, walked in slot order by every packet that reaches the rules. A slot holds
 * at most two versions of what stands at this place; empty slots between rules let a rule be inserted with
 * one write.
 */
ORDERED_TABLE(fw_rules, struct fw_rule, action, 16384)

/**
 * struct fw_settings - what the agent tells the program besides policy
 * @events_per_second: events for each CPU
 */
struct fw_settings {
	__u32 events_per_second;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct fw_settings);
} fw_settings SEC(".maps");

/* Written by the program, read by the agent. Keyed by enum fw_reason. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FW_REASONS);
	__type(key, __u32);
	__type(value, struct counter);
} fw_reasons SEC(".maps");

/* Types that user space decodes but that no map names. */
struct packet_event *emit_packet_event;
enum verdict *emit_verdict;
enum fw_reason *emit_fw_reason;
enum fw_action *emit_fw_action;
enum fw_rule_flag *emit_fw_rule_flag;
enum event_kind *emit_event_kind;
enum event_flag *emit_event_flag;
enum event_layout *emit_event_layout;
enum id_space *emit_id_space;
enum presence *emit_presence;
enum owner *emit_owner;
enum fw_family *emit_fw_family;

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
	__u8 reserved[2];
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

/* 1 if the endpoint's prefix or one of its sets holds the packet's source or destination address. */
__noinline int in_endpoint(struct walk *walk, const struct fw_endpoint *endpoint, int source)
{
	const __u32 *address, *value, *mask;

	if (!walk || !endpoint)
		return 0;
	address = source ? walk->packet.source : walk->packet.destination;
	value = (const __u32 *)endpoint->address;
	mask = (const __u32 *)endpoint->mask;
	if (endpoint->family == walk->packet.family && !((address[0] ^ value[0]) & mask[0]) &&
	    !((address[1] ^ value[1]) & mask[1]) && !((address[2] ^ value[2]) & mask[2]) &&
	    !((address[3] ^ value[3]) & mask[3]))
		return 1;
	for (int i = 0; i < ENDPOINT_SETS; i++) {
		if (!endpoint->sets[i])
			return 0;
		if (in_set(walk, endpoint->sets[i], source))
			return 1;
	}
	return 0;
}

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
	if ((rule->flags & FW_RULE_FLAG_SOURCE) &&
	    in_endpoint(walk, &rule->source, 1) == !!(rule->flags & FW_RULE_FLAG_SOURCE_NOT))
		return 0;
	if ((rule->flags & FW_RULE_FLAG_DESTINATION) &&
	    in_endpoint(walk, &rule->destination, 0) ==
		    !!(rule->flags & FW_RULE_FLAG_DESTINATION_NOT))
		return 0;
	return 1;
}

static __always_inline void report_rule(struct walk *walk, const struct fw_rule *rule)
{
	int drops = rule->action == FW_ACTION_DROP;
	struct event_facts facts = {
		.generation = walk->generation,
		.interface = walk->interface,
		.rule_id = rule->rule_id,
		.per_second = walk->events_per_second,
		.verdict = drops ? VERDICT_DROP : VERDICT_PASS,
		.kind = rule->flags & FW_RULE_FLAG_AUDIT ? EVENT_KIND_AUDIT : EVENT_KIND_RULE,
		.reason = drops ? FW_REASON_RULE_DROP : FW_REASON_RULE_PASS,
	};

	send_event(&walk->packet, &facts);
}

/* One slot of the rule table; returns 1 to end the walk. */
static long visit_slot(__u32 slot, struct walk *walk)
{
	const struct fw_rule *rule = look_up_fw_rules(slot, walk->generation);

	if (!rule)
		return 0;
	if (rule->flags & FW_RULE_FLAG_AUDIT && rule->document_id == walk->audited_document)
		return 0;
	if (!rule_matches(walk, rule))
		return 0;
	count_in(&rule_counters, rule->rule_id, walk->packet.length);
	if (rule->action == FW_ACTION_LOG || rule->flags & FW_RULE_FLAG_AUDIT) {
		report_rule(walk, rule);
		if (rule->action != FW_ACTION_LOG)
			walk->audited_document = rule->document_id;
		return 0;
	}
	if (rule->flags & FW_RULE_FLAG_LOG)
		report_rule(walk, rule);
	walk->verdict = rule->action == FW_ACTION_PASS ? VERDICT_PASS : VERDICT_DROP;
	walk->by_default = !!(rule->flags & FW_RULE_FLAG_DEFAULT);
	return 1;
}

/* The reason for a verdict that the rules gave, or for none. */
static __always_inline __u32 reason_of(const struct walk *walk)
{
	int drop = walk->verdict == VERDICT_DROP;

	if (walk->packet.family == FW_FAMILY_NON_IP)
		return drop ? FW_REASON_NON_IP_DROP : FW_REASON_NON_IP_PASS;
	if (!walk->verdict || walk->by_default)
		return drop ? FW_REASON_DEFAULT_DROP : FW_REASON_DEFAULT_PASS;
	return drop ? FW_REASON_RULE_DROP : FW_REASON_RULE_PASS;
}

static __always_inline int drop(const struct walk *walk, __u32 reason)
{
	count_in(&fw_reasons, reason, walk->packet.length);
	return XDP_DROP;
}

/* Programs behind this one judge the packet by the same generation. Nothing may be read from it any more. */
static __always_inline int pass(struct xdp_md *ctx, const struct walk *walk, __u32 reason)
{
	count_in(&fw_reasons, reason, walk->packet.length);
	return pass_xdp(ctx, walk->generation);
}

static __always_inline int drop_malformed(const struct walk *walk, __u32 reason)
{
	struct event_facts facts = {
		.generation = walk->generation,
		.interface = walk->interface,
		.per_second = walk->events_per_second,
		.verdict = VERDICT_DROP,
		.kind = EVENT_KIND_MALFORMED,
		.reason = reason,
	};

	send_event(&walk->packet, &facts);
	return drop(walk, reason);
}

/* Parses the frame into @packet; returns PARSED or enum fw_reason. */
__noinline int parse_packet(struct xdp_md *ctx, struct packet *packet)
{
	if (!packet)
		return FW_REASON_INTERNAL_ERROR;
	return parse_frame((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet->length,
			   packet);
}

static __always_inline int judge(struct xdp_md *ctx)
{
	struct walk walk = { .generation = begin_xdp(ctx), .interface = ctx->ingress_ifindex };
	struct interface_binding binding;
	struct fw_settings *settings;
	__u32 zero = 0;
	int bound, reason;

	walk.packet.length = bpf_xdp_get_buff_len(ctx);
	bound = look_up_interfaces(&walk.interface, walk.generation, &binding);
	if (bound == 0)
		return pass(ctx, &walk, FW_REASON_UNBOUND);
	settings = bpf_map_lookup_elem(&fw_settings, &zero);
	if (bound < 0 || !settings)
		return drop(&walk, FW_REASON_INTERNAL_ERROR);
	walk.groups = binding.groups;
	walk.events_per_second = settings->events_per_second;

	reason = parse_packet(ctx, &walk.packet);
	if (reason != PARSED)
		return drop_malformed(&walk, reason);
	if (!walk.packet.family)
		walk.packet.family = FW_FAMILY_NON_IP;

	if (bpf_loop(end_of_fw_rules(), visit_slot, &walk, 0) < 0)
		return drop(&walk, FW_REASON_INTERNAL_ERROR);
	if (walk.verdict == VERDICT_DROP)
		return drop(&walk, reason_of(&walk));
	return pass(ctx, &walk, reason_of(&walk));
}

SEC("xdp.frags")
int xdp_firewall(struct xdp_md *ctx)
{
	return judge(ctx);
}

/*
 * The same for generic mode, where the kernel makes one piece of a packet before. With a program that says it can
 * do with several pieces it copies the packet and forgets how long its link header is: TC programs behind would
 * find the network header where they look for the link header, and no metadata.
 */
SEC("xdp")
int xdp_firewall_generic(struct xdp_md *ctx)
{
	return judge(ctx);
}

char _license[] SEC("license") = "Dual BSD/GPL";
