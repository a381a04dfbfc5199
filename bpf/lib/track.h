/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connection tracking as programs use it:
 *
 *	ct_look_up(ctx, packet, origin, found)	what a packet is to the connections that are known; changes nothing
 *	ct_create(packet, subject, origin)	enters the connection that it begins, counted against limits
 *	ct_confirm(found, at)			the rules let a connection through again, after a commit
 *	ct_forget(found)			they did not: it is a connection no more
 *	ct_track(ctx, packet, origin)		does all that the packet does to its connection
 *	ct_rule_answered(ctx, packet, at)	the rule behind the connection whose opener the packet goes to
 *
 * XDP asks, and creates where a limit has to hold; TC tracks, in both directions, what was let through.
 */
#pragma once

#include "lib/ct_create.h"

/**
 * struct ct_found - what a packet is to the connections that are known
 * @subject: the connection that it is about
 * @word: of the connection as it was found; 0 if there is none
 * @judged: the generation in which the rules last let it through
 * @rule_id: the rule that let its first packet through
 * @state: enum connection_state
 * @is_fast: established, and nothing that was committed since needs the rules to be asked again
 * @is_reply: the packet goes in the other direction than the first one
 * @begins: it begins a connection in the place of one that has ended
 */
struct ct_found {
	__u64 word;
	__u64 judged;
	__u32 rule_id;
	struct ct_subject subject;
	__u8 state;
	__u8 is_fast;
	__u8 is_reply;
	__u8 begins;
	__u8 reserved[4];
};

/*
 * The entry of a key, and in @step what it says now. NULL if there is none, or if it is being entered or taken out
 * while this looks: then it is not there yet, or no more. The tag is compared behind the reads; x86 keeps loads in
 * order, and elsewhere what is at stake is one packet's state.
 */
static __always_inline struct connection *fetch(const struct ct_key *key, __u32 tag,
						struct ct_step *step)
{
	for (int i = 0; i < TABLE_TRIES; i++) {
		struct connection *entry = bpf_map_lookup_elem(&connections, key);

		if (!entry)
			return NULL;
		step->word = READ_ONCE(entry->word);
		load_side(&step->window[0], &entry->side[0]);
		load_side(&step->window[1], &entry->side[1]);
		barrier();
		if (word_tag(step->word) == tag && READ_ONCE(entry->word) == step->word &&
		    state_of(step->word) != CT_STATE_ENDED)
			return entry;
	}
	return NULL;
}

static __always_inline int is_liberal(__u64 word, const struct ct_setting_record *settings)
{
	return flags_of(word) & CT_FLAG_PICKED_UP || settings->flags & CT_SETTING_LIBERAL;
}

static __always_inline __u32 state_after(const struct ct_step *step,
					 const struct ct_subject *subject)
{
	int is_reply = subject->sender != opener_of(step->word);

	if (step->effect == CT_EFFECT_INVALID)
		return CONNECTION_STATE_INVALID;
	/* Not an answer: an echo request of the other side with the same identifier. */
	if (step->effect == CT_EFFECT_NONE && is_reply && subject->opens &&
	    subject->key.protocol != PROTOCOL_TCP && !(flags_of(step->word) & CT_FLAG_REPLIED))
		return CONNECTION_STATE_NEW;
	return is_reply || flags_of(step->word) & CT_FLAG_REPLIED ? CONNECTION_STATE_ESTABLISHED
								  : CONNECTION_STATE_NEW;
}

/* What a packet is that has no connection. */
static __always_inline __u32 state_without(const struct packet *packet,
					   const struct ct_subject *subject,
					   const struct ct_setting_record *settings)
{
	if (subject->kind == CT_SUBJECT_NONE || packet->later_fragment)
		return CONNECTION_STATE_NEW;
	if (subject->kind == CT_SUBJECT_OWN && first_state(packet, subject, settings->flags))
		return CONNECTION_STATE_NEW;
	return CONNECTION_STATE_INVALID;
}

/* Fills @found, which the caller has cleared; returns its state. */
__noinline int ct_look_up(CT_CONTEXT *ctx, const struct packet *packet,
			  const struct ct_origin *origin, struct ct_found *found)
{
	const struct ct_setting_record *settings;
	struct connection *entry = NULL;
	struct ct_step step = {};
	struct ct_key key;

	if (!packet || !origin || !found)
		return CONNECTION_STATE_INVALID;
	found->state = CONNECTION_STATE_NEW;
	settings = look_up_ct_settings(origin->settings, origin->at);
	if (!origin->settings || !settings)
		return found->state;
	ct_identify(ctx, packet, &found->subject);
	key = found->subject.key;
	if (found->subject.kind == CT_SUBJECT_OWN || found->subject.kind == CT_SUBJECT_ERROR)
		entry = fetch(&key, found->subject.tag, &step);
	if (!entry ||
	    is_over(READ_ONCE(entry->seen_ns), step.word, origin->at, bpf_ktime_get_coarse_ns())) {
		found->state = state_without(packet, &found->subject, settings);
		return found->state;
	}
	found->word = step.word;
	found->judged = READ_ONCE(entry->judged) >> CT_JUDGED_GENERATION_SHIFT;
	found->rule_id = READ_ONCE(entry->rule_id);
	barrier();
	if (READ_ONCE(entry->word) >> CT_WORD_SERIAL_SHIFT != step.word >> CT_WORD_SERIAL_SHIFT) {
		found->word = 0;
		return found->state;
	}
	found->is_reply = found->subject.sender != opener_of(step.word);
	if (found->subject.kind == CT_SUBJECT_ERROR) {
		found->state = CONNECTION_STATE_RELATED;
		return found->state;
	}
	step.sender = found->subject.sender;
	step.liberal = is_liberal(step.word, settings);
	ct_take_step(&step, packet, &found->subject);
	if (step.effect == CT_EFFECT_REPLACE)
		found->state = CONNECTION_STATE_NEW;
	else
		found->state = state_after(&step, &found->subject);
	found->begins = step.effect == CT_EFFECT_REPLACE;
	found->is_fast =
		found->state == CONNECTION_STATE_ESTABLISHED &&
		!(flags_of(step.word) & CT_FLAG_SLOW) &&
		(!(flags_of(step.word) & CT_FLAG_REEVALUATE) || found->judged == origin->at);
	return found->state;
}

/* The rules let the connection through at generation @at: its packets need not ask again until the next commit. */
__noinline int ct_confirm(const struct ct_found *found, __u64 at)
{
	struct connection *entry;
	struct ct_key key;

	if (!found || !found->word)
		return 0;
	key = found->subject.key;
	entry = bpf_map_lookup_elem(&connections, &key);
	if (!entry)
		return 0;
	__sync_val_compare_and_swap(&entry->judged, judged_word(found->judged, found->word),
				    judged_word(at, found->word));
	return 0;
}

/* Ends the connection that was found, whatever state it has come to meanwhile. */
__noinline int ct_forget(const struct ct_found *found)
{
	struct connection *entry;
	struct ct_key key;

	if (!found || !found->word)
		return 0;
	key = found->subject.key;
	for (int i = 0; i < TABLE_TRIES; i++) {
		__u64 word;

		entry = bpf_map_lookup_elem(&connections, &key);
		if (!entry)
			return 0;
		word = READ_ONCE(entry->word);
		if ((word ^ found->word) >> CT_WORD_SERIAL_SHIFT || !state_of(word))
			return 0;
		if (end_connection(entry, &key, word, CT_STAT_FLUSHED))
			return 1;
	}
	return 0;
}

static __always_inline void count_packet(struct connection *entry, __u32 sender, __u32 bytes)
{
	struct ct_side *side = &entry->side[sender & 1];

	__sync_fetch_and_add(&side->packets, 1);
	__sync_fetch_and_add(&side->bytes, bytes);
}

/* Stores what a step came to; 0 if another processor has changed the connection meanwhile. */
static __always_inline int store_step(struct connection *entry, const struct ct_key *key,
				      const struct ct_step *before, const struct ct_step *after)
{
	__u32 rule_id = READ_ONCE(entry->rule_id), state = state_of(after->word);
	__u64 word = after->word;
	__u32 tag = word_tag(word);
	int has_ended = state == CT_STATE_TIME_WAIT || state == CT_STATE_CLOSED;

	if (key->protocol == PROTOCOL_TCP) {
		advance_side(&entry->side[0], &before->window[0], &after->window[0], tag);
		advance_side(&entry->side[1], &before->window[1], &after->window[1], tag);
	}
	/* What has ended counts no more, though it is remembered for a while. */
	if (has_ended)
		word = without_flags(word, CT_FLAG_COUNTED);
	if (word != before->word &&
	    __sync_val_compare_and_swap(&entry->word, before->word, word) != before->word)
		return 0;
	if (has_ended && flags_of(before->word) & CT_FLAG_COUNTED)
		uncount_connection(key, before->word, rule_id);
	if (has_ended && state != state_of(before->word))
		bpf_map_push_elem(&ct_candidates, key, BPF_EXIST);
	if (flags_of(word & ~before->word) & CT_FLAG_REPLIED)
		note_stat(CT_STAT_REPLIED);
	return 1;
}

#define TRACK_AGAIN  (-1)
#define TRACK_CREATE (-2)

/* One attempt: enum connection_state, TRACK_AGAIN if the connection changed under it, TRACK_CREATE if there is none. */
__noinline int ct_track_once(const struct packet *packet, const struct ct_subject *subject,
			     const struct ct_origin *origin)
{
	const struct ct_setting_record *settings;
	struct ct_step before = {}, after;
	struct connection *entry;
	__u64 now = bpf_ktime_get_coarse_ns();
	struct ct_key key;

	if (!packet || !subject || !origin)
		return CONNECTION_STATE_INVALID;
	settings = look_up_ct_settings(origin->settings, origin->at);
	if (!settings)
		return CONNECTION_STATE_NEW;
	key = subject->key;
	entry = fetch(&key, subject->tag, &before);
	if (!entry)
		return TRACK_CREATE;
	if (is_over(READ_ONCE(entry->seen_ns), before.word, origin->at, now)) {
		end_connection(entry, &key, before.word, CT_STAT_EXPIRED);
		return TRACK_AGAIN;
	}
	before.sender = subject->sender;
	before.liberal = is_liberal(before.word, settings);
	after = before;
	ct_take_step(&after, packet, subject);
	if (after.effect == CT_EFFECT_REPLACE) {
		end_connection(entry, &key, before.word, CT_STAT_REUSED);
		return TRACK_AGAIN;
	}
	if (after.effect == CT_EFFECT_INVALID)
		return CONNECTION_STATE_INVALID;
	if (after.effect == CT_EFFECT_MOVE) {
		if (!store_step(entry, &key, &before, &after))
			return TRACK_AGAIN;
		entry->seen_ns = now;
	}
	count_packet(entry, subject->sender, origin->bytes);
	return state_after(&after, subject);
}

/* Likewise: TRACK_AGAIN if another processor was faster. */
static __always_inline int create_tracked(const struct packet *packet,
					  const struct ct_subject *subject,
					  const struct ct_origin *origin)
{
	const struct ct_setting_record *settings =
		look_up_ct_settings(origin->settings, origin->at);
	int outcome = ct_create(packet, subject, origin);

	if (outcome == CT_OUTCOME_EXISTS)
		return TRACK_AGAIN;
	if (outcome == CT_OUTCOME_DONE || !settings)
		return CONNECTION_STATE_NEW;
	return state_without(packet, subject, settings);
}

/* An ICMP error neither begins a connection nor keeps one alive. */
static __always_inline int track_error(const struct ct_subject *subject,
				       const struct ct_origin *origin)
{
	struct ct_step step = {};
	struct connection *entry = fetch(&subject->key, subject->tag, &step);

	if (!entry ||
	    is_over(READ_ONCE(entry->seen_ns), step.word, origin->at, bpf_ktime_get_coarse_ns()))
		return CONNECTION_STATE_INVALID;
	return CONNECTION_STATE_RELATED;
}

static __always_inline void note_state(const struct packet *packet, int state)
{
	if (state == CONNECTION_STATE_RELATED)
		note_stat(CT_STAT_RELATED);
	if (state != CONNECTION_STATE_INVALID)
		return;
	note_stat(CT_STAT_INVALID);
	if (packet->protocol == PROTOCOL_TCP && packet->tcp_flags & TCP_RST)
		note_stat(CT_STAT_RESET_IGNORED);
}

/* Does all that @packet does to its connection; returns enum connection_state, as ct_look_up() would have. */
__noinline int ct_track(CT_CONTEXT *ctx, const struct packet *packet,
			const struct ct_origin *origin)
{
	struct ct_subject subject = {};
	int state = TRACK_AGAIN;

	if (!packet || !origin)
		return CONNECTION_STATE_INVALID;
	switch (ct_identify(ctx, packet, &subject)) {
	case CT_SUBJECT_OWN:
		for (int i = 0; i < TABLE_TRIES && state == TRACK_AGAIN; i++) {
			state = ct_track_once(packet, &subject, origin);
			if (state == TRACK_CREATE)
				state = create_tracked(packet, &subject, origin);
		}
		break;
	case CT_SUBJECT_ERROR:
		state = track_error(&subject, origin);
		break;
	case CT_SUBJECT_STRAY:
		state = CONNECTION_STATE_INVALID;
		break;
	default:
		return CONNECTION_STATE_NEW;
	}
	if (state == TRACK_AGAIN) {
		note_stat(CT_STAT_CONTENDED);
		return CONNECTION_STATE_NEW;
	}
	note_state(packet, state);
	return state;
}

/*
 * The rule that let in the connection whose opener @packet goes to, an ICMP error about one of the opener's packets
 * included; 0 if there is none. Changes nothing.
 */
__noinline int ct_rule_answered(CT_CONTEXT *ctx, const struct packet *packet, __u64 at)
{
	struct ct_subject subject = {};
	struct ct_step step = {};
	struct connection *entry;
	__u32 rule_id;
	int kind, is_openers;

	if (!packet)
		return 0;
	kind = ct_identify(ctx, packet, &subject);
	if (kind != CT_SUBJECT_OWN && kind != CT_SUBJECT_ERROR)
		return 0;
	entry = fetch(&subject.key, subject.tag, &step);
	if (!entry || is_over(READ_ONCE(entry->seen_ns), step.word, at, bpf_ktime_get_coarse_ns()))
		return 0;
	rule_id = READ_ONCE(entry->rule_id);
	barrier();
	if ((READ_ONCE(entry->word) ^ step.word) >> CT_WORD_SERIAL_SHIFT)
		return 0;
	is_openers = subject.sender == opener_of(step.word);
	return is_openers == (kind == CT_SUBJECT_ERROR) ? rule_id : 0;
}
