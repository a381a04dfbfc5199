/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Routes that rules give: where a packet goes instead of where the host's own routing would send it, where the
 * replies of its connection go, and where a copy goes.
 *
 *	send_xdp(ctx, packet, route)		sends on in XDP what can be sent from there
 *	hand_over or drop			what cannot: TC resolves neighbours by itself, and knows segments
 *	leave_by_route(skb, route)		sends on at TC ingress
 *	mirror(skb, route)			a copy, at TC ingress
 *	apply_reply_route(skb, at, rule_id)	sends on at TC egress
 *
 * A packet with a route never takes another one: what cannot be sent is dropped and counted.
 */
#pragma once

#include "lib/carry.h"
#include "lib/packet.h"
#include "lib/policy.h"

/* What a route is there for; what a route of a missing interface says. */
enum fw_route_kind {
	FW_ROUTE_KIND_ABSENT = 0,
	FW_ROUTE_KIND_VIA = 1,
	FW_ROUTE_KIND_MIRROR = 2,
	/* The host has no such interface: nothing may leave by it, and nothing by another one. */
	FW_ROUTE_KIND_MISSING = 3,
};

enum fw_route_flag {
	FW_ROUTE_FLAG_NEXT_HOP_V4 = 1,
	FW_ROUTE_FLAG_NEXT_HOP_V6 = 2,
	/* The interface's driver takes frames from XDP. */
	FW_ROUTE_FLAG_FAST = 4,
};

/**
 * struct fw_route - one way that packets can take
 * @next_hop_v6: network byte order; zero without FW_ROUTE_FLAG_NEXT_HOP_V6
 * @next_hop_v4: likewise
 * @ifindex: the interface
 * @device: its key in fw_devices
 * @kind: enum fw_route_kind
 * @flags: enum fw_route_flag. Without any next hop the host's routes through this interface say where to; with one
 *         for the other family only, nothing can leave
 */
struct fw_route {
	__u8 next_hop_v6[16];
	__u8 next_hop_v4[4];
	__u32 ifindex;
	__u32 device;
	__u8 kind;
	__u8 flags;
	__u8 reserved[2];
};

/*
 * Written by the agent, read for packets whose rule names a slot: ids in ID_SPACE_ROUTE, 0 for none. As many as
 * struct carried can name and policies need: a route is an interface with its next hops, however many rules use it.
 */
ARRAY_TABLE(fw_routes, struct fw_route, kind, 1024)

/**
 * struct fw_reply_route - where replies of connections that a rule let through go
 * @route: slot in fw_routes
 */
struct fw_reply_route {
	__u32 route;
	__u32 reserved;
};

/*
 * Written by the agent, read for what leaves the host on a connection. Keyed by rule id and not by the rule's slot,
 * because that is what a connection remembers: rules move.
 */
ARRAY_TABLE(fw_reply_routes, struct fw_reply_route, route, 16384)

/*
 * Interfaces that XDP sends to. Written by the agent; keys are ids in ID_SPACE_DEVICE. A hash, because the kernel lets
 * programs with and without xdp.frags share this kind of device map only.
 */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} fw_devices SEC(".maps");

#define MAC_BYTES	 6
#define ADDRESS_FAMILY_4 2
#define ADDRESS_FAMILY_6 10

static __always_inline int has_next_hop(const struct fw_route *route, __u8 family)
{
	return route->flags & (family == 4 ? FW_ROUTE_FLAG_NEXT_HOP_V4 : FW_ROUTE_FLAG_NEXT_HOP_V6);
}

/* Whether packets of this family can leave by the route at all. */
static __always_inline int serves(const struct fw_route *route, __u8 family)
{
	const int next_hops = FW_ROUTE_FLAG_NEXT_HOP_V4 | FW_ROUTE_FLAG_NEXT_HOP_V6;

	if (!route || route->kind != FW_ROUTE_KIND_VIA)
		return 0;
	return !(route->flags & next_hops) || has_next_hop(route, family);
}

/* What remains of a 16-bit ones' complement sum when a header's time to live goes down by one (RFC 1141). */
static __always_inline void age_ipv4(struct ipv4_header *header)
{
	__u32 sum = (__u32)header->checksum + bpf_htons(0x0100);

	header->checksum = sum + (sum >= 0xffff);
	header->ttl--;
}

/*
 * Finds the neighbour to which a packet of these addresses goes by the route, into @hop. Returns 1 if the kernel
 * knows its hardware address now, forwards on that interface, and agrees that it is there.
 */
static __always_inline int find_hop(struct xdp_md *ctx, const struct packet *packet,
				    const struct fw_route *route, struct bpf_fib_lookup *hop)
{
	__u32 flags = BPF_FIB_LOOKUP_OUTPUT;

	hop->family = packet->family == 4 ? ADDRESS_FAMILY_4 : ADDRESS_FAMILY_6;
	hop->ifindex = route->ifindex;
	__builtin_memcpy(hop->ipv6_src, packet->source, sizeof(hop->ipv6_src));
	__builtin_memcpy(hop->ipv6_dst, packet->destination, sizeof(hop->ipv6_dst));
	if (has_next_hop(route, packet->family)) {
		/* Policy rules of the host say nothing about an address that is a neighbour. */
		flags |= BPF_FIB_LOOKUP_DIRECT;
		if (packet->family == 4)
			__builtin_memcpy(&hop->ipv4_dst, route->next_hop_v4, 4);
		else
			__builtin_memcpy(hop->ipv6_dst, route->next_hop_v6, 16);
	}
	if (bpf_fib_lookup(ctx, hop, sizeof(*hop), flags) != BPF_FIB_LKUP_RET_SUCCESS ||
	    hop->ifindex != route->ifindex)
		return 0;
	if (!has_next_hop(route, packet->family))
		return 1;
	/* If the kernel put a gateway in its place, the next hop is not on this link for it. */
	if (packet->family == 4)
		return !__builtin_memcmp(&hop->ipv4_dst, route->next_hop_v4, 4);
	return !__builtin_memcmp(hop->ipv6_dst, route->next_hop_v6, 16);
}

/*
 * Puts a new link header right before the IP header, in place of the old one and its tags, and ages the packet.
 * Returns 0 if that was not possible.
 */
static __always_inline int readdress(struct xdp_md *ctx, const struct packet *packet,
				     const struct bpf_fib_lookup *hop)
{
	struct ethernet_header *ethernet;
	void *end;

	/* What was carried was for this host. */
	if (ctx->data_meta < ctx->data)
		bpf_xdp_adjust_meta(ctx, sizeof(struct carried));
	if (bpf_xdp_adjust_head(ctx, packet->network_offset - (int)sizeof(*ethernet)))
		return 0;
	ethernet = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (packet->family == 4) {
		struct ipv4_header *header = (void *)(ethernet + 1);

		if ((void *)(header + 1) > end)
			return 0;
		age_ipv4(header);
	} else {
		struct ipv6_header *header = (void *)(ethernet + 1);

		if ((void *)(header + 1) > end)
			return 0;
		header->hop_limit--;
	}
	__builtin_memcpy(ethernet->destination, hop->dmac, MAC_BYTES);
	__builtin_memcpy(ethernet->source, hop->smac, MAC_BYTES);
	ethernet->ethertype = bpf_htons(packet->family == 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
	return 1;
}

/*
 * Sends the packet on in XDP. Returns XDP_REDIRECT; XDP_PASS, with the packet as it was, if that is for TC to do: the
 * neighbour is not known, the packet does not fit (which may be several packets in one), or its driver takes nothing
 * from XDP; or XDP_DROP.
 */
__noinline int send_xdp(struct xdp_md *ctx, const struct packet *packet,
			const struct fw_route *route)
{
	struct bpf_fib_lookup hop = {};
	__u32 ip_bytes;

	if (!packet || !route)
		return XDP_DROP;
	if (!(route->flags & FW_ROUTE_FLAG_FAST) ||
	    (void *)(long)ctx->data_end - (void *)(long)ctx->data != (__s64)packet->length)
		return XDP_PASS;
	ip_bytes = packet->ip_length;
	if (bpf_check_mtu(ctx, route->ifindex, &ip_bytes, 0, 0))
		return XDP_PASS;
	if (!find_hop(ctx, packet, route, &hop))
		return XDP_PASS;
	if (!readdress(ctx, packet, &hop))
		return XDP_DROP;
	return bpf_redirect_map(&fw_devices, route->device, XDP_DROP);
}

/*
 * 1 if nobody may send the packet on: it is for all or some hosts of this link. Neighbour discovery is among them, and
 * a rule that sends everything elsewhere must not cut it off.
 */
static __always_inline int stays_on_link(const struct packet *packet)
{
	__u32 to = bpf_ntohl(packet->destination[0]);
	__u32 from = bpf_ntohl(packet->source[0]);

	if (packet->family == 4)
		return to >> 28 == 0xe || to == 0xffffffff || to >> 16 == 0xa9fe ||
		       from >> 16 == 0xa9fe;
	/* Router and neighbour solicitation, advertisement, redirect. */
	if (packet->has_icmp && packet->icmp >> 8 >= 133 && packet->icmp >> 8 <= 137)
		return 1;
	return to >> 24 == 0xff || to >> 22 == 0x3fa || from >> 22 == 0x3fa;
}

/* 1 if the packet has lived too long to be sent on; the kernel's stack says so to the sender. */
static __always_inline int is_expiring(struct xdp_md *ctx, const struct packet *packet)
{
	const __u8 *start = (void *)(long)ctx->data + (packet->network_offset & 0x3f);
	const struct ipv6_header *header = (const void *)start;

	/* Every IP packet that the parser lets through has a header of 20 bytes at least. */
	if (start + sizeof(struct ipv4_header) > (const __u8 *)(long)ctx->data_end)
		return 0;
	if (packet->family == 4)
		return ((const struct ipv4_header *)start)->ttl <= 1;
	return header->hop_limit <= 1;
}

/* The family of what @skb carries once its tags are gone: 4, 6 or 0. */
static __always_inline __u8 family_of(const struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETHERTYPE_IPV4))
		return 4;
	return skb->protocol == bpf_htons(ETHERTYPE_IPV6) ? 6 : 0;
}

/* Lowers the time to live of the packet behind the link header; 0 if there is no IP packet. */
static __always_inline int age_skb(struct __sk_buff *skb, __u8 family)
{
	struct ipv4_header *ipv4;
	struct ipv6_header *ipv6;

	if (bpf_skb_pull_data(skb, sizeof(struct ethernet_header) + sizeof(*ipv4)))
		return 0;
	ipv4 = (void *)(long)skb->data + sizeof(struct ethernet_header);
	ipv6 = (void *)ipv4;
	if ((void *)(ipv4 + 1) > (void *)(long)skb->data_end)
		return 0;
	if (family == 4)
		age_ipv4(ipv4);
	else
		ipv6->hop_limit--;
	return 1;
}

/*
 * The neighbour that an IPv6 packet without a next hop goes to: the gateway, if the host's route goes through this
 * interface, or else whom it is for. (The kernel's own look-up for IPv6, unlike that for IPv4, may come back with the
 * gateway of another interface.)
 */
static __always_inline void find_gateway_v6(struct __sk_buff *skb, __u32 ifindex, __u32 *gateway)
{
	struct bpf_fib_lookup hop = { .family = ADDRESS_FAMILY_6, .ifindex = ifindex };
	const int at = sizeof(struct ethernet_header);
	long found;

	bpf_skb_load_bytes(skb, at + offsetof(struct ipv6_header, source), hop.ipv6_src, 16);
	bpf_skb_load_bytes(skb, at + offsetof(struct ipv6_header, destination), hop.ipv6_dst, 16);
	__builtin_memcpy(gateway, hop.ipv6_dst, 16);
	found = bpf_fib_lookup(skb, &hop, sizeof(hop), BPF_FIB_LOOKUP_OUTPUT);
	if ((found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH) &&
	    hop.ifindex == ifindex)
		__builtin_memcpy(gateway, hop.ipv6_dst, 16);
}

/*
 * Sends the packet on by way of the kernel's neighbour table, which asks for hardware addresses that it does not
 * know. Returns what the TC program shall return, and says in @reason why.
 */
static __always_inline int send_to_neighbour(struct __sk_buff *skb, const struct fw_route *route,
					     __u32 *reason)
{
	struct bpf_redir_neigh next = {};
	__u8 family = family_of(skb);
	__u32 length = 0;

	*reason = FW_REASON_NO_ROUTE;
	if (!family || !serves(route, family))
		return TC_ACT_SHOT;
	*reason = FW_REASON_TOO_BIG;
	if (bpf_check_mtu(skb, route->ifindex, &length, 0, BPF_MTU_CHK_SEGS))
		return TC_ACT_SHOT;
	*reason = FW_REASON_ROUTED;
	next.nh_family = family == 4 ? ADDRESS_FAMILY_4 : ADDRESS_FAMILY_6;
	if (!has_next_hop(route, family)) {
		if (family == 4)
			return bpf_redirect_neigh(route->ifindex, NULL, 0, 0);
		find_gateway_v6(skb, route->ifindex, next.ipv6_nh);
	} else if (family == 4)
		__builtin_memcpy(&next.ipv4_nh, route->next_hop_v4, 4);
	else
		__builtin_memcpy(next.ipv6_nh, route->next_hop_v6, 16);
	return bpf_redirect_neigh(route->ifindex, &next, sizeof(next), 0);
}

/* At TC ingress: sends on what XDP could not. */
static __always_inline int leave_by_route(struct __sk_buff *skb, const struct fw_route *route,
					  __u32 *reason)
{
	for (int i = 0; i < TAGS_MAX; i++)
		if (skb->vlan_present)
			bpf_skb_vlan_pop(skb);
	*reason = FW_REASON_NO_ROUTE;
	if (!age_skb(skb, family_of(skb)))
		return TC_ACT_SHOT;
	skb->tc_index = STAMP_ROUTED;
	return send_to_neighbour(skb, route, reason);
}

/*
 * At TC ingress: sends a copy of the packet, as it came in, by the route. A copy that comes back, from a device whose
 * other end is on this host, is not copied again. Returns 0 if none was sent.
 */
static __always_inline int mirror(struct __sk_buff *skb, const struct fw_route *route)
{
	__u16 stamp = skb->tc_index;
	__u32 length = 0;
	int sent;

	if (!route || route->kind != FW_ROUTE_KIND_MIRROR || stamp == STAMP_MIRRORED)
		return 0;
	if (bpf_check_mtu(skb, route->ifindex, &length, 0, 0))
		return 0;
	skb->tc_index = STAMP_MIRRORED;
	sent = !bpf_clone_redirect(skb, route->ifindex, 0);
	skb->tc_index = stamp;
	return sent;
}

/* 1 if the packet is a copy, or has taken a route already: sent on again and again it would never leave. */
static __always_inline int has_its_way(const struct __sk_buff *skb)
{
	return skb->tc_index == STAMP_MIRRORED || skb->tc_index == STAMP_ROUTED ||
	       skb->tc_index == STAMP_ANSWER;
}

/*
 * At TC egress: sends a packet of a connection that rule @rule_id let in to where the rule wants replies to go.
 * Returns what the TC program shall return, TC_ACT_UNSPEC if the packet stays on its way. Not for what has_its_way().
 */
static __always_inline int apply_reply_route(struct __sk_buff *skb, __u64 at, __u32 rule_id)
{
	const struct fw_reply_route *reply = look_up_fw_reply_routes(rule_id, at);
	__u32 reason;
	int action;

	if (!reply)
		return TC_ACT_UNSPEC;
	skb->tc_index = STAMP_ANSWER;
	action = send_to_neighbour(skb, look_up_fw_routes(reply->route, at), &reason);
	if (action == TC_ACT_SHOT)
		count_in(&fw_reasons, reason, skb->len);
	return action;
}
