/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How many connections a source and a rule have: exact at any moment, on any number of processors. A connection is
 * counted before it is entered, and taken out by whoever clears CT_FLAG_COUNTED in its word.
 */
#pragma once

#include <asm-generic/errno-base.h>

#include "lib/ct_step.h"

#define COUNT_TRIES 64

/* Statistics of this program; see enum ct_stat. */
static __always_inline void note_stat(__u32 stat)
{
	__u64 *count = bpf_map_lookup_elem(&ct_stats, &stat);

	if (count)
		++*count;
}

/* What became of an attempt to count or to create a connection. */
enum ct_outcome {
	CT_OUTCOME_DONE = 0,
	/* There is one: another processor was faster, or it was there before. */
	CT_OUTCOME_EXISTS,
	/* The source, or the rule, has as many as it may have. */
	CT_OUTCOME_SOURCE_LIMIT,
	CT_OUTCOME_RULE_LIMIT,
	/* The table is full of connections that nobody may put out. */
	CT_OUTCOME_FULL,
	/* Other processors were in the way each time. */
	CT_OUTCOME_CONTENDED,
	/* The packet begins no connection, or none is tracked where it came in. */
	CT_OUTCOME_NOT_TRACKED,
};

/* One more in @count if that is not more than @limit (0: no limit); @tag is what else the word has to hold. */
static __always_inline int add_within(__u64 *count, __u64 tag, __u32 limit)
{
	__u64 word = READ_ONCE(*count);

	for (int i = 0; i < COUNT_TRIES; i++) {
		__u64 seen;

		if ((word ^ tag) >> 32)
			return CT_OUTCOME_CONTENDED;
		if (limit && (__u32)word >= limit)
			return CT_OUTCOME_SOURCE_LIMIT;
		seen = __sync_val_compare_and_swap(count, word, word + 1);
		if (seen == word)
			return CT_OUTCOME_DONE;
		word = seen;
	}
	return CT_OUTCOME_CONTENDED;
}

/* One source's count; a program that looked it up just before it was taken out looks again. */
static __always_inline int count_source(const struct source_count_key *key, __u32 limit)
{
	struct source_count fresh = { .word = (__u64)tag_of(key, sizeof(*key)) << 32 };

	for (int i = 0; i < KEYED_TRIES; i++) {
		struct source_count *count = bpf_map_lookup_elem(&source_counts, key);
		int outcome;

		if (!count) {
			long error = bpf_map_update_elem(&source_counts, key, &fresh, BPF_NOEXIST);

			if (error && error != -EEXIST)
				return CT_OUTCOME_FULL;
			count = bpf_map_lookup_elem(&source_counts, key);
			if (!count)
				continue;
		}
		outcome = add_within(&count->word, fresh.word, limit);
		if (outcome != CT_OUTCOME_CONTENDED)
			return outcome;
	}
	return CT_OUTCOME_CONTENDED;
}

/*
 * One less. The entry is there: it goes with its last connection, and this one is in it. Whoever brings it to zero
 * and still finds zero takes it out; from then on nobody can count in it.
 */
static __always_inline void uncount_source(const struct source_count_key *key)
{
	__u64 empty = (__u64)tag_of(key, sizeof(*key)) << 32;
	struct source_count *count = bpf_map_lookup_elem(&source_counts, key);

	if (!count)
		return;
	if (__sync_fetch_and_add(&count->word, -1) != empty + 1)
		return;
	if (__sync_val_compare_and_swap(&count->word, empty, 0) == empty)
		bpf_map_delete_elem(&source_counts, key);
}

static __always_inline void set_source_key(struct source_count_key *key,
					   const struct ct_key *connection, __u64 word,
					   __u32 rule_id)
{
	__builtin_memcpy(key->address, opener_of(word) ? connection->high : connection->low,
			 sizeof(key->address));
	key->rule_id = rule_id;
	key->family = connection->family;
}

/* Takes a connection out of the counts in which count_connection() put it. */
__noinline int uncount_connection(const struct ct_key *connection, __u64 word, __u32 rule_id)
{
	struct source_count_key key = {};
	__u64 *rule = bpf_map_lookup_elem(&rule_counts, &rule_id);

	if (!connection)
		return 0;
	set_source_key(&key, connection, word, rule_id);
	uncount_source(&key);
	if (rule)
		__sync_fetch_and_add(rule, -1);
	return 0;
}

/**
 * struct ct_limits - what a rule says about its connections
 * @source: how many one source may have; 0 without limit
 * @rule: how many all may have; 0 without limit
 */
struct ct_limits {
	__u32 source;
	__u32 rule;
};

/* Counts a connection that is about to be created; of both counts or of none. */
__noinline int count_connection(const struct ct_key *connection, __u64 word, __u32 rule_id,
				const struct ct_limits *limits)
{
	struct source_count_key key = {};
	__u64 *rule = bpf_map_lookup_elem(&rule_counts, &rule_id);
	int outcome;

	if (!connection || !limits || !rule)
		return CT_OUTCOME_NOT_TRACKED;
	set_source_key(&key, connection, word, rule_id);
	outcome = count_source(&key, limits->source);
	if (outcome != CT_OUTCOME_DONE)
		return outcome;
	outcome = add_within(rule, 0, limits->rule);
	if (outcome == CT_OUTCOME_DONE)
		return outcome;
	uncount_source(&key);
	return outcome == CT_OUTCOME_SOURCE_LIMIT ? CT_OUTCOME_RULE_LIMIT : outcome;
}
