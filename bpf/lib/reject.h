/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Telling a packet's sender that it was refused: a TCP reset (RFC 9293), or ICMP (RFC 1812) or ICMPv6 (RFC 4443)
 * unreachable with the packet in it. The answer is made in the packet's own frame, link header and tags included,
 * and goes back with XDP_TX. All checksums are computed: what came may have had none that was finished.
 *
 * Two errors must never answer each other, nobody may make a crowd answer one, and a flood must not become two:
 * see may_answer() and take_answer_budget(). What is not answered is dropped all the same.
 */
#pragma once

#include "lib/checksum.h"
#include "lib/packet.h"
#include "lib/rule.h"

#define ANSWER_TTL 64

/* The longest answers, IP header included. */
#define ICMP_ANSWER_MAX	  576
#define ICMPV6_ANSWER_MAX 1280

#define ICMP_UNREACHABLE   3
#define ICMPV6_UNREACHABLE 1

/* Precedence "internetwork control", which ICMP errors have. */
#define ICMP_ERROR_TOS 0xc0

#define DONT_FRAGMENT 0x4000

/**
 * struct answer_budget - what all processors together may still answer
 * @lock: held for a few instructions
 * @spent_until_ns: CLOCK_MONOTONIC; each answer moves it on by the time that the bound gives to one
 */
struct answer_budget {
	struct bpf_spin_lock lock;
	__u32 reserved;
	__u64 spent_until_ns;
};

/* Written by the program only. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answer_budget);
} answer_budget SEC(".maps");

#define ANSWER_WINDOW_NS 1000000000ULL

/*
 * Takes one answer from what may be sent, @per_second and as many at once after a pause; false if it is used up.
 * One bucket, and not one a processor, so that the bound is the one that was configured.
 */
__noinline int take_answer_budget(__u32 per_second)
{
	__u32 zero = 0;
	struct answer_budget *budget = bpf_map_lookup_elem(&answer_budget, &zero);
	__u64 now = bpf_ktime_get_ns(), limit, cost, until;
	int taken;

	if (!budget || !per_second)
		return 0;
	cost = ANSWER_WINDOW_NS / per_second;
	limit = now + ANSWER_WINDOW_NS - cost;
	/* It only ever grows: under a flood most packets need no lock. */
	if (READ_ONCE(budget->spent_until_ns) > limit)
		return 0;
	bpf_spin_lock(&budget->lock);
	until = budget->spent_until_ns > now ? budget->spent_until_ns : now;
	taken = until <= limit;
	if (taken)
		budget->spent_until_ns = until + cost;
	bpf_spin_unlock(&budget->lock);
	return taken;
}

/* An address that one host has: not "this host", loopback, multicast, reserved or broadcast. */
static __always_inline int is_unicast_ipv4(__be32 address)
{
	__u8 first = bpf_ntohl(address) >> 24;

	return first != 0 && first != 127 && first < 224;
}

static __always_inline int is_unicast_ipv6(const __be32 *address)
{
	__u32 last = bpf_ntohl(address[3]);

	if (bpf_ntohl(address[0]) >> 24 == 0xff)
		return 0;
	return address[0] || address[1] || address[2] || last > 1;
}

static __always_inline int is_group_mac(const __u8 *address)
{
	return address[0] & 1;
}

/* Types that are errors, or unknown and so perhaps errors. */
static __always_inline int carries_icmp_error(const struct packet *packet)
{
	__u8 type = packet->icmp >> 8;

	if (!packet->has_icmp)
		return 0;
	/* ICMPv6 has its errors below 128; a redirect may not be answered either. */
	if (packet->family == 6)
		return type < 128 || type == 137;
	switch (type) {
	case 3:
	case 4:
	case 5:
	case 11:
	case 12:
		return 1;
	}
	return type > 18;
}

/* 1 if a packet like this one may be answered. */
__noinline int may_answer(const struct packet *packet)
{
	if (!packet)
		return 0;
	if (packet->later_fragment || packet->authenticated || packet->protocol == PROTOCOL_AH)
		return 0;
	if (is_group_mac(packet->source_mac) || is_group_mac(packet->destination_mac))
		return 0;
	if (packet->protocol == PROTOCOL_TCP && packet->tcp_flags & TCP_RST)
		return 0;
	if (carries_icmp_error(packet))
		return 0;
	if (packet->family == 4)
		return is_unicast_ipv4(packet->source[0]) &&
		       is_unicast_ipv4(packet->destination[0]);
	return packet->family == 6 && is_unicast_ipv6(packet->source) &&
	       is_unicast_ipv6(packet->destination);
}

/* Cuts the frame down to @kept bytes, makes room for @more in front of its IP header, and turns its way around. */
static __always_inline int turn_frame(struct xdp_md *ctx, __u32 kept, __u32 more)
{
	struct link_header link, *header;

	if (bpf_xdp_adjust_tail(ctx, (int)kept - (int)bpf_xdp_get_buff_len(ctx)))
		return 0;
	if (more && bpf_xdp_adjust_head(ctx, -(int)more))
		return 0;
	header = (void *)(long)ctx->data + more;
	if ((void *)(header + 1) > (void *)(long)ctx->data_end)
		return 0;
	/* With fewer tags some bytes of IP are moved too, and overwritten by the answer. */
	link = *header;
	header = (void *)(long)ctx->data;
	if ((void *)(header + 1) > (void *)(long)ctx->data_end)
		return 0;
	*header = link;
	__builtin_memcpy(header->ethernet.source, link.ethernet.destination, 6);
	__builtin_memcpy(header->ethernet.destination, link.ethernet.source, 6);
	return 1;
}

static __always_inline __u32 ip_header_bytes(const struct packet *packet)
{
	return packet->family == 6 ? sizeof(struct ipv6_header) : sizeof(struct ipv4_header);
}

/**
 * struct answer - what goes back to the sender of @packet
 * @packet: what came
 * @bytes: behind the IP header
 * @protocol: of these bytes
 */
struct answer {
	const struct packet *packet;
	__u32 bytes;
	__u8 protocol;
};

static __always_inline void write_ipv4(struct ipv4_header *ip, const struct answer *answer)
{
	ip->version_ihl = 0x45;
	ip->tos = answer->protocol == PROTOCOL_ICMP ? ICMP_ERROR_TOS : 0;
	ip->total_length = bpf_htons(sizeof(*ip) + answer->bytes);
	ip->id = 0;
	ip->fragment = bpf_htons(DONT_FRAGMENT);
	ip->ttl = ANSWER_TTL;
	ip->protocol = answer->protocol;
	ip->checksum = 0;
	ip->source = answer->packet->destination[0];
	ip->destination = answer->packet->source[0];
	ip->checksum = fold_checksum(sum_words(ip, sizeof(*ip)));
}

static __always_inline void write_ipv6(struct ipv6_header *ip, const struct answer *answer)
{
	ip->version_class = 6 << 4;
	ip->class_flow = 0;
	ip->flow = 0;
	ip->payload_length = bpf_htons(answer->bytes);
	ip->next_header = answer->protocol;
	ip->hop_limit = ANSWER_TTL;
	__builtin_memcpy(ip->source, answer->packet->destination, sizeof(ip->source));
	__builtin_memcpy(ip->destination, answer->packet->source, sizeof(ip->destination));
}

/* Writes the answer's IP header; returns what stands behind it, or NULL where there is no room. */
static __always_inline void *write_ip(struct xdp_md *ctx, const struct answer *answer)
{
	void *end = (void *)(long)ctx->data_end;
	__u32 offset = answer->packet->network_offset;
	void *ip;

	if (offset > LINK_BYTES_MAX)
		return NULL;
	ip = (void *)(long)ctx->data + offset;
	if (answer->packet->family == 6) {
		if (ip + sizeof(struct ipv6_header) > end)
			return NULL;
		write_ipv6(ip, answer);
		return ip + sizeof(struct ipv6_header);
	}
	if (ip + sizeof(struct ipv4_header) > end)
		return NULL;
	write_ipv4(ip, answer);
	return ip + sizeof(struct ipv4_header);
}

/* The sum of the pseudo header, in which IPv4 differs from IPv6 only by zeros. */
static __always_inline __u64 sum_pseudo_header(const struct answer *answer)
{
	const struct packet *packet = answer->packet;

	return sum_words(packet->source, sizeof(packet->source)) +
	       sum_words(packet->destination, sizeof(packet->destination)) +
	       bpf_htonl(answer->bytes) + bpf_htonl(answer->protocol);
}

/* What the segment takes of the sequence space: its data, SYN and FIN. */
static __always_inline __u32 segment_length(const struct packet *packet)
{
	return packet->ip_length - (packet->transport_offset - packet->network_offset) -
	       packet->tcp_header_length + !!(packet->tcp_flags & TCP_SYN) +
	       !!(packet->tcp_flags & TCP_FIN);
}

/* Makes the frame a reset; 1 if it became one. */
__noinline int answer_with_reset(struct xdp_md *ctx, const struct packet *packet)
{
	struct answer answer = {
		.packet = packet,
		.bytes = sizeof(struct tcp_header),
		.protocol = PROTOCOL_TCP,
	};
	struct tcp_header *tcp;

	if (!packet)
		return 0;
	if (!turn_frame(ctx, packet->network_offset + ip_header_bytes(packet) + sizeof(*tcp), 0))
		return 0;
	tcp = write_ip(ctx, &answer);
	if (!tcp || (void *)(tcp + 1) > (void *)(long)ctx->data_end)
		return 0;
	*tcp = (struct tcp_header){
		.source = bpf_htons(packet->destination_port),
		.destination = bpf_htons(packet->source_port),
		.data_offset = sizeof(*tcp) / 4 << 4,
	};
	if (packet->tcp_flags & TCP_ACK) {
		tcp->sequence = bpf_htonl(packet->acknowledgement);
		tcp->flags = TCP_RST;
	} else {
		tcp->acknowledgement = bpf_htonl(packet->sequence + segment_length(packet));
		tcp->flags = TCP_RST | TCP_ACK;
	}
	tcp->checksum = fold_checksum(sum_pseudo_header(&answer) + sum_words(tcp, sizeof(*tcp)));
	return 1;
}

static __always_inline __u8 unreachable_code(int is_ipv6, int reject)
{
	switch (reject) {
	case FW_REJECT_HOST:
		return is_ipv6 ? 3 : 1;
	case FW_REJECT_NETWORK:
		return 0;
	case FW_REJECT_PROHIBITED:
		return is_ipv6 ? 1 : 13;
	}
	return is_ipv6 ? 4 : 3;
}

/* The sum of all bytes from @offset to the end of the frame, of which an answer has no more than ICMPV6_ANSWER_MAX. */
__noinline __u64 sum_to_end(struct xdp_md *ctx, __u32 offset)
{
	void *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 sum = 0;

	if (offset > LINK_BYTES_MAX + sizeof(struct ipv6_header))
		return 0;
	at += offset;
	for (int i = 0; i < ICMPV6_ANSWER_MAX / 4; i++) {
		if (at + 4 > end)
			break;
		sum += *(__u32 *)at;
		at += 4;
	}
	if (at + 2 <= end) {
		sum += *(__u16 *)at;
		at += 2;
	}
	if (at + 1 <= end)
		sum += bpf_htons(*(__u8 *)at << 8);
	return sum;
}

/* How much of the packet, from its IP header on, the answer quotes: what fits, of what can be read directly. */
static __always_inline __u32 quoted_bytes(struct xdp_md *ctx, const struct packet *packet)
{
	__u32 headers = ip_header_bytes(packet) + sizeof(struct icmp_header);
	__u32 most = (packet->family == 6 ? ICMPV6_ANSWER_MAX : ICMP_ANSWER_MAX) - headers;
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	__s64 readable = data_end - data - packet->network_offset;

	if (most > packet->ip_length)
		most = packet->ip_length;
	return most > readable ? readable : most;
}

/* Makes the frame an error by which @packet's destination is unreachable, @reject (enum fw_reject) says how. */
__noinline int answer_with_unreachable(struct xdp_md *ctx, const struct packet *packet, int reject)
{
	struct answer answer = { .packet = packet };
	struct icmp_header *icmp;
	__u32 quoted, is_ipv6;
	__u64 sum;

	if (!packet)
		return 0;
	is_ipv6 = packet->family == 6;
	quoted = quoted_bytes(ctx, packet);
	answer.bytes = sizeof(*icmp) + quoted;
	answer.protocol = is_ipv6 ? PROTOCOL_ICMPV6 : PROTOCOL_ICMP;
	if (!turn_frame(ctx, packet->network_offset + quoted,
			ip_header_bytes(packet) + sizeof(*icmp)))
		return 0;
	icmp = write_ip(ctx, &answer);
	if (!icmp || (void *)(icmp + 1) > (void *)(long)ctx->data_end)
		return 0;
	*icmp = (struct icmp_header){
		.type = is_ipv6 ? ICMPV6_UNREACHABLE : ICMP_UNREACHABLE,
		.code = unreachable_code(is_ipv6, reject),
	};
	sum = sum_to_end(ctx, packet->network_offset + ip_header_bytes(packet));
	icmp->checksum = fold_checksum(is_ipv6 ? sum + sum_pseudo_header(&answer) : sum);
	return 1;
}

/*
 * Makes the frame the answer to @packet, to be sent with XDP_TX; 0 if there is none, and the packet is to be
 * dropped. The frame is not what it was in either case.
 */
static __always_inline int answer_packet(struct xdp_md *ctx, const struct packet *packet,
					 int reject)
{
	int with_reset = reject == FW_REJECT_RESET || reject == FW_REJECT_AUTO;

	if (with_reset && packet->protocol == PROTOCOL_TCP)
		return answer_with_reset(ctx, packet);
	return answer_with_unreachable(ctx, packet, reject);
}
