/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The walk over the rules that a packet may match, in their order, and what the one that decides wants of it. */
#pragma once

#include "lib/carry.h"
#include "lib/event.h"
#include "lib/reject.h"
#include "lib/walk.h"

static __always_inline __u8 verdict_of(const struct fw_rule *rule)
{
	switch (rule->action) {
	case FW_ACTION_DROP:
		return VERDICT_DROP;
	case FW_ACTION_REJECT:
		return VERDICT_REJECT;
	}
	return VERDICT_PASS;
}

/* The reason that an event gives for what the rule does, before it is done. */
static __always_inline __u8 reason_for(const struct walk *walk, __u8 verdict)
{
	switch (verdict) {
	case VERDICT_DROP:
		return FW_REASON_RULE_DROP;
	case VERDICT_REJECT:
		return may_answer(&walk->packet) ? FW_REASON_REJECT : FW_REASON_REJECT_SILENT;
	}
	return FW_REASON_RULE_PASS;
}

static __always_inline void report_rule(struct walk *walk, const struct fw_rule *rule)
{
	__u8 verdict = verdict_of(rule);
	struct event_facts facts = {
		.generation = walk->generation,
		.interface = walk->interface,
		.rule_id = rule->rule_id,
		.per_second = walk->events_per_second,
		.verdict = verdict,
		.kind = rule->flags & FW_RULE_FLAG_AUDIT ? EVENT_KIND_AUDIT : EVENT_KIND_RULE,
		.reason = reason_for(walk, verdict),
	};

	send_event(&walk->packet, &facts);
}

/* The rule decides: what becomes of the packet, and what goes along with it. */
static __always_inline void decide(struct walk *walk, const struct fw_rule *rule)
{
	walk->verdict = verdict_of(rule);
	walk->by_default = !!(rule->flags & FW_RULE_FLAG_DEFAULT);
	walk->reject = rule->reject;
	walk->rule_id = walk->by_default ? 0 : rule->rule_id;
	walk->mark = rule->mark;
	walk->dscp = rule->dscp;
	walk->route_to = rule->route_to;
	walk->mirror_to = rule->mirror_to;
	walk->carried = (rule->flags & FW_RULE_FLAG_SET_MARK ? CARRIED_FLAG_MARK : 0) |
			(rule->flags & FW_RULE_FLAG_SET_DSCP ? CARRIED_FLAG_DSCP : 0) |
			(rule->flags & FW_RULE_FLAG_REEVALUATE ? CARRIED_FLAG_REEVALUATE : 0);
	if (walk->carried & (CARRIED_FLAG_MARK | CARRIED_FLAG_DSCP) || rule->route_to ||
	    rule->mirror_to)
		walk->carried |= CARRIED_FLAG_SLOW;
	walk->limits.source = rule->source_connections;
	walk->limits.rule = rule->connections;
	walk->block_s = rule->block_s;
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
	decide(walk, rule);
	return 1;
}

/* What the kernel lets a loop have on the stack; everything else stands in the scratch of this CPU. */
struct walk_context {
	struct walk *walk;
};

/* One candidate, and the way to it; returns 1 to end the walk. */
static __maybe_unused long visit_candidate(__u32 step __maybe_unused, struct walk_context *context)
{
	struct walk *walk = context->walk;
	__u32 slot = 0;
	int more = 1, found = take_candidate(&walk->candidates, &slot);

	if (!found) {
		more = next_unit(&walk->candidates);
		/* The compiler knows that this is 0 or 1 and calculates with it; the verifier does not. */
		barrier_var(more);
		if (!more)
			return 1;
		found = take_candidate(&walk->candidates, &slot);
	}
	return found ? visit_slot(slot, walk) : 0;
}

static __maybe_unused long visit_in_order(__u32 slot, struct walk_context *context)
{
	return visit_slot(slot, context->walk);
}

/* Phases 1 and 2: every rule in order until one decides. */
static __always_inline long walk_rules(struct walk *walk)
{
	struct walk_context context = { .walk = walk };

/* For measuring what the index is good for; never defined in a program that ships. */
#ifdef PENSTOCK_LINEAR
	return bpf_loop(end_of_fw_rules(), visit_in_order, &context, 0);
#else
	begin_candidates(&walk->candidates, &walk->packet);
	/* More steps than there are slots and words: the walk ends where nothing is left. */
	return bpf_loop(CANDIDATE_STEPS, visit_candidate, &context, 0);
#endif
}
