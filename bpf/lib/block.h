/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sources that are blocked for a time, because they had more connections than a rule allows. The set is the datapath's
 * own: no revision replaces what stands in it, and an entry is over at its deadline, whether it is still there or not.
 */
#pragma once

#include "lib/ct_subject.h"

/**
 * struct block_key - a source
 * @address: network byte order, IPv4 in the first four bytes
 * @family: 4 or 6
 */
struct block_key {
	__u8 address[16];
	__u8 family;
	__u8 reserved[3];
};

/**
 * struct block - until when, and by which rule
 * @word: tag of the key << 32 | deadline in seconds of CLOCK_MONOTONIC; read and written as one word, since the kernel
 *        gives elements to other keys at once
 * @rule_id: id in ID_SPACE_RULE
 */
struct block {
	__u64 word;
	__u32 rule_id;
	__u32 reserved;
};

/* Written by programs, read by them and by the agent. Under a flood of sources the one not seen for longest goes. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct block_key);
	__type(value, struct block);
} fw_blocked SEC(".maps");

/* The latest deadline of all, in seconds: behind it nobody needs to look. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} fw_blocked_until SEC(".maps");

static __always_inline void set_block_key(struct block_key *key, const struct packet *packet)
{
	__builtin_memset(key, 0, sizeof(*key));
	__builtin_memcpy(key->address, packet->source, sizeof(key->address));
	key->family = packet->family;
}

/* 1 if the packet's source is blocked. */
static __always_inline int is_blocked(const struct packet *packet)
{
	__u32 zero = 0;
	const __u64 *until = bpf_map_lookup_elem(&fw_blocked_until, &zero);
	__u64 last = until ? READ_ONCE(*until) : 0;
	const struct block *block;
	struct block_key key;
	__u64 now_s, word;

	if (likely(!last))
		return 0;
	now_s = bpf_ktime_get_coarse_ns() / NS_PER_S;
	if (now_s >= last)
		return 0;
	set_block_key(&key, packet);
	block = bpf_map_lookup_elem(&fw_blocked, &key);
	word = block ? READ_ONCE(block->word) : 0;
	return word >> 32 == tag_of(&key, sizeof(key)) && (__u32)word > now_s;
}

/* Blocks the packet's source from now on. */
__noinline int block_source(const struct packet *packet, __u32 rule_id, __u32 seconds)
{
	struct block block = { .rule_id = rule_id };
	__u64 until_s, *last;
	struct block_key key;
	__u32 zero = 0;

	if (!packet)
		return 0;
	set_block_key(&key, packet);
	until_s = bpf_ktime_get_coarse_ns() / NS_PER_S + seconds + 1;
	block.word = (__u64)tag_of(&key, sizeof(key)) << 32 | (__u32)until_s;
	bpf_map_update_elem(&fw_blocked, &key, &block, BPF_ANY);
	last = bpf_map_lookup_elem(&fw_blocked_until, &zero);
	for (int i = 0; last && i < 8; i++) {
		__u64 before = READ_ONCE(*last);

		if (before >= until_s ||
		    __sync_val_compare_and_swap(last, before, until_s) == before)
			break;
	}
	return 0;
}
