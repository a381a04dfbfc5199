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
 */
struct generation {
	__u64 current;
	__u64 last;
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

/* The generation that this packet belongs to. Read it once and hand it on. */
static __always_inline __u64 current_generation(void)
{
	__u32 zero = 0;
	struct generation *record = bpf_map_lookup_elem(&generation, &zero);

	return record ? READ_ONCE(record->current) : 0;
}

/* Which side of an entry a reader at generation @at sees: version is (since << 1) | side. */
static __always_inline __u32 visible_side(__u64 version, __u64 at)
{
	return (version & 1) ^ ((version >> 1) > at);
}

/*
 * Elements of a hash map are reused at once when their key is updated or deleted, so a program that has just
 * looked a key up may read the value of another key. Values in hash maps therefore carry a check word, a mix
 * of the key's 32-bit words, which is compared after the payload was read; on a mismatch the lookup is
 * repeated, at most this often. (LPM nodes are freed by RCU and arrays never move: they need none.)
 */
#define KEYED_TRIES 8

/* One step of the check word: start with 0 and feed every 32-bit word of the key. A bijection of @word. */
static __always_inline __u32 check_word(__u32 check, __u32 word)
{
	check = (check ^ word) * 0x85ebca6b;
	return check ^ (check >> 15);
}
