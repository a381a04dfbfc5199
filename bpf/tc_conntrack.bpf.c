// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * tc_conntrack: keeps the table of connections, with what comes in and was let through and with what the host sends.
 * It never drops a packet: that is for rules to say.
 */
#include <linux/pkt_cls.h>

#include "lib/ct_adopt.h"
#include "lib/track_tc.h"

/* Types that user space decodes but that no map names. */
enum ct_state *emit_ct_state;
enum ct_flag *emit_ct_flag;
enum ct_word *emit_ct_word;
enum ct_judged *emit_ct_judged;
enum ct_setting *emit_ct_setting;
enum ct_stat *emit_ct_stat;

enum direction {
	DIRECTION_INGRESS,
	DIRECTION_EGRESS,
};

/* Whether the connection of a packet that leaves has had it already: where it came in, or where it was to leave before. */
static __always_inline int was_tracked(const struct __sk_buff *skb, __u64 at)
{
	if (skb->tc_index == STAMP_ANSWER)
		return 1;
	return skb->ingress_ifindex && settings_at(skb->ingress_ifindex, at);
}

static __always_inline int track(struct __sk_buff *skb, enum direction direction)
{
	struct packet packet = {};
	struct ct_origin origin = { .at = begin_tc(skb), .interface = skb->ifindex };

	origin.settings = settings_at(skb->ifindex, origin.at);
	if (!origin.settings)
		return TC_ACT_UNSPEC;
	if (direction == DIRECTION_INGRESS) {
		origin.rule_id = carried_rule(skb);
		if (carried_flags(skb) & CARRIED_FLAG_REEVALUATE)
			origin.flags |= CT_FLAG_REEVALUATE;
		if (carried_flags(skb) & CARRIED_FLAG_SLOW)
			origin.flags |= CT_FLAG_SLOW;
	} else if (was_tracked(skb, origin.at)) {
		return TC_ACT_UNSPEC;
	}
	origin.bytes = skb->len;
	packet.length = skb->len;
	if (parse_skb(skb, &packet) == PARSED)
		ct_track(skb, &packet, &origin);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int tc_conntrack_ingress(struct __sk_buff *skb)
{
	return track(skb, DIRECTION_INGRESS);
}

SEC("tc")
int tc_conntrack_egress(struct __sk_buff *skb)
{
	return track(skb, DIRECTION_EGRESS);
}

/*
 * For user space, which runs them over frames of its own: 16 bytes of zeros and then what they work on, one behind the
 * other. The return value is with how many of them something was done.
 */
#define COMMAND_HEADER_BYTES 16

/**
 * struct command - a walk over the connections of a frame
 * @skb: the frame
 * @done: those that something was done with
 * @is_moving: see adopt()
 */
struct command {
	struct __sk_buff *skb;
	__u32 done;
	__u8 is_moving;
	__u8 reserved[3];
};

static __always_inline struct connection *find_key(struct command *command, __u32 index,
						   struct ct_key *key)
{
	if (bpf_skb_load_bytes(command->skb, COMMAND_HEADER_BYTES + index * sizeof(*key), key,
			       sizeof(*key)))
		return NULL;
	return bpf_map_lookup_elem(&connections, key);
}

static long end_one(__u32 index, struct command *command)
{
	struct ct_key key = {};
	struct connection *entry = find_key(command, index, &key);

	for (int i = 0; entry && i < TABLE_TRIES; i++) {
		__u64 word = READ_ONCE(entry->word);

		if (word_tag(word) != tag_of(&key, sizeof(key)) || !state_of(word))
			break;
		if (end_connection(entry, &key, word, CT_STAT_FLUSHED)) {
			command->done++;
			break;
		}
	}
	return 0;
}

static long adopt_one(__u32 index, struct command *command)
{
	struct ct_carried from = {};

	if (bpf_skb_load_bytes(command->skb, COMMAND_HEADER_BYTES + index * sizeof(from), &from,
			       sizeof(from)))
		return 0;
	command->done += adopt(&from, command->is_moving);
	return 0;
}

/* How many parts of @size there are behind the header. */
static __always_inline __u32 parts_in(const struct __sk_buff *skb, __u32 size)
{
	__u32 length = skb->len;

	return length < COMMAND_HEADER_BYTES ? 0 : (length - COMMAND_HEADER_BYTES) / size;
}

/* Ends connections: out of the table, and out of all counts. */
SEC("tc")
int tc_conntrack_end(struct __sk_buff *skb)
{
	struct command command = { .skb = skb };

	bpf_loop(parts_in(skb, sizeof(struct ct_key)), end_one, &command, 0);
	return command.done;
}

/*
 * After an upgrade: takes over the sweeper's timer, for which the kernel keeps the older program otherwise, and
 * connections of a table that this one replaces. The first byte of the frame is 1 while that table is still in use.
 */
SEC("tc")
int tc_conntrack_adopt(struct __sk_buff *skb)
{
	struct command command = { .skb = skb };

	set_sweeper();
	bpf_skb_load_bytes(skb, 0, &command.is_moving, sizeof(command.is_moving));
	bpf_loop(parts_in(skb, sizeof(struct ct_carried)), adopt_one, &command, 0);
	return command.done;
}

char _license[] SEC("license") = "Dual BSD/GPL";
