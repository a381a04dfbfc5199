/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How a packet's generation travels: read once at the first hook and handed on, so that every program that the
 * packet meets on its way in judges it by the same one, whatever is committed meanwhile.
 *
 *	__u64 at = begin_xdp(ctx);	the packet's generation, in an XDP program
 *	return pass_xdp(ctx, at);	XDP_PASS, and the generation goes along
 *	__u64 at = begin_tc(skb);	the packet's generation, in a TC program
 *
 * From XDP to TC it stands in the XDP metadata, in front of the frame; from one TC program to the next also in
 * skb->cb. A program that finds neither reads the generation itself. That is so for packets that XDP did not
 * see, and for all packets where a driver has no room for metadata: there XDP and TC read for themselves, and a
 * commit between the two is seen by the second only.
 *
 * A carried number is believed only if tables still hold all of that generation, and nothing else need be
 * believed: whoever could forge one would choose between two complete policies during a commit. It is not whole
 *  - when the packet waited in a queue for longer than a grace period (older than generation.oldest), or
 *  - when a commit was taken back (newer than generation.current): the entries of the generation that was left
 *    are being removed, so that part of them would be the only alternative.
 * Both are judged by the current generation from then on. What the host sends or forwards is handed on by no
 * one: a packet that leaves the network stack begins anew.
 */
#pragma once

#include "lib/generation.h"

/* "PnSk": the words behind it are ours. */
#define CARRY_TAG 0x6b536e50

enum carried_flag {
	/* @mark, @dscp hold something. */
	CARRIED_FLAG_MARK = 1,
	CARRIED_FLAG_DSCP = 2,
	/* The connection is to be judged again after each commit. */
	CARRIED_FLAG_REEVALUATE = 4,
	/* Each packet of the connection is to meet the rules. */
	CARRIED_FLAG_SLOW = 8,
};

/**
 * struct carried - the XDP metadata
 * @tag: CARRY_TAG
 * @mark: for skb->mark
 * @generation: what the packet is judged by
 * @rule_id: the rule that let the packet through; 0 if none did
 * @mirror_to: slot of the route that a copy takes; 0 for none
 * @dscp: what XDP has set in the frame
 * @flags: enum carried_flag
 * @route_to: slot of the route that the packet itself takes from TC on; 0 for none
 *
 * Nothing here differs between packets of one connection and generation: GRO merges only packets of equal metadata.
 */
struct carried {
	__u32 tag;
	__u32 mark;
	__u64 generation;
	__u32 rule_id;
	__u16 mirror_to;
	__u8 dscp;
	__u8 flags;
	__u16 route_to;
	__u16 reserved[3];
};

_Static_assert(sizeof(struct carried) % 4 == 0 && sizeof(struct carried) <= 32,
	       "what the kernel takes as metadata");

/* Words of skb->cb. The second holds mirror_to << 16 | dscp << 8 | flags; the mark stands in skb->mark. */
#define CARRY_CB_RULE 0
#define CARRY_CB_REST 1
#define CARRY_CB_TAG  2
#define CARRY_CB_LOW  3
#define CARRY_CB_HIGH 4

/*
 * What stands in skb->tc_index of packets that one of these programs has sent on, for programs that meet them again: a
 * copy, a packet that took its rule's route, an answer of this host that did.
 */
#define STAMP_MIRRORED 0x506d
#define STAMP_ROUTED   0x5072
#define STAMP_ANSWER   0x5061

static __always_inline int is_whole(const struct generation *record, __u64 at)
{
	return at >= READ_ONCE(record->oldest) && at <= READ_ONCE(record->current);
}

/* The metadata of a packet, or NULL if there is none of ours. */
#define find_carried(context)                                                  \
	({                                                                     \
		struct carried *_carried = (void *)(long)(context)->data_meta; \
                                                                               \
		if ((void *)(_carried + 1) > (void *)(long)(context)->data ||  \
		    _carried->tag != CARRY_TAG)                                \
			_carried = NULL;                                       \
		_carried;                                                      \
	})

static __always_inline __u64 begin_xdp(struct xdp_md *ctx)
{
	const struct generation *record = generation_record();
	const struct carried *carried = find_carried(ctx);

	if (!record)
		return 0;
	if (unlikely(carried) && is_whole(record, carried->generation))
		return carried->generation;
	return READ_ONCE(record->current);
}

/*
 * Puts @facts in front of the frame; 0 if there is no room. Pointers into the packet are void afterwards, as after
 * every helper that may move it.
 */
static __always_inline int carry_xdp(struct xdp_md *ctx, const struct carried *facts)
{
	struct carried *carried = find_carried(ctx);

	if (likely(!carried)) {
		if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*carried)))
			return 0;
		carried = (void *)(long)ctx->data_meta;
		if ((void *)(carried + 1) > (void *)(long)ctx->data)
			return 0;
	}
	*carried = *facts;
	return 1;
}

static __always_inline int pass_xdp(struct xdp_md *ctx, __u64 at)
{
	struct carried facts = { .tag = CARRY_TAG, .generation = at };

	carry_xdp(ctx, &facts);
	return XDP_PASS;
}

static __always_inline __u64 begin_tc(struct __sk_buff *skb)
{
	const struct generation *record = generation_record();
	const struct carried *carried = find_carried(skb);
	__u64 at = (__u64)skb->cb[CARRY_CB_HIGH] << 32 | skb->cb[CARRY_CB_LOW];
	int is_first = skb->cb[CARRY_CB_TAG] != CARRY_TAG;

	if (!record)
		return 0;
	if (carried && is_whole(record, carried->generation))
		at = carried->generation;
	else if (is_first || !is_whole(record, at))
		at = READ_ONCE(record->current);
	if (is_first) {
		skb->cb[CARRY_CB_RULE] = carried ? carried->rule_id : 0;
		skb->cb[CARRY_CB_REST] =
			carried ? carried->mirror_to << 16 | carried->dscp << 8 | carried->flags
				: 0;
		if (carried && carried->flags & CARRIED_FLAG_MARK)
			skb->mark = carried->mark;
	}
	skb->cb[CARRY_CB_TAG] = CARRY_TAG;
	skb->cb[CARRY_CB_LOW] = at;
	skb->cb[CARRY_CB_HIGH] = at >> 32;
	return at;
}

/* What came with a packet for which begin_tc() was called. */
static __always_inline __u32 carried_rule(const struct __sk_buff *skb)
{
	return skb->cb[CARRY_CB_RULE];
}

static __always_inline __u8 carried_flags(const struct __sk_buff *skb)
{
	return skb->cb[CARRY_CB_REST];
}

static __always_inline __u8 carried_dscp(const struct __sk_buff *skb)
{
	return skb->cb[CARRY_CB_REST] >> 8;
}

/*
 * For XDP programs that call others by tail call, declared once at file scope:
 *
 *	CARRY_OVER_TAIL_CALLS
 *
 *	hand_on_xdp(ctx, &facts);	before the tail call; 0 if the generation is all that could be handed on
 *	__u64 at = resume_xdp(ctx);	in a program that is never anything but tail called
 *
 * Where there is no room for metadata the generation stands in a scratch entry of this CPU meanwhile; no other
 * packet can come between on it. TC programs that call others need nothing: skb->cb stays, and they begin_tc().
 */
#define CARRY_OVER_TAIL_CALLS                                                              \
	struct {                                                                           \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                   \
		__uint(max_entries, 1);                                                    \
		__type(key, __u32);                                                        \
		__type(value, __u64);                                                      \
	} carry_scratch SEC(".maps");                                                      \
	static __maybe_unused __always_inline int hand_on_xdp(struct xdp_md *ctx,          \
							      const struct carried *facts) \
	{                                                                                  \
		__u32 zero = 0;                                                            \
		__u64 *scratch = bpf_map_lookup_elem(&carry_scratch, &zero);               \
                                                                                           \
		if (carry_xdp(ctx, facts))                                                 \
			return 1;                                                          \
		if (scratch)                                                               \
			*scratch = facts->generation;                                      \
		return 0;                                                                  \
	}                                                                                  \
	static __maybe_unused __always_inline __u64 resume_xdp(struct xdp_md *ctx)         \
	{                                                                                  \
		const struct carried *carried = find_carried(ctx);                         \
		__u32 zero = 0;                                                            \
		const __u64 *scratch = bpf_map_lookup_elem(&carry_scratch, &zero);         \
                                                                                           \
		if (carried)                                                               \
			return carried->generation;                                        \
		return scratch ? *scratch : current_generation();                          \
	}
