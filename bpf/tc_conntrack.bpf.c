// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * tc_conntrack: keeps the table of connections, with what comes in and was let through and with what the host sends.
 * It never drops a packet: that is for rules to say.
 */
#include <linux/pkt_cls.h>

#include "lib/carry.h"

#define CT_CONTEXT    struct __sk_buff
#define CT_LOAD_BYTES bpf_skb_load_bytes
#include "lib/track.h"

/* What has to be readable directly: two tags, IPv6 and TCP without options. */
#define HEADER_BYTES 82

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

/* Parses the frame into @packet; returns PARSED or enum fw_reason. */
__noinline int parse_packet(struct __sk_buff *skb, struct packet *packet)
{
	if (!packet)
		return FW_REASON_INTERNAL_ERROR;
	if ((void *)(long)skb->data + HEADER_BYTES > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, skb->len < HEADER_BYTES ? skb->len : HEADER_BYTES);
	return parse_frame((void *)(long)skb->data, (void *)(long)skb->data_end, packet->length,
			   packet);
}

/* The slot of ct_settings that holds for an interface; 0 if connections are not tracked there. */
static __always_inline __u32 settings_at(__u32 interface, __u64 at)
{
	struct interface_binding binding;

	return look_up_interfaces(&interface, at, &binding) == 1 ? binding.conntrack : 0;
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
	} else if (skb->ingress_ifindex && settings_at(skb->ingress_ifindex, origin.at)) {
		/* Forwarded: its connection has had this packet where it came in. */
		return TC_ACT_UNSPEC;
	}
	origin.bytes = skb->len;
	packet.length = skb->len;
	if (parse_packet(skb, &packet) == PARSED)
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
 * For user space, which runs them over frames of its own: 16 bytes of zeros and then keys of connections. A program
 * each for ending these connections and for taking them over; the return value is how many there were.
 */
#define COMMAND_HEADER_BYTES 16

/**
 * struct command - a walk over the keys of a frame
 * @skb: the frame
 * @done: connections that were there
 */
struct command {
	struct __sk_buff *skb;
	__u32 done;
	__u32 reserved;
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
	struct ct_key key = {};
	struct connection *entry = find_key(command, index, &key);
	__u64 word = entry ? READ_ONCE(entry->word) : 0;
	struct ct_slot *slot;
	__u32 place;

	if (!word || word_tag(word) != tag_of(&key, sizeof(key)) || !state_of(word))
		return 0;
	place = READ_ONCE(entry->slot);
	slot = bpf_map_lookup_elem(&ct_slots, &place);
	if (slot && slot->tag == word_tag(word))
		return 0;
	slot = take_slot(&place);
	if (!slot)
		return 0;
	entry->slot = place;
	slot->key = key;
	slot->tag = word_tag(word);
	command->done++;
	return 0;
}

static __always_inline __u32 keys_in(const struct __sk_buff *skb)
{
	__u32 length = skb->len;

	return length < COMMAND_HEADER_BYTES
		       ? 0
		       : (length - COMMAND_HEADER_BYTES) / sizeof(struct ct_key);
}

/* Ends connections: out of the table, and out of all counts. */
SEC("tc")
int tc_conntrack_end(struct __sk_buff *skb)
{
	struct command command = { .skb = skb };

	bpf_loop(keys_in(skb), end_one, &command, 0);
	return command.done;
}

/*
 * After an upgrade: takes over the sweeper's timer, for which the kernel keeps the older program otherwise, and gives
 * a slot to each of these connections that has none, where the table was migrated and the slots were not. Before
 * programs use the new tables.
 */
SEC("tc")
int tc_conntrack_adopt(struct __sk_buff *skb)
{
	struct command command = { .skb = skb };

	set_sweeper();
	bpf_loop(keys_in(skb), adopt_one, &command, 0);
	return command.done;
}

char _license[] SEC("license") = "Dual BSD/GPL";
