/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rewriting a packet's DSCP in its frame. The two bits of ECN are the connection's own and stay. */
#pragma once

#include "lib/checksum.h"
#include "lib/packet.h"

#define ECN_BITS 3

static __always_inline void set_ipv4_class(struct ipv4_header *ip, __u8 class)
{
	/* The word that the checksum covers: version, header length and TOS. */
	__be16 *word = (__be16 *)ip;
	__be16 old = *word;

	ip->tos = class;
	ip->checksum = update_checksum(ip->checksum, old, *word);
}

static __always_inline void set_ipv6_class(struct ipv6_header *ip, __u8 class)
{
	ip->version_class = (ip->version_class & 0xf0) | class >> 4;
	ip->class_flow = (ip->class_flow & 0x0f) | class << 4;
}

/* Sets the DSCP of @packet, which stands in the frame as it was parsed. */
static __always_inline void set_dscp(struct xdp_md *ctx, const struct packet *packet, __u8 dscp)
{
	void *end = (void *)(long)ctx->data_end;
	__u8 class = dscp << 2 | (packet->traffic_class & ECN_BITS);
	__u32 offset = packet->network_offset;
	void *ip;

	if (offset > LINK_BYTES_MAX)
		return;
	ip = (void *)(long)ctx->data + offset;
	if (packet->family == 4 && ip + sizeof(struct ipv4_header) <= end)
		set_ipv4_class(ip, class);
	if (packet->family == 6 && ip + sizeof(struct ipv6_header) <= end)
		set_ipv6_class(ip, class);
}
