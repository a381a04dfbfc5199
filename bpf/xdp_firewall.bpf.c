// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * xdp_firewall: a stateful firewall for IPv4 and IPv6, at the first hook that sees a packet, in phases:
 *
 *	0	sources that are blocked; connections that are known: their packets pass without meeting the rules
 *	1, 2	first match over ordered rules, found through an index (lib/rule_index.h)
 *	3	limits of connections
 *	4	where the packet goes: on, elsewhere, or back as a rejection
 *
 * A packet gets its generation once; everything that it looks up afterwards, here and behind, is seen at that one.
 */
#include "lib/carry.h"

#define CT_CONTEXT    struct xdp_md
#define CT_LOAD_BYTES bpf_xdp_load_bytes
#include "lib/block.h"
#include "lib/dscp.h"
#include "lib/event.h"
#include "lib/reject.h"
#include "lib/route.h"
#include "lib/steer.h"
#include "lib/track.h"
#include "lib/walk_rules.h"

/**
 * struct fw_settings - what the agent tells the program besides policy
 * @events_per_second: events for each CPU
 * @rejects_per_second: answers to rejected packets, of all CPUs together
 */
struct fw_settings {
	__u32 events_per_second;
	__u32 rejects_per_second;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct fw_settings);
} fw_settings SEC(".maps");

/* Types that user space decodes but that no map names. */
struct packet_event *emit_packet_event;
struct carried *emit_carried;
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
enum fw_vlan *emit_fw_vlan;
enum fw_fragment *emit_fw_fragment;
enum fw_reject *emit_fw_reject;
enum connection_state *emit_connection_state;
enum carried_flag *emit_carried_flag;
enum fw_route_kind *emit_fw_route_kind;
enum fw_route_flag *emit_fw_route_flag;
struct carried *emit_carried;

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

CARRY_OVER_TAIL_CALLS

/* Slots of the chain. */
enum xdp_chain_slot {
	XDP_CHAIN_SLOT_RATE_LIMITER = 1,
};

/*
 * The programs that a packet meets in XDP after the rules have let it through; an empty slot costs next to nothing.
 * Written by the agent, keys are ids in ID_SPACE_PROGRAM. One that is called begins with resume_xdp(); what it passes
 * goes on as the metadata say, at TC where that is another way than the host's. There are two, because the kernel does
 * not let programs with and without xdp.frags share one.
 */
struct xdp_chain {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
};
struct xdp_chain xdp_chain SEC(".maps");
struct xdp_chain xdp_chain_generic SEC(".maps");

/*
 * Programs behind this one, in the chain and at TC, judge the packet by the same generation, and know what the rule
 * wants of it: a copy, another way. Returns where the chain is empty: 0 if there was no room for it. Nothing may be
 * read from the packet any more.
 */
static __always_inline int hand_over(struct xdp_md *ctx, const struct walk *walk, void *chain)
{
	struct carried facts = {
		.tag = CARRY_TAG,
		.mark = walk->mark,
		.generation = walk->generation,
		.rule_id = walk->rule_id,
		.mirror_to = walk->mirror_to,
		.route_to = walk->route_to,
		.dscp = walk->dscp,
		.flags = walk->carried,
	};
	int is_carried = hand_on_xdp(ctx, &facts);

	/* Without metadata whoever is called would pass on to the host what must not go there. */
	if (is_carried || !walk->route_to)
		bpf_tail_call(ctx, chain, XDP_CHAIN_SLOT_RATE_LIMITER);
	return is_carried;
}

/* No policy applies here: the packet goes on with its generation alone. */
static __always_inline int pass_unbound(struct xdp_md *ctx, const struct walk *walk)
{
	count_in(&fw_reasons, FW_REASON_UNBOUND, walk->packet.length);
	return pass_xdp(ctx, walk->generation);
}

static __always_inline int pass(struct xdp_md *ctx, const struct walk *walk, __u32 reason,
				void *chain)
{
	count_in(&fw_reasons, reason, walk->packet.length);
	hand_over(ctx, walk, chain);
	return XDP_PASS;
}

static __always_inline int reject(struct xdp_md *ctx, const struct walk *walk, __u32 per_second)
{
	if (!may_answer(&walk->packet) || !take_answer_budget(per_second) ||
	    !answer_packet(ctx, &walk->packet, walk->reject))
		return drop(walk, FW_REASON_REJECT_SILENT);
	count_in(&fw_reasons, FW_REASON_REJECT, walk->packet.length);
	return XDP_TX;
}

/*
 * Sends the packet where its rule says. tc_firewall stands behind this program wherever rules ask for routes: it sends on
 * what XDP could not, knows how that ends, and counts. Without metadata it would not know of the packet, and the host
 * would send it elsewhere.
 */
static __always_inline int leave(struct xdp_md *ctx, struct walk *walk, void *chain)
{
	const struct fw_route *route = look_up_fw_routes(walk->route_to, walk->generation);
	int is_carried, action = XDP_PASS;

	if (!serves(route, walk->packet.family))
		return drop(walk, FW_REASON_NO_ROUTE);
	if (is_expiring(ctx, &walk->packet)) {
		walk->route_to = 0;
		return pass(ctx, walk, FW_REASON_ROUTE_EXPIRED, chain);
	}
	is_carried = hand_over(ctx, walk, chain);
	/* A copy is made of the packet as it came: whoever makes it sends the packet on afterwards. */
	if (!walk->mirror_to)
		action = send_xdp(ctx, &walk->packet, route);
	if (action == XDP_REDIRECT)
		count_in(&fw_reasons, FW_REASON_ROUTED, walk->packet.length);
	else if (action != XDP_PASS || !is_carried)
		return drop(walk, FW_REASON_NO_ROUTE);
	return action;
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

/**
 * struct last_binding - what applied to the packet before on this CPU
 * @generation: by which that packet was judged; 0 for none
 * @interface: where it came in
 *
 * What a table says at a generation never changes, so it applies to packets of the same interface and generation.
 */
struct last_binding {
	struct interface_binding binding;
	__u64 generation;
	__u32 interface;
	__u32 reserved;
};

/**
 * struct scratch - what is known of the packet that this CPU is at, too much for the stack
 * @last: what applied to the packet before
 * @found: what it is to the connections that are known
 * @origin: what a connection is to be that begins with it
 */
struct scratch {
	struct walk walk;
	struct last_binding last;
	struct ct_found found;
	struct ct_origin origin;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} fw_scratch SEC(".maps");

/* Whether the rules are asked about a packet, and as what. */
enum asks {
	/* It is what it is. */
	ASKS_RULES,
	/* Its connection is known: would the rules let it begin today? */
	ASKS_AGAIN,
	/* It passes without. */
	ASKS_NOBODY,
};

/* Phase 0: what the packet is to the connections that are known. */
static __always_inline enum asks look_at_connection(struct xdp_md *ctx, struct scratch *scratch,
						    __u32 settings)
{
	struct walk *walk = &scratch->walk;
	struct ct_found *found = &scratch->found;

	__builtin_memset(found, 0, sizeof(*found));
	__builtin_memset(&scratch->origin, 0, sizeof(scratch->origin));
	scratch->origin.at = walk->generation;
	scratch->origin.interface = walk->interface;
	scratch->origin.settings = settings;
	ct_look_up(ctx, &walk->packet, &scratch->origin, found);
	walk->state = found->state;
	if (found->state != CONNECTION_STATE_ESTABLISHED)
		return ASKS_RULES;
	if (found->is_fast || found->is_reply)
		return ASKS_NOBODY;
	walk->state = CONNECTION_STATE_NEW;
	return ASKS_AGAIN;
}

/*
 * The rules were asked for what they do with the packet, not whether it may pass: no commit takes back what they let
 * through.
 */
static __always_inline int is_kept(const struct ct_found *found)
{
	return !(flags_of(found->word) & CT_FLAG_REEVALUATE);
}

/* A packet of a connection that was let through: it counts for the rule that did it. */
static __always_inline int pass_established(struct xdp_md *ctx, struct scratch *scratch,
					    void *chain)
{
	struct walk *walk = &scratch->walk;
	const struct fw_reply_route *reply;

	walk->rule_id = scratch->found.rule_id;
	if (walk->rule_id)
		count_in(&rule_counters, walk->rule_id, walk->packet.length);
	if (scratch->found.is_reply && walk->rule_id) {
		reply = look_up_fw_reply_routes(walk->rule_id, walk->generation);
		walk->route_to = reply ? reply->route : 0;
	}
	if (walk->route_to && !stays_on_link(&walk->packet))
		return leave(ctx, walk, chain);
	walk->route_to = 0;
	return pass(ctx, walk, FW_REASON_ESTABLISHED, chain);
}

static __always_inline void report_block(const struct walk *walk)
{
	struct event_facts facts = {
		.generation = walk->generation,
		.interface = walk->interface,
		.rule_id = walk->rule_id,
		.per_second = walk->events_per_second,
		.verdict = VERDICT_DROP,
		.kind = EVENT_KIND_BLOCKED,
		.reason = FW_REASON_LIMIT,
	};

	send_event(&walk->packet, &facts);
}

/* Whether it goes on at another processor if it passes: not where programs at TC have to know what its rule wants. */
static __always_inline int is_steered(const struct walk *walk)
{
	return walk->steering && !walk->route_to && !(walk->carried & CARRIED_FLAG_SLOW);
}

/*
 * Phase 3: enters the connection that the packet begins, if its rule allows only so many. Here and not behind XDP: of
 * many packets that come at once each is counted before the next is let through. Also if the packet goes on at another
 * processor, where older kernels do not say which rule let it through. Returns 0, or why it is dropped.
 */
static __always_inline __u32 count_connection_of(struct scratch *scratch)
{
	struct walk *walk = &scratch->walk;
	struct ct_origin *origin = &scratch->origin;
	int is_limited = walk->limits.source || walk->limits.rule;
	int outcome;

	if (!is_limited && !is_steered(walk))
		return 0;
	if (walk->state != CONNECTION_STATE_NEW || !origin->settings ||
	    (scratch->found.word && !scratch->found.begins))
		return 0;
	if (scratch->found.begins)
		ct_forget(&scratch->found);
	origin->rule_id = walk->rule_id;
	origin->limits = walk->limits;
	origin->flags = (is_limited ? CT_FLAG_COUNTED : 0) |
			(walk->carried & CARRIED_FLAG_REEVALUATE ? CT_FLAG_REEVALUATE : 0) |
			(walk->carried & CARRIED_FLAG_SLOW ? CT_FLAG_SLOW : 0);
	outcome = ct_create(&walk->packet, &scratch->found.subject, origin);
	if (!is_limited)
		return 0;
	switch (outcome) {
	case CT_OUTCOME_SOURCE_LIMIT:
		if (walk->block_s) {
			block_source(&walk->packet, walk->rule_id, walk->block_s);
			report_block(walk);
		}
		return FW_REASON_LIMIT;
	case CT_OUTCOME_RULE_LIMIT:
		return FW_REASON_LIMIT;
	case CT_OUTCOME_FULL:
	case CT_OUTCOME_CONTENDED:
		return FW_REASON_TABLE_FULL;
	}
	return 0;
}

/* Phase 4, and what comes of the phases before. */
static __always_inline int carry_out(struct xdp_md *ctx, struct scratch *scratch, enum asks asks,
				     void *chain)
{
	struct walk *walk = &scratch->walk;
	__u32 reason;

	if (asks == ASKS_AGAIN)
		ct_confirm(&scratch->found, walk->generation);
	else if ((reason = count_connection_of(scratch)))
		return drop(walk, reason);
	if (walk->carried & CARRIED_FLAG_DSCP)
		set_dscp(ctx, &walk->packet, walk->dscp);
	if (walk->route_to && !stays_on_link(&walk->packet))
		return leave(ctx, walk, chain);
	walk->route_to = 0;
	return pass(ctx, walk, reason_of(walk), chain);
}

/* 1 if policy applies to the packet's interface: @last says then which. 0 if none does, -1 if that cannot be told. */
static __always_inline int look_up_binding(struct last_binding *last, const struct walk *walk)
{
	int bound;

	if (likely(last->generation == walk->generation && last->interface == walk->interface &&
		   walk->generation))
		return 1;
	last->generation = 0;
	bound = look_up_interfaces(&walk->interface, walk->generation, &last->binding);
	if (bound != 1)
		return bound;
	last->interface = walk->interface;
	last->generation = walk->generation;
	return 1;
}

static __always_inline int judge(struct xdp_md *ctx, void *chain)
{
	__u32 zero = 0;
	struct fw_settings *settings = bpf_map_lookup_elem(&fw_settings, &zero);
	struct scratch *scratch = bpf_map_lookup_elem(&fw_scratch, &zero);
	enum asks asks = ASKS_RULES;
	struct walk *walk;
	__u8 settings_slot;
	int bound, reason;

	if (!scratch || !settings)
		return XDP_DROP;
	walk = &scratch->walk;
	__builtin_memset(walk, 0, sizeof(*walk));
	walk->generation = begin_xdp(ctx);
	walk->interface = ctx->ingress_ifindex;
	walk->packet.length = bpf_xdp_get_buff_len(ctx);
	bound = look_up_binding(&scratch->last, walk);
	if (bound == 0)
		return pass_unbound(ctx, walk);
	if (bound < 0)
		return drop(walk, FW_REASON_INTERNAL_ERROR);
	walk->groups = scratch->last.binding.groups;
	walk->steering = scratch->last.binding.steering;
	settings_slot = scratch->last.binding.conntrack;
	walk->state = CONNECTION_STATE_NEW;
	/* What passes because no document says otherwise is judged again after each commit: one may. */
	walk->carried = CARRIED_FLAG_REEVALUATE;
	walk->events_per_second = settings->events_per_second;

	reason = parse_packet(ctx, &walk->packet);
	if (reason != PARSED)
		return drop_malformed(walk, reason);
	if (!walk->packet.family) {
		walk->packet.family = FW_FAMILY_NON_IP;
		settings_slot = 0;
		walk->steering = 0;
	} else if (is_blocked(&walk->packet)) {
		return drop(walk, FW_REASON_BLOCKED);
	}
#ifdef PENSTOCK_STATE_BY_QUEUE
	/* A build for comparing rules with a model of them: who runs it says what the packet is. */
	walk->state = 1 << (ctx->rx_queue_index & 3);
	settings_slot = 0;
#endif
	if (settings_slot)
		asks = look_at_connection(ctx, scratch, settings_slot);
	else
		scratch->origin.settings = 0;
	if (asks == ASKS_NOBODY)
		return pass_established(ctx, scratch, chain);

	if (walk_rules(walk) < 0)
		return drop(walk, FW_REASON_INTERNAL_ERROR);
	if (walk->verdict != VERDICT_DROP && walk->verdict != VERDICT_REJECT)
		return carry_out(ctx, scratch, asks, chain);
	if (asks == ASKS_AGAIN && is_kept(&scratch->found))
		return pass_established(ctx, scratch, chain);
	if (asks == ASKS_AGAIN)
		ct_forget(&scratch->found);
	if (walk->verdict == VERDICT_REJECT)
		return reject(ctx, walk, settings->rejects_per_second);
	return drop(walk, reason_of(walk));
}

/* Spreads what was judged to pass, and nothing else, over processors. */
static __always_inline int pass_on(void)
{
	__u32 zero = 0;
	const struct scratch *scratch = bpf_map_lookup_elem(&fw_scratch, &zero);

	if (!scratch || !is_steered(&scratch->walk))
		return XDP_PASS;
	return steer(&scratch->walk.packet, scratch->walk.steering, scratch->walk.generation);
}

SEC("xdp.frags")
int xdp_firewall(struct xdp_md *ctx)
{
	int action = judge(ctx, &xdp_chain);

	return action == XDP_PASS ? pass_on() : action;
}

/*
 * The same for generic mode, where the kernel makes one piece of a packet before. With a program that says it can
 * do with several pieces it copies the packet and forgets how long its link header is: TC programs behind would
 * find the network header where they look for the link header, and no metadata.
 */
SEC("xdp")
int xdp_firewall_generic(struct xdp_md *ctx)
{
	return judge(ctx, &xdp_chain_generic);
}

char _license[] SEC("license") = "Dual BSD/GPL";
