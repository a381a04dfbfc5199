/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections of another table: entered here with a slot and counts of their own, and moved on while programs of both
 * tables see packets. So slots and counts are never copied; they are right because every entry came by them.
 */
#pragma once

#include "lib/track_tc.h"

/**
 * struct ct_carried - a connection as it stands in another table
 * @value: its slot is one of that table, and means nothing here
 */
struct ct_carried {
	struct ct_key key;
	struct connection value;
};
_Static_assert(sizeof(struct ct_carried) == sizeof(struct ct_key) + sizeof(struct connection),
	       "user space puts one behind the other");

/* Counts a connection as its rule's, whatever the limit: it was let through. The word says whether it is counted. */
static __always_inline __u64 count_carried(const struct ct_carried *from, __u64 word)
{
	struct ct_limits none = {};

	if (!(flags_of(word) & CT_FLAG_COUNTED) ||
	    count_connection(&from->key, word, from->value.rule_id, &none) == CT_OUTCOME_DONE)
		return word;
	return without_flags(word, CT_FLAG_COUNTED);
}

/* Its slot is complete before it is entered, and from then on it is everybody's. */
static __always_inline int enter_carried(struct ct_carried *from, __u64 word)
{
	struct ct_slot *slot;
	__u32 index = 0;

	slot = take_slot(&index);
	if (!slot) {
		note_stat(CT_STAT_FULL);
		return 0;
	}
	from->value.word = count_carried(from, word);
	from->value.slot = index;
	slot->key = from->key;
	slot->tag = word_tag(word);
	if (bpf_map_update_elem(&connections, &from->key, &from->value, BPF_NOEXIST)) {
		if (flags_of(from->value.word) & CT_FLAG_COUNTED)
			uncount_connection(&from->key, word, from->value.rule_id);
		release_slot(index);
		return 0;
	}
	if (is_candidate(word))
		bpf_map_push_elem(&ct_candidates, &from->key, BPF_EXIST);
	return 1;
}

/* What its side sent that was not seen here. */
static __always_inline void catch_up_side(struct connection *entry, const struct ct_carried *from,
					  __u32 place)
{
	const struct ct_side *other = &from->value.side[place & 1];
	struct ct_side *side = &entry->side[place & 1];
	struct ct_window here, there;

	load_side(&here, side);
	load_side(&there, other);
	if (from->key.protocol == PROTOCOL_TCP)
		advance_side(side, &here, &there, word_tag(from->value.word));
	if (other->packets > side->packets)
		__sync_fetch_and_add(&side->packets, other->packets - side->packets);
	if (other->bytes > side->bytes)
		__sync_fetch_and_add(&side->bytes, other->bytes - side->bytes);
}

/*
 * The entry is here already: where the other table saw packets later, it goes on from there. Its windows are checked
 * again, as @word says.
 */
static __always_inline int catch_up(struct connection *entry, const struct ct_carried *from,
				    __u64 word)
{
	__u64 here = READ_ONCE(entry->word), next = here;
	int is_later = (__s64)(from->value.seen_ns - READ_ONCE(entry->seen_ns)) > 0;
	__u32 rule_id = READ_ONCE(entry->rule_id);

	if ((here ^ word) >> CT_WORD_SERIAL_SHIFT || !state_of(here))
		return 0;
	if (is_later) {
		catch_up_side(entry, from, 0);
		catch_up_side(entry, from, 1);
		/* It is counted here only if it is so already. */
		next = flags_of(here) & CT_FLAG_COUNTED ? word
							: without_flags(word, CT_FLAG_COUNTED);
	} else if (!(flags_of(word) & CT_FLAG_PICKED_UP)) {
		next = without_flags(here, CT_FLAG_PICKED_UP);
	}
	if (next == here || __sync_val_compare_and_swap(&entry->word, here, next) != here)
		return 0;
	if (flags_of(here & ~next) & CT_FLAG_COUNTED)
		uncount_connection(&from->key, here, rule_id);
	if (is_later)
		entry->seen_ns = from->value.seen_ns;
	return 1;
}

/*
 * Takes over one connection. With @is_moving the other table goes on seeing its packets: its windows are not checked
 * until it is taken over once more, when those packets are known. Returns whether anything became of it.
 */
static __always_inline int adopt(struct ct_carried *from, int is_moving)
{
	__u64 word = from->value.word;
	struct connection *entry;

	if (word_tag(word) != tag_of(&from->key, sizeof(from->key)) || !state_of(word))
		return 0;
	if (is_over(from->value.seen_ns, word, current_generation(), bpf_ktime_get_coarse_ns()))
		return 0;
	if (is_moving)
		word = with_flags(word, CT_FLAG_PICKED_UP);
	entry = bpf_map_lookup_elem(&connections, &from->key);
	return entry ? catch_up(entry, from, word) : enter_carried(from, word);
}
