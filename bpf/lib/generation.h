/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Generations: how one 8-byte store changes what every program sees of every table.
 *
 * An entry of a policy table holds a version word and two sides. The word names the generation from which one
 * of the sides is seen; before that generation the other one is. So a transaction to generation T writes the
 * hidden side and then the word, readers at G < T see no difference, and the commit is the store of T in the
 * generation map. A side may be "absent", which each table defines for itself.
 */
#pragma once

#include "lib/kernel.h"

/**
 * struct generation - the one record of the generation map
 * @current: what packets are judged by; the store of this word is the commit
 * @last: the highest number that a transaction ever took, so that none is used twice
 * @oldest: the oldest generation of which tables still hold everything. A packet that waited between two hooks
 *          for longer than a grace period may carry an older one; it is judged by the current one then. Between
 *          raising it and removing what only older generations need there must be a grace period as well: a
 *          program that looked just before may be using what it was promised
 */
struct generation {
	__u64 current;
	__u64 last;
	__u64 oldest;
};

/*
 * Written by the agent through mmap, read once per packet by the first program that sees it.
 * An array, because only arrays can be mapped into user space.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct generation);
} generation SEC(".maps");

static __always_inline const struct generation *generation_record(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&generation, &zero);
}

/*
 * What packets are judged by now. Read it once a packet and hand it on: lib/carry.h does. Entries are looked up
 * after it: x86 keeps loads in this order, and elsewhere the agent reads back what it prepared before it commits,
 * which takes far longer than a processor looks ahead.
 */
static __always_inline __u64 current_generation(void)
{
	const struct generation *record = generation_record();

	return record ? READ_ONCE(record->current) : 0;
}

/* Which side of an entry a reader at generation @at sees: version is (since << 1) | side. */
static __always_inline __u32 visible_side(__u64 version, __u64 at)
{
#ifdef PENSTOCK_UNVERSIONED
	return version & 1;
#else
	return (version & 1) ^ ((version >> 1) > at);
#endif
}

/*
 * Tables. A program declares each with one line, which makes the map and a function that looks it up at a
 * generation; user space finds the parts of the value by their names in the object's BTF. What a payload looks
 * like when it is absent is for the table to say: @presence is the payload's member that is zero then.
 *
 *	KEYED_TABLE(name, key, payload, presence, entries)	by exact key, in a hash map
 *	PREFIX_TABLE(name, key, payload, presence, entries)	by longest match, in an LPM trie
 *	ARRAY_TABLE(name, payload, presence, entries)		by index
 *	ORDERED_TABLE(name, payload, presence, entries)		by position: rules, walked up to end_of_<name>()
 *	FILTER(name, key, entries)				may the keyed table hold this key at all?
 *
 * A large dense table with two banks is an array whose payload is the whole bank: the sides are the banks and
 * the slot's version names the one in use. Maps of devices, processors and programs need no line of their own:
 * what stands in them is put there before the commit and taken out after the grace period, and only versioned
 * entries refer to it.
 */

/*
 * Hash maps have two hazards. Where the kernel replaces an entry, a program that walks the bucket just then may
 * meet neither the old nor the new one and takes the key for absent. So existing entries are written in place
 * (BPF_F_LOCK, which is what the lock in the value is for: only the kernel takes it, programs read without) and
 * stay where they are. And the kernel hands the element of a deleted key out again at once: a program that has
 * just looked it up may read the value of another key, or half of it.
 *
 * So each side carries a sum over the key, the version and the payload, with an odd weight for each 32-bit word:
 * a copy in which any one word is not of this entry never fits its sum, and one with several fits by a chance of
 * 2^-32. Nothing depends on the order in which the kernel or the processor writes or reads. If the sum does not
 * fit, the lookup is repeated, at most this often. (Nodes of a trie are freed by RCU and arrays never move: they
 * need no sums.)
 *
 * The verifier lets no tracing program (a uprobe) use a map with a lock: those look up other tables.
 */
#define KEYED_TRIES  8
#define CHECK_FACTOR 0x9e3779b1

/* The sum so far and the weight of the last word. Sizes are constants, so that weights are too. */
struct check {
	__u32 sum;
	__u32 weight;
};

static __always_inline void check_words(struct check *check, const void *from, __u32 size)
{
	const __u32 *words = from;

#pragma unroll
	for (__u32 i = 0; i < size / sizeof(*words); i++) {
		check->weight *= CHECK_FACTOR;
		check->sum += words[i] * check->weight;
	}
}

/* A copy that is read from the map once, so that the sum is taken of what is used. */
static __always_inline void copy_once(void *to, const void *from, __u32 size)
{
#pragma unroll
	for (__u32 i = 0; i < size / sizeof(__u64); i++)
		((__u64 *)to)[i] = READ_ONCE(((const __u64 *)from)[i]);
}

/* For measuring what versions and sums are good for; never defined in a program that ships. */
#ifdef PENSTOCK_UNCHECKED
#define SUM_FITS(sum, found) 1
#else
#define SUM_FITS(sum, found) ((sum) == (found))
#endif
#ifndef NOTE_RETRY
#define NOTE_RETRY()
#endif

/*
 * look_up_<name>(key, generation, out): 1 and the payload if there is an entry, 0 if not, -1 if the entry kept
 * being replaced while it was read: a program fails closed then.
 */
#define KEYED_TABLE(name, key_type, payload_type, presence, entries)                              \
	struct name##_value {                                                                     \
		__u64 version;                                                                    \
		__u32 check[2];                                                                   \
		payload_type side[2];                                                             \
		struct bpf_spin_lock lock;                                                        \
		__u32 reserved;                                                                   \
	};                                                                                        \
	_Static_assert(sizeof(payload_type) % 8 == 0, #name ": payloads are copied by the word"); \
	_Static_assert(sizeof(key_type) % 4 == 0, #name ": keys are summed by the word");         \
	struct {                                                                                  \
		__uint(type, BPF_MAP_TYPE_HASH);                                                  \
		__uint(max_entries, entries);                                                     \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                             \
		__type(key, key_type);                                                            \
		__type(value, struct name##_value);                                               \
	} name SEC(".maps");                                                                      \
	static __maybe_unused __always_inline int look_up_##name(const key_type *key, __u64 at,   \
								 payload_type *out)               \
	{                                                                                         \
		for (int i = 0; i < KEYED_TRIES; i++) {                                           \
			struct name##_value *value = bpf_map_lookup_elem(&name, key);             \
			struct check check = { .sum = 0, .weight = 1 };                           \
			__u64 version;                                                            \
			__u32 side;                                                               \
                                                                                                  \
			if (!value)                                                               \
				return 0;                                                         \
			version = READ_ONCE(value->version);                                      \
			side = visible_side(version, at) & 1;                                     \
			copy_once(out, &value->side[side], sizeof(*out));                         \
			check_words(&check, key, sizeof(*key));                                   \
			check_words(&check, &version, sizeof(version));                           \
			check_words(&check, out, sizeof(*out));                                   \
			if (likely(SUM_FITS(check.sum, READ_ONCE(value->check[side]))))           \
				return out->presence ? 1 : 0;                                     \
			NOTE_RETRY();                                                             \
		}                                                                                 \
		return -1;                                                                        \
	}

/*
 * look_up_<name>(key, generation): the payload of the longest match, or NULL. A longest match hides shorter
 * ones, so a prefix that exists on one side of its entry only repeats, on the other side, what its nearest
 * covering prefix says there; enum presence tells such a copy from an entry.
 */
#define PREFIX_TABLE(name, key_type, payload_type, presence, entries)                 \
	struct name##_value {                                                         \
		__u64 version;                                                        \
		payload_type side[2];                                                 \
	};                                                                            \
	struct {                                                                      \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);                                  \
		__uint(max_entries, entries);                                         \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                 \
		__type(key, key_type);                                                \
		__type(value, struct name##_value);                                   \
	} name SEC(".maps");                                                          \
	static __maybe_unused __always_inline const payload_type *look_up_##name(     \
		const key_type *key, __u64 at)                                        \
	{                                                                             \
		const struct name##_value *value = bpf_map_lookup_elem(&name, key);   \
		const payload_type *side;                                             \
                                                                                      \
		if (!value)                                                           \
			return NULL;                                                  \
		side = &value->side[visible_side(READ_ONCE(value->version), at) & 1]; \
		return side->presence ? side : NULL;                                  \
	}

/*
 * look_up_<name>(index, generation): the payload, or NULL. Written in place through mmap: the hidden side first,
 * then the version in one store.
 */
#define ARRAY_TABLE(name, payload_type, presence, entries)                                    \
	struct name##_value {                                                                 \
		__u64 version;                                                                \
		payload_type side[2];                                                         \
	};                                                                                    \
	struct {                                                                              \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                             \
		__uint(max_entries, entries);                                                 \
		__uint(map_flags, BPF_F_MMAPABLE);                                            \
		__type(key, __u32);                                                           \
		__type(value, struct name##_value);                                           \
	} name SEC(".maps");                                                                  \
	static __maybe_unused __always_inline const payload_type *look_up_##name(__u32 index, \
										 __u64 at)    \
	{                                                                                     \
		const struct name##_value *value = bpf_map_lookup_elem(&name, &index);        \
		const payload_type *side;                                                     \
                                                                                              \
		if (!value)                                                                   \
			return NULL;                                                          \
		side = &value->side[visible_side(READ_ONCE(value->version), at) & 1];         \
		return side->presence ? side : NULL;                                          \
	}

/*
 * An array that packets walk from its first slot. No slot from end_of_<name>() on is in use, in the current or
 * in a prepared generation: a bound and not policy, raised before a commit and lowered after it.
 */
#define ORDERED_TABLE(name, payload_type, presence, entries)                \
	ARRAY_TABLE(name, payload_type, presence, entries)                  \
	struct {                                                            \
		__uint(type, BPF_MAP_TYPE_ARRAY);                           \
		__uint(max_entries, 1);                                     \
		__uint(map_flags, BPF_F_MMAPABLE);                          \
		__type(key, __u32);                                         \
		__type(value, __u64);                                       \
	} name##_end SEC(".maps");                                          \
	static __maybe_unused __always_inline __u32 end_of_##name(void)     \
	{                                                                   \
		__u32 zero = 0;                                             \
		const __u64 *end = bpf_map_lookup_elem(&name##_end, &zero); \
                                                                            \
		return end ? READ_ONCE(*end) : 0;                           \
	}

/*
 * may_hold_<name>(key): 0 if the keyed table certainly has no entry of this key in any generation that packets
 * see. Keys are added before the commit and never removed; when too many are stale, user space makes a new
 * filter beside the old one and swaps them, which is why it stands in a map of maps.
 */
#define FILTER(name, key_type, entries)                                          \
	struct name##_bloom {                                                    \
		__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);                         \
		__uint(max_entries, entries);                                    \
		__uint(map_extra, 3);                                            \
		__type(value, key_type);                                         \
	};                                                                       \
	struct {                                                                 \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                        \
		__uint(max_entries, 1);                                          \
		__type(key, __u32);                                              \
		__array(values, struct name##_bloom);                            \
	} name##_filter SEC(".maps");                                            \
	static __maybe_unused __always_inline int may_hold_##name(key_type *key) \
	{                                                                        \
		__u32 zero = 0;                                                  \
		void *bloom = bpf_map_lookup_elem(&name##_filter, &zero);        \
                                                                                 \
		return !bloom || bpf_map_peek_elem(bloom, key) == 0;             \
	}
