/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which rules may match a packet at all: an index over the rule table, so that a packet meets the few records that
 * its addresses, ports and protocol point at, in slot order, and not all of them.
 *
 * Each of these fields of a packet belongs to a class; class 0 means that no rule says anything about its value. A
 * class has a row: one bit for each slot whose record says something about the field and matches the class. The
 * slots whose records say nothing about the field are bits of the field's "any" vector, once and not in each row.
 * What may match is the intersection over the fields of row and any vector together.
 *
 * The index has no generations. It holds at least the bits that the records demand which packets may see, in the old
 * generation and in the new one: they are set before the commit and cleared after the grace period. The record
 * decides; a bit too much costs time, and none is ever missing.
 */
#pragma once

#include "lib/packet.h"
#include "lib/rule.h"

enum index_field {
	INDEX_SOURCE,
	INDEX_DESTINATION,
	INDEX_SOURCE_PORT,
	/* Or the type and code of ICMP. */
	INDEX_DESTINATION_PORT,
	INDEX_PROTOCOL,
	INDEX_FIELDS,
};

/* Addresses of IPv4 are looked up in three steps: 20 bits, 6 bits, 6 bits. */
#define INDEX_ROOT_BITS	 20
#define INDEX_CHUNK_BITS 6
#define INDEX_LEAF_BITS	 (32 - INDEX_ROOT_BITS - INDEX_CHUNK_BITS)
_Static_assert(INDEX_LEAF_BITS == INDEX_CHUNK_BITS, "both inner steps use chunks of one size");

/* An entry is a class, or with this bit the number of a chunk that distinguishes further. */
#define INDEX_IS_CHUNK 0x80000000U

/* Values of ports, ICMP and protocols stand one behind the other in one table. */
enum index_value_base {
	INDEX_VALUES_SOURCE_PORT = 0,
	INDEX_VALUES_DESTINATION_PORT = 65536,
	INDEX_VALUES_ICMP = 2 * 65536,
	INDEX_VALUES_PROTOCOL = 3 * 65536,
	INDEX_VALUES_END = 3 * 65536 + 256,
};

/* One cache line of entries, of words: arrays of 4 bytes would have 8 for each. */
#define INDEX_LINE_ENTRIES 16
#define INDEX_LINE_WORDS   8

struct index_entries {
	__u32 entry[INDEX_LINE_ENTRIES];
};

struct index_words {
	__u64 word[INDEX_LINE_WORDS];
};

struct index_chunk {
	__u32 entry[1 << INDEX_CHUNK_BITS];
};

/*
 * A row lies in lines of fw_index_rows, one behind the other: four words of summary, four of a second summary, one of
 * ranks, then the words that the summary names. A bit of the summary stands for a unit of one, two or four words (64 slots each), of which
 * there are 256; units in which no bit is set are left out. The ranks are four numbers of 16 bits: how many units
 * stand before those of each summary word. The row of class 0 is line 0, and empty.
 *
 * The second summary of an address's row has the units with slots that say nothing about the other address. Slots
 * that say something about both are in the units of both first summaries; so what addresses leave is known without
 * the any vectors, which have something in nearly every unit. The any vectors of both addresses together are a sixth.
 *
 * Lines that a class leads to never change but for bits within a word: a row that gets another shape is written
 * elsewhere, and old lines are used again after a grace period.
 */
#define INDEX_SUMMARY_WORDS 4
#define INDEX_RANKS	    8
#define INDEX_ROW_HEAD	    9

/*
 * The any vectors: a line holds one word of each field, in the order of enum index_field. The first four lines are
 * the summaries; behind the fields' words the first one says how many words a unit has.
 */
#define INDEX_ANY_BOTH	 5
#define INDEX_UNIT_WORDS 7

#define INDEX_ARRAY(name, type_of_line, entries)    \
	struct {                                    \
		__uint(type, BPF_MAP_TYPE_ARRAY);   \
		__uint(max_entries, entries);       \
		__uint(map_flags, BPF_F_MMAPABLE);  \
		__type(key, __u32);                 \
		__type(value, struct type_of_line); \
	} name SEC(".maps")

/*
 * All of these are written by the agent through mmap and read by every packet that reaches the rules. Sizes are the
 * agent's to choose; see src/bpf/rule-index-size.ts.
 */

/* By side (0 source, 1 destination) and the first bits of an IPv4 address. */
INDEX_ARRAY(fw_index_roots, index_entries, 2 << (INDEX_ROOT_BITS - 4));
INDEX_ARRAY(fw_index_chunks, index_chunk, 1);
/* By enum index_value_base and value. */
INDEX_ARRAY(fw_index_values, index_entries, INDEX_VALUES_END / INDEX_LINE_ENTRIES);
/* By class: the line of fw_index_rows where its row begins. */
INDEX_ARRAY(fw_index_classes, index_entries, 1);
INDEX_ARRAY(fw_index_rows, index_words, 1);
INDEX_ARRAY(fw_index_any, index_words, 1);

/**
 * struct index_key_v6 - key of the IPv6 tries
 * @prefix_length: bits of what follows
 * @side: 0 source, 1 destination
 * @address: network byte order
 */
struct index_key_v6 {
	__u32 prefix_length;
	__u32 side;
	__u8 address[16];
};

#define INDEX_HOST_LENGTH (8 * (sizeof(__u32) + 16))

/* Classes of IPv6 prefixes, by longest match. Written by the agent, through system calls. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct index_key_v6);
	__type(value, __u32);
} fw_index_v6 SEC(".maps");

/* Words of 64 slots that a unit has at most. */
#define INDEX_UNIT_WORDS_MAX 4

/**
 * struct candidates - where a packet is among the slots that its record may be in
 * @summary: units that were not looked at yet
 * @bits: slots of the current unit that were not looked at yet
 * @row: line of each field's row
 * @word: number of the current unit's first word
 * @unit_words: words that a unit has, a power of two
 * @all_protocols: whether every protocol is to be taken for the packet's
 */
struct candidates {
	__u64 summary[INDEX_SUMMARY_WORDS];
	__u64 bits[INDEX_UNIT_WORDS_MAX];
	__u32 row[INDEX_FIELDS];
	__u32 word;
	__u32 unit_words;
	__u32 all_protocols;
};

static __always_inline __u32 count_bits(__u64 word)
{
	word -= (word >> 1) & 0x5555555555555555ULL;
	word = (word & 0x3333333333333333ULL) + ((word >> 2) & 0x3333333333333333ULL);
	word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return (word * 0x0101010101010101ULL) >> 56;
}

/* The number of the lowest bit of @word, which is not zero. */
static __always_inline __u32 lowest_bit(__u64 word)
{
	return count_bits((word & -word) - 1);
}

static __always_inline __u32 entry_of(void *map, __u32 index)
{
	__u32 line = index / INDEX_LINE_ENTRIES;
	const struct index_entries *entries = bpf_map_lookup_elem(map, &line);

	return entries ? READ_ONCE(entries->entry[index % INDEX_LINE_ENTRIES]) : 0;
}

static __always_inline __u32 chunk_entry(__u32 entry, __u32 index)
{
	__u32 number = entry & ~INDEX_IS_CHUNK;
	const struct index_chunk *chunk;

	if (!(entry & INDEX_IS_CHUNK))
		return entry;
	chunk = bpf_map_lookup_elem(&fw_index_chunks, &number);
	return chunk ? READ_ONCE(chunk->entry[index & ((1 << INDEX_CHUNK_BITS) - 1)]) : 0;
}

static __always_inline __u32 class_of_address(const struct packet *packet, const __u32 *address,
					      __u32 side)
{
	if (packet->family == FW_FAMILY_IPV4) {
		__u32 host = bpf_ntohl(address[0]);
		__u32 entry = entry_of(&fw_index_roots,
				       side << INDEX_ROOT_BITS | host >> (32 - INDEX_ROOT_BITS));

		entry = chunk_entry(entry, host >> INDEX_LEAF_BITS);
		return chunk_entry(entry, host);
	}
	if (packet->family == FW_FAMILY_IPV6) {
		struct index_key_v6 key = { .prefix_length = INDEX_HOST_LENGTH, .side = side };
		const __u32 *class;

		__builtin_memcpy(key.address, address, sizeof(key.address));
		class = bpf_map_lookup_elem(&fw_index_v6, &key);
		return class ? *class : 0;
	}
	return 0;
}

static __always_inline __u32 row_of(__u32 class)
{
	return class ? entry_of(&fw_index_classes, class) : 0;
}

/* Steps of a walk, one for each slot and one for each unit, at most. */
#define CANDIDATE_STEPS (1 << 17)

static __always_inline const struct index_words *head_of(const struct candidates *candidates,
							 __u32 field)
{
	return bpf_map_lookup_elem(&fw_index_rows, &candidates->row[field]);
}

/* Finds the units in which all fields have bits. */
static __always_inline void intersect_summaries(struct candidates *candidates)
{
	const struct index_words *source = head_of(candidates, INDEX_SOURCE);
	const struct index_words *destination = head_of(candidates, INDEX_DESTINATION);
	const struct index_words *source_port = head_of(candidates, INDEX_SOURCE_PORT);
	const struct index_words *destination_port = head_of(candidates, INDEX_DESTINATION_PORT);
	const struct index_words *protocol = head_of(candidates, INDEX_PROTOCOL);
	__u64 all = candidates->all_protocols ? ~0ULL : 0;

	if (!source || !destination || !source_port || !destination_port || !protocol)
		return;
#pragma unroll
	for (__u32 i = 0; i < INDEX_SUMMARY_WORDS; i++) {
		__u32 line = i;
		const struct index_words *any = bpf_map_lookup_elem(&fw_index_any, &line);

		if (!any)
			return;
		if (i == 0)
			candidates->unit_words = any->word[INDEX_UNIT_WORDS];
		candidates->summary[i] =
			((source->word[i] & destination->word[i]) |
			 source->word[INDEX_SUMMARY_WORDS + i] |
			 destination->word[INDEX_SUMMARY_WORDS + i] |
			 READ_ONCE(any->word[INDEX_ANY_BOTH])) &
			(READ_ONCE(any->word[INDEX_SOURCE_PORT]) | source_port->word[i]) &
			(READ_ONCE(any->word[INDEX_DESTINATION_PORT]) | destination_port->word[i]) &
			(READ_ONCE(any->word[INDEX_PROTOCOL]) | protocol->word[i] | all);
	}
}

/* Finds the row of each field, and where to begin. */
static __always_inline void begin_candidates(struct candidates *candidates,
					     const struct packet *packet)
{
	int is_ip = packet->family != FW_FAMILY_NON_IP;
	__u32 *row = candidates->row;

	row[INDEX_SOURCE] = row_of(class_of_address(packet, packet->source, 0));
	row[INDEX_DESTINATION] = row_of(class_of_address(packet, packet->destination, 1));
	row[INDEX_SOURCE_PORT] = 0;
	row[INDEX_DESTINATION_PORT] = 0;
	row[INDEX_PROTOCOL] = 0;
	if (packet->has_ports) {
		row[INDEX_SOURCE_PORT] = row_of(
			entry_of(&fw_index_values, INDEX_VALUES_SOURCE_PORT + packet->source_port));
		row[INDEX_DESTINATION_PORT] =
			row_of(entry_of(&fw_index_values,
					INDEX_VALUES_DESTINATION_PORT + packet->destination_port));
	} else if (packet->has_icmp) {
		row[INDEX_DESTINATION_PORT] =
			row_of(entry_of(&fw_index_values, INDEX_VALUES_ICMP + packet->icmp));
	}
	if (is_ip)
		row[INDEX_PROTOCOL] = row_of(
			entry_of(&fw_index_values, INDEX_VALUES_PROTOCOL + packet->protocol));
	/* A rule may name the authentication header or what is behind it. */
	candidates->all_protocols = packet->authenticated;
	intersect_summaries(candidates);
}

/* Word number @at of fw_index_rows. */
static __always_inline __u64 row_word(__u32 at)
{
	__u32 line = at / INDEX_LINE_WORDS;
	const struct index_words *words = bpf_map_lookup_elem(&fw_index_rows, &line);

	return words ? READ_ONCE(words->word[at % INDEX_LINE_WORDS]) : 0;
}

/* Where in fw_index_rows a field's row has its first word of unit @bit of summary word @i; 0 if it has none. */
static __always_inline __u32 unit_of(const struct candidates *candidates, __u32 field, __u32 i,
				     __u32 bit)
{
	__u32 row = candidates->row[field];
	const struct index_words *head = bpf_map_lookup_elem(&fw_index_rows, &row);
	__u64 summary;
	__u32 rank;

	if (!head)
		return 0;
	summary = head->word[i & (INDEX_SUMMARY_WORDS - 1)];
	if (!(summary >> bit & 1))
		return 0;
	row += INDEX_RANKS / INDEX_LINE_WORDS;
	head = bpf_map_lookup_elem(&fw_index_rows, &row);
	if (!head)
		return 0;
	rank = (head->word[INDEX_RANKS % INDEX_LINE_WORDS] >> (16 * i) & 0xffff) +
	       count_bits(summary & ((1ULL << bit) - 1));
	return candidates->row[field] * INDEX_LINE_WORDS + INDEX_ROW_HEAD +
	       rank * candidates->unit_words;
}

/* The words of unit @bit of summary word @i that two fields share; returns whether anything is left. */
static __always_inline __u64 intersect(struct candidates *candidates, __u32 one, __u32 other,
				       __u32 i, __u32 bit)
{
	__u32 at = unit_of(candidates, one, i, bit);
	__u32 other_at = unit_of(candidates, other, i, bit);
	__u64 left = 0;

#pragma unroll
	for (__u32 word = 0; word < INDEX_UNIT_WORDS_MAX; word++) {
		__u32 line = INDEX_SUMMARY_WORDS + candidates->word + word;
		const struct index_words *any;
		__u64 bits;

		if (word >= candidates->unit_words)
			break;
		any = bpf_map_lookup_elem(&fw_index_any, &line);
		if (!any)
			return 0;
		bits = READ_ONCE(any->word[one]);
		if (at)
			bits |= row_word(at + word);
		if (other_at)
			bits &= READ_ONCE(any->word[other]) | row_word(other_at + word);
		else
			bits &= READ_ONCE(any->word[other]);
		candidates->bits[word] &= bits;
		left |= candidates->bits[word];
	}
	return left;
}

/* Fills @bits with what all fields share of unit @bit of summary word @i; 0 if that is nothing. */
static __always_inline int take_unit(struct candidates *candidates, __u32 i, __u32 bit)
{
	candidates->word = (i * 64 + bit) * candidates->unit_words;
	for (__u32 word = 0; word < INDEX_UNIT_WORDS_MAX; word++)
		candidates->bits[word] = word < candidates->unit_words ? ~0ULL : 0;
	/* Addresses come first: most units that the summaries could not tell apart end with them. */
	if (!intersect(candidates, INDEX_SOURCE, INDEX_DESTINATION, i, bit))
		return 0;
	if (!intersect(candidates, INDEX_SOURCE_PORT, INDEX_DESTINATION_PORT, i, bit))
		return 0;
	return candidates->all_protocols ||
	       intersect(candidates, INDEX_PROTOCOL, INDEX_PROTOCOL, i, bit);
}

enum unit_found {
	UNIT_NONE,
	/* The summaries could not tell that it has nothing. */
	UNIT_VAIN,
	UNIT_FOUND,
};

static __always_inline enum unit_found look_at_next(struct candidates *candidates)
{
	__u32 i = INDEX_SUMMARY_WORDS, bit;

#pragma unroll
	for (int word = INDEX_SUMMARY_WORDS - 1; word >= 0; word--)
		if (candidates->summary[word])
			i = word;
	if (i == INDEX_SUMMARY_WORDS)
		return UNIT_NONE;
	bit = lowest_bit(candidates->summary[i]) & 63;
	candidates->summary[i] &= candidates->summary[i] - 1;
	return take_unit(candidates, i, bit) ? UNIT_FOUND : UNIT_VAIN;
}

/*
 * Goes on to the next unit that has something in @bits, or over some that have nothing: a call for each would cost
 * several nanoseconds. Returns 0 if there is none left. Verified once, as the functions of lib/walk.h are.
 */
__noinline int next_unit(struct candidates *candidates)
{
	enum unit_found found;

	if (!candidates)
		return 0;
	found = look_at_next(candidates);
	if (found == UNIT_VAIN)
		found = look_at_next(candidates);
	if (found == UNIT_VAIN)
		found = look_at_next(candidates);
	return found != UNIT_NONE;
}

/* Takes the lowest of the slots that are left in the unit, if there is one. */
static __always_inline int take_candidate(struct candidates *candidates, __u32 *slot)
{
#pragma unroll
	for (__u32 word = 0; word < INDEX_UNIT_WORDS_MAX; word++) {
		__u64 bits = candidates->bits[word];

		if (!bits)
			continue;
		*slot = (candidates->word + word) * 64 + lowest_bit(bits);
		candidates->bits[word] = bits & (bits - 1);
		return 1;
	}
	return 0;
}
