/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How a connection comes to be: counted, with a slot, filled, and only then there for others. */
#pragma once

#include "lib/ct_table.h"
#include "lib/event.h"

/**
 * struct ct_origin - where a packet comes from, and what a connection is to be that begins with it
 * @at: generation that the packet is judged by
 * @rule_id: the rule that let it through; 0 if none did
 * @interface: ifindex
 * @bytes: of the frame; 0 if somebody behind will count it
 * @flags: CT_FLAG_REEVALUATE, CT_FLAG_SLOW, CT_FLAG_COUNTED
 * @settings: slot of ct_settings; 0 if connections are not tracked on the interface
 * @limits: with CT_FLAG_COUNTED
 */
struct ct_origin {
	__u64 at;
	__u32 rule_id;
	__u32 interface;
	__u32 bytes;
	__u16 flags;
	__u8 settings;
	__u8 reserved;
	struct ct_limits limits;
};

/* When an alarm was last sent, CLOCK_MONOTONIC; one a second tells enough. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} ct_alarm SEC(".maps");

/* Says that the table is full. With a stack of its own: that of its caller has to last for those who make room. */
__noinline int raise_alarm(const struct packet *packet, const struct ct_origin *origin)
{
	struct event_facts facts = {
		.per_second = ~0U,
		.verdict = VERDICT_PASS,
		.kind = EVENT_KIND_TABLE_FULL,
	};
	__u64 now = bpf_ktime_get_ns(), *last, before;
	__u32 zero = 0;

	if (!packet || !origin)
		return 0;
	facts.generation = origin->at;
	facts.interface = origin->interface;
	facts.rule_id = origin->rule_id;
	last = bpf_map_lookup_elem(&ct_alarm, &zero);
	if (!last)
		return 0;
	before = READ_ONCE(*last);
	if (now - before < NS_PER_S && before)
		return 0;
	if (__sync_val_compare_and_swap(last, before, now) == before)
		send_event(packet, &facts);
	return 0;
}

static __always_inline __u64 judged_word(__u64 at, __u64 word)
{
	return at << CT_JUDGED_GENERATION_SHIFT |
	       (word_tag(word) & ((1 << CT_JUDGED_GENERATION_SHIFT) - 1));
}

/* A slot for a new connection, if need be that of one which is put out for it. */
static __always_inline struct ct_slot *make_room(const struct packet *packet,
						 const struct ct_origin *origin, __u32 *index)
{
	struct ct_slot *slot = take_slot(index);

	if (slot)
		return slot;
	raise_alarm(packet, origin);
	for (int i = 0; i < TABLE_TRIES && !slot && evict_oldest(); i++)
		slot = take_slot(index);
	return slot;
}

/*
 * Makes an entry in the table, which belongs to the caller alone until its word is stored; NULL, and in @outcome why,
 * if there is none.
 */
static __always_inline struct connection *enter(const struct packet *packet,
						const struct ct_key *key,
						const struct ct_origin *origin, int *outcome)
{
	struct connection *entry = NULL;
	__u32 index = 0;
	struct ct_slot *slot = make_room(packet, origin, &index);
	long error;

	*outcome = CT_OUTCOME_FULL;
	if (!slot) {
		note_stat(CT_STAT_FULL);
		return NULL;
	}
	error = bpf_map_update_elem(&connections, key, &ct_blank, BPF_NOEXIST);
	if (!error)
		entry = bpf_map_lookup_elem(&connections, key);
	if (!entry) {
		release_slot(index);
		*outcome = error == -EEXIST ? CT_OUTCOME_EXISTS : CT_OUTCOME_CONTENDED;
		return NULL;
	}
	entry->slot = index;
	slot->key = *key;
	slot->tag = tag_of(key, sizeof(*key));
	*outcome = CT_OUTCOME_DONE;
	return entry;
}

static __always_inline void fill(struct connection *entry, const struct ct_subject *subject,
				 const struct ct_origin *origin, const struct ct_step *step)
{
	struct ct_side *side;

	entry->seen_ns = bpf_ktime_get_coarse_ns();
	entry->created_ns = entry->seen_ns;
	entry->judged = judged_word(origin->at, step->word);
	entry->rule_id = origin->rule_id;
	entry->interface = origin->interface;
	store_side(&entry->side[0], &step->window[0], subject->tag);
	store_side(&entry->side[1], &step->window[1], subject->tag);
	side = &entry->side[subject->sender & 1];
	side->packets = !!origin->bytes;
	side->bytes = origin->bytes;
}

/* The word and windows of a new connection in @step; its first state, CT_STATE_ENDED if there can be none. */
static __always_inline __u32 begin_connection(const struct packet *packet,
					      const struct ct_subject *subject,
					      const struct ct_origin *origin, struct ct_step *step,
					      __u32 settings)
{
	__u32 state = first_state(packet, subject, settings);
	__u32 flags = origin->flags & (CT_FLAG_REEVALUATE | CT_FLAG_SLOW | CT_FLAG_COUNTED);

	if (state == CT_STATE_ENDED)
		return state;
	if (subject->sender)
		flags |= CT_FLAG_OPENED_BY_HIGH;
	if (packet->protocol == PROTOCOL_TCP && state != CT_STATE_SYN_SENT)
		flags |= CT_FLAG_PICKED_UP;
	if (state == CT_STATE_FIN_WAIT)
		flags |= subject->sender ? CT_FLAG_FIN_HIGH : CT_FLAG_FIN_LOW;
	step->word = (__u64)subject->tag << CT_WORD_TAG_SHIFT |
		     (bpf_get_prandom_u32() & 0xff) << CT_WORD_SERIAL_SHIFT |
		     origin->settings << CT_WORD_SETTINGS_SHIFT | flags << CT_WORD_FLAGS_SHIFT |
		     state;
	step->sender = subject->sender;
	if (packet->protocol != PROTOCOL_TCP)
		return state;
	begin_windows(step, packet, subject);
	return state;
}

/*
 * Enters the connection that @packet begins. With CT_FLAG_COUNTED it is counted first, and taken back if it does not
 * come to be: at no moment are there more than the limits say. Returns enum ct_outcome.
 */
__noinline int ct_create(const struct packet *packet, const struct ct_subject *subject,
			 const struct ct_origin *origin)
{
	const struct ct_setting_record *settings;
	struct connection *entry;
	struct ct_step step = {};
	struct ct_key key;
	__u32 state;
	int outcome;

	if (!packet || !subject || !origin || subject->kind != CT_SUBJECT_OWN)
		return CT_OUTCOME_NOT_TRACKED;
	settings = look_up_ct_settings(origin->settings, origin->at);
	if (!settings)
		return CT_OUTCOME_NOT_TRACKED;
	state = begin_connection(packet, subject, origin, &step, settings->flags);
	if (state == CT_STATE_ENDED)
		return CT_OUTCOME_NOT_TRACKED;
	if (origin->flags & CT_FLAG_COUNTED) {
		outcome = count_connection(&subject->key, step.word, origin->rule_id,
					   &origin->limits);
		if (outcome != CT_OUTCOME_DONE) {
			note_stat(outcome == CT_OUTCOME_CONTENDED ? CT_STAT_CONTENDED
								  : CT_STAT_LIMITED);
			return outcome;
		}
	}
	key = subject->key;
	entry = enter(packet, &key, origin, &outcome);
	if (!entry) {
		if (origin->flags & CT_FLAG_COUNTED)
			uncount_connection(&subject->key, step.word, origin->rule_id);
		return outcome;
	}
	fill(entry, subject, origin, &step);
	/* Everything stands there before the word does. */
	__sync_lock_test_and_set(&entry->word, step.word);
	bpf_map_push_elem(&ct_candidates, &key, BPF_EXIST);
	if (unlikely(!is_swept()))
		set_sweeper();
	note_stat(flags_of(step.word) & CT_FLAG_PICKED_UP ? CT_STAT_PICKED_UP : CT_STAT_CREATED);
	return CT_OUTCOME_DONE;
}
