/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which processor a packet that was let through goes on at. The network stack's work is spread by flow, both directions
 * of one at the same processor, whatever the card's queues do.
 */
#pragma once

#include "lib/packet.h"
#include "lib/policy.h"

#define STEERING_CPUS 256
#define HASH_FACTOR   0x9e3779b1

/**
 * struct fw_steering - processors among which the packets of an interface are spread
 * @count: how many there are; 0 is absent
 * @cpus: their numbers, keys of fw_cpus
 */
struct fw_steering {
	__u16 count;
	__u16 reserved;
	__u16 cpus[STEERING_CPUS];
};

/* Written by the agent, read for packets that pass; interface_binding.steering names a slot. */
ARRAY_TABLE(fw_steering, struct fw_steering, count, 256)

/*
 * Processors and the lengths of their queues. Written by the agent; the size is replaced at load by the number of
 * processors that there can be.
 */
struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} fw_cpus SEC(".maps");

static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * HASH_FACTOR;
	return hash ^ hash >> 15;
}

static __always_inline __u32 endpoint_hash(const __u32 *address, __u32 port)
{
	__u32 hash = mix(port, address[0]);

	for (int i = 1; i < 4; i++)
		hash = mix(hash, address[i]);
	return hash;
}

/* The same for both directions, and for all fragments of one packet, of which only the first has ports. */
static __always_inline __u32 flow_hash(const struct packet *packet)
{
	__u32 source_port = packet->fragment ? 0 : packet->source_port;
	__u32 destination_port = packet->fragment ? 0 : packet->destination_port;

	return mix(packet->protocol, endpoint_hash(packet->source, source_port) +
					     endpoint_hash(packet->destination, destination_port));
}

/*
 * For a packet that passes: XDP_REDIRECT to the processor that its flow has, XDP_PASS if the agent has named none
 * or its entry is gone. What does not fit that processor's queue is lost.
 */
static __always_inline int steer(const struct packet *packet, __u32 slot, __u64 at)
{
	const struct fw_steering *steering = look_up_fw_steering(slot, at);
	__u32 place;

	if (!steering)
		return XDP_PASS;
	place = (__u64)flow_hash(packet) * READ_ONCE(steering->count) >> 32;
	return bpf_redirect_map(&fw_cpus, steering->cpus[place & (STEERING_CPUS - 1)], XDP_PASS);
}
