/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packet events: 56 bytes each, to user space through one ring buffer, bounded in rate on every CPU. */
#pragma once

#include "lib/generation.h"
#include "lib/packet.h"

enum event_kind {
	/* A rule with action log, or with log: true, matched. */
	EVENT_KIND_RULE = 0,
	/* A rule of a document in audit mode matched; the verdict is what it would have been. */
	EVENT_KIND_AUDIT = 1,
	/* The packet was malformed. */
	EVENT_KIND_MALFORMED = 2,
	/* The packet began a connection, and the table of connections was full. */
	EVENT_KIND_TABLE_FULL = 3,
	/* The packet would have begun one connection more than its source may have, and the source is blocked now. */
	EVENT_KIND_BLOCKED = 4,
};

/* Bits of packet_event.flags. */
enum event_flag {
	EVENT_FLAG_IPV6 = 1,
	EVENT_FLAG_VLAN = 2,
	EVENT_FLAG_FRAGMENT = 4,
	EVENT_FLAG_LATER_FRAGMENT = 8,
	EVENT_FLAG_DROP = 16,
};

/* The bits of packet_event.flags above those of enum event_flag hold enum event_kind. */
enum event_layout {
	EVENT_LAYOUT_KIND_SHIFT = 5,
};

/**
 * struct packet_event - one packet that somebody wants to know of
 * @time_ns: CLOCK_BOOTTIME
 * @source: network byte order; IPv4 in the first four bytes
 * @destination: likewise
 * @rule_id: id in ID_SPACE_RULE, 0 if no rule was involved
 * @source_port: network byte order, 0 without ports
 * @destination_port: likewise
 * @generation: the lowest 16 bits of the generation that judged the packet
 * @interface: ifindex, 0 if it does not fit
 * @protocol: IANA number
 * @flags: enum event_flag, and the kind
 * @reason: enum fw_reason
 */
struct packet_event {
	__u64 time_ns;
	__u8 source[16];
	__u8 destination[16];
	__u32 rule_id;
	__be16 source_port;
	__be16 destination_port;
	__u16 generation;
	__u16 interface;
	__u8 protocol;
	__u8 flags;
	__u8 reason;
	__u8 reserved;
};
_Static_assert(sizeof(struct packet_event) == 56, "the standard event has 56 bytes");

/* Written by programs, read by the agent through mmap. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/**
 * struct event_budget - what a CPU may still send
 * @window_start_ns: CLOCK_MONOTONIC
 * @used: events in this window
 * @suppressed: events that the bound kept back, ever
 * @lost: events that found the ring buffer full, ever
 */
struct event_budget {
	__u64 window_start_ns;
	__u64 used;
	__u64 suppressed;
	__u64 lost;
};

/* One record a CPU, so that the bound needs no lock: it holds for each CPU alone. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event_budget);
} event_budgets SEC(".maps");

#define EVENT_WINDOW_NS 1000000000

/* Takes one event from this CPU's budget of @per_second; false if it is used up. */
static __always_inline int take_event_budget(struct event_budget *budget, __u32 per_second)
{
	__u64 now = bpf_ktime_get_ns();

	if (now - budget->window_start_ns >= EVENT_WINDOW_NS) {
		budget->window_start_ns = now;
		budget->used = 0;
	}
	if (budget->used >= per_second) {
		budget->suppressed++;
		return 0;
	}
	budget->used++;
	return 1;
}

/**
 * struct event_facts - what an event says besides the packet's own fields
 * @per_second: the bound, events for each CPU
 */
struct event_facts {
	__u64 generation;
	__u32 interface;
	__u32 rule_id;
	__u32 per_second;
	__u8 verdict;
	__u8 kind;
	__u8 reason;
};

static __always_inline void send_event(const struct packet *packet, const struct event_facts *facts)
{
	__u32 zero = 0;
	struct event_budget *budget = bpf_map_lookup_elem(&event_budgets, &zero);
	struct packet_event *event;

	if (!budget || !take_event_budget(budget, facts->per_second))
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		budget->lost++;
		return;
	}
	event->time_ns = bpf_ktime_get_boot_ns();
	__builtin_memcpy(event->source, packet->source, sizeof(event->source));
	__builtin_memcpy(event->destination, packet->destination, sizeof(event->destination));
	event->rule_id = facts->rule_id;
	event->source_port = bpf_htons(packet->source_port);
	event->destination_port = bpf_htons(packet->destination_port);
	event->generation = facts->generation;
	event->interface = facts->interface > 0xffff ? 0 : facts->interface;
	event->protocol = packet->protocol;
	event->flags = (packet->family == 6 ? EVENT_FLAG_IPV6 : 0) |
		       (packet->tags ? EVENT_FLAG_VLAN : 0) |
		       (packet->fragment ? EVENT_FLAG_FRAGMENT : 0) |
		       (packet->later_fragment ? EVENT_FLAG_LATER_FRAGMENT : 0) |
		       (facts->verdict == VERDICT_PASS ? 0 : EVENT_FLAG_DROP) |
		       (facts->kind << EVENT_LAYOUT_KIND_SHIFT);
	event->reason = facts->reason;
	event->reserved = 0;
	bpf_ringbuf_submit(event, 0);
}
