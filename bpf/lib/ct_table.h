/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The life of an entry: found, entered, ended. An entry belongs to whoever entered it until its word is stored, then to
 * all, and from the moment that its word says CT_STATE_ENDED to whoever stored that, who takes it out. So nobody
 * ever takes out an entry that another processor has put in the same place.
 *
 * One timer goes round the slots of all connections and ends those that are over, some of them at a time. Until it
 * comes by, lookups take them for absent.
 */
#pragma once

#include "lib/ct_count.h"

#define TABLE_TRIES    4
#define EVICTION_TRIES 128
/* A round takes about six seconds, and longer only where a step of this many is too small for that. */
#define SWEEP_NS	(NS_PER_S / 10)
#define SWEEP_STEPS	64
#define SWEEP_SLOTS_MAX 4096
#define CLOCK_MONOTONIC 1

/*
 * What is entered: nobody's entry, with the tag that no key has. Helpers read it as they read keys and values, and
 * a copy on the stack would leave too little of that for callers.
 */
static const struct {
	__u8 bytes[sizeof(struct connection)];
} ct_blank = {};

static __always_inline __u64 deadline_of(__u64 seen_ns, __u64 word,
					 const struct ct_setting_record *settings)
{
	return seen_ns + settings->timeouts_s[state_of(word) & (CT_STATES - 1)] * NS_PER_S;
}

/* Whether a connection has outlived its timeout, or the policy that it was tracked by, as seen at generation @at. */
static __always_inline int is_over(__u64 seen_ns, __u64 word, __u64 at, __u64 now)
{
	const struct ct_setting_record *settings = look_up_ct_settings(settings_of(word), at);

	return !settings || (__s64)(now - deadline_of(seen_ns, word, settings)) >= 0;
}

/**
 * struct ct_sweep - one step of the sweeper's round
 * @at: slot to look at next
 * @used: where the round begins again
 */
struct ct_sweep {
	__u64 generation;
	__u64 now;
	__u32 at;
	__u32 used;
};

static __always_inline struct ct_sweeper *sweeper(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ct_sweeper, &zero);
}

/* The list of free slots with another one in front: @first is its index + 1, 0 for none. */
static __always_inline __u64 list_from(__u64 list, __u32 first)
{
	return ((list >> 32) + 1) << 32 | first;
}

/* Takes the first slot of those that are free again: its index + 1, or 0 if there is none. */
__noinline __u32 reuse_slot(void)
{
	struct ct_sweeper *sweep = sweeper();
	__u64 list = sweep ? READ_ONCE(sweep->free) : 0;

	for (int i = 0; i < COUNT_TRIES && sweep; i++) {
		__u32 index = (__u32)list - 1;
		struct ct_slot *slot = bpf_map_lookup_elem(&ct_slots, &index);
		__u64 seen;

		if (!slot)
			return 0;
		seen = __sync_val_compare_and_swap(&sweep->free, list,
						   list_from(list, READ_ONCE(slot->next)));
		if (seen == list)
			return index + 1;
		list = seen;
	}
	return 0;
}

/* A slot that nobody has, in @index; NULL if there is none. */
static __always_inline struct ct_slot *take_slot(__u32 *index)
{
	struct ct_sweeper *sweep = sweeper();
	__u32 place = reuse_slot();
	struct ct_slot *slot;

	if (!sweep)
		return NULL;
	*index = place ? place - 1 : __sync_fetch_and_add(&sweep->used, 1);
	slot = bpf_map_lookup_elem(&ct_slots, index);
	if (!slot)
		__sync_fetch_and_add(&sweep->used, -1);
	return slot;
}

/* Puts a slot in front of those that are free again. */
__noinline int release_slot(__u32 index)
{
	struct ct_slot *slot = bpf_map_lookup_elem(&ct_slots, &index);
	struct ct_sweeper *sweep = sweeper();
	__u64 list;

	if (!slot || !sweep)
		return 0;
	slot->tag = 0;
	list = READ_ONCE(sweep->free);
	for (int i = 0; i < COUNT_TRIES; i++) {
		__u64 seen;

		slot->next = list;
		seen = __sync_val_compare_and_swap(&sweep->free, list, list_from(list, index + 1));
		if (seen == list)
			return 1;
		list = seen;
	}
	return 0;
}

/*
 * Ends the entry if its word is still @word; 1 if this call did it. The rule is read between: nobody but the winner
 * gives the entry to anybody else.
 */
static __always_inline int end_connection(struct connection *entry, const struct ct_key *key,
					  __u64 word, __u32 stat)
{
	__u64 ended = word & ~(__u64)0xffffff;
	__u32 index;

	if (__sync_val_compare_and_swap(&entry->word, word, ended) != word)
		return 0;
	if (flags_of(word) & CT_FLAG_COUNTED)
		uncount_connection(key, word, READ_ONCE(entry->rule_id));
	index = READ_ONCE(entry->slot);
	bpf_map_delete_elem(&connections, key);
	release_slot(index);
	note_stat(stat);
	return 1;
}

/* A slot's connection, if it is over. A key that is being written meanwhile is that of no connection with this slot. */
static long sweep_one(__u32 step __maybe_unused, struct ct_sweep *sweep)
{
	__u32 index = sweep->at < sweep->used ? sweep->at : 0;
	struct ct_slot *slot = bpf_map_lookup_elem(&ct_slots, &index);
	struct connection *entry;
	struct ct_key key;
	__u64 word;

	sweep->at = index + 1;
	if (!slot || !READ_ONCE(slot->tag))
		return 0;
	key = slot->key;
	entry = bpf_map_lookup_elem(&connections, &key);
	if (!entry)
		return 0;
	word = READ_ONCE(entry->word);
	if (word_tag(word) != tag_of(&key, sizeof(key)) || state_of(word) == CT_STATE_ENDED ||
	    READ_ONCE(entry->slot) != index)
		return 0;
	if (is_over(READ_ONCE(entry->seen_ns), word, sweep->generation, sweep->now))
		end_connection(entry, &key, word, CT_STAT_EXPIRED);
	return 0;
}

static int on_timer(void *map __maybe_unused, __u32 *key __maybe_unused, struct ct_sweeper *sweeper)
{
	struct ct_sweep sweep = {
		.generation = current_generation(),
		.now = bpf_ktime_get_coarse_ns(),
		.used = READ_ONCE(sweeper->used),
		.at = sweeper->at,
	};
	__u32 steps = sweep.used / SWEEP_STEPS + SWEEP_STEPS;

	if (steps > sweep.used)
		steps = sweep.used;
	bpf_loop(steps < SWEEP_SLOTS_MAX ? steps : SWEEP_SLOTS_MAX, sweep_one, &sweep, 0);
	sweeper->at = sweep.at;
	bpf_timer_start(&sweeper->timer, SWEEP_NS, 0);
	return 0;
}

/* Sets the timer, or takes it over from the program that has set it, which the kernel keeps for that. */
__noinline int set_sweeper(void)
{
	struct ct_sweeper *sweep = sweeper();

	if (!sweep)
		return 0;
	/* EBUSY if there is one. */
	bpf_timer_init(&sweep->timer, &ct_sweeper, CLOCK_MONOTONIC);
	if (bpf_timer_set_callback(&sweep->timer, on_timer) ||
	    bpf_timer_start(&sweep->timer, SWEEP_NS, 0)) {
		note_stat(CT_STAT_NO_TIMER);
		return 0;
	}
	sweep->is_set = 1;
	return 1;
}

static __always_inline int is_swept(void)
{
	const struct ct_sweeper *sweep = sweeper();

	return !sweep || READ_ONCE(sweep->is_set);
}

/* The last word of a side: what it advertised. */
static __always_inline __u64 terms_of(const struct ct_window *window, __u32 tag)
{
	return (__u64)(__u16)tag << 48 | (__u64)window->has_scale << 40 |
	       (__u64)window->scale << 32 | window->window;
}

static __always_inline void load_side(struct ct_window *window, const struct ct_side *side)
{
	__u64 edge = READ_ONCE(side->edge);
	__u64 terms = READ_ONCE(*(const __u64 *)&side->window);

	window->end = edge;
	window->max_end = edge >> 32;
	window->window = terms;
	window->scale = terms >> 32;
	window->has_scale = terms >> 40 & 1;
}

/* For an entry that nobody else has yet. */
static __always_inline void store_side(struct ct_side *side, const struct ct_window *window,
				       __u32 tag)
{
	side->edge = (__u64)window->max_end << 32 | window->end;
	*(__u64 *)&side->window = terms_of(window, tag);
	side->packets = 0;
	side->bytes = 0;
}

/* Moves a side on, never back: of two packets that are taken at once the farther one counts. */
static __always_inline void advance_side(struct ct_side *side, const struct ct_window *before,
					 const struct ct_window *after, __u32 tag)
{
	__u64 edge = (__u64)before->max_end << 32 | before->end;
	__u64 terms = terms_of(before, tag), next = terms_of(after, tag);

	/* The largest window is all that is asked for: if another one came between, one of the next is as good. */
	if (next != terms)
		__sync_val_compare_and_swap((__u64 *)&side->window, terms, next);
	for (int i = 0; i < TABLE_TRIES; i++) {
		__u32 end = edge, max_end = edge >> 32;
		__u64 seen;

		if (is_after(after->end, end) || !before->window)
			end = after->end;
		if (is_after(after->max_end, max_end) || !before->window)
			max_end = after->max_end;
		next = (__u64)max_end << 32 | end;
		if (next == edge)
			return;
		seen = __sync_val_compare_and_swap(&side->edge, edge, next);
		if (seen == edge)
			return;
		edge = seen;
	}
}

/* Connections that may make room for new ones: those that nobody has answered or that are through. */
static __always_inline int is_candidate(__u64 word)
{
	__u32 state = state_of(word);

	if (state == CT_STATE_ENDED)
		return 0;
	return !(flags_of(word) & CT_FLAG_REPLIED) || state == CT_STATE_SYN_RECV ||
	       state == CT_STATE_TIME_WAIT || state == CT_STATE_CLOSED;
}

/* One candidate, the oldest; returns 1 to end the search, with @is_out set if it was put out. */
static long evict_one(__u32 index __maybe_unused, __u32 *is_out)
{
	struct connection *entry;
	struct ct_key key = {};
	__u64 word;

	if (bpf_map_pop_elem(&ct_candidates, &key))
		return 1;
	entry = bpf_map_lookup_elem(&connections, &key);
	if (!entry)
		return 0;
	word = READ_ONCE(entry->word);
	if (word_tag(word) != tag_of(&key, sizeof(key)) || !is_candidate(word))
		return 0;
	*is_out = end_connection(entry, &key, word, CT_STAT_EVICTED);
	return *is_out;
}

/* Puts the oldest candidate out; 1 if there is room now. Who has become established since is passed over. */
__noinline int evict_oldest(void)
{
	__u32 is_out = 0;

	bpf_loop(EVICTION_TRIES, evict_one, &is_out, 0);
	return is_out;
}
