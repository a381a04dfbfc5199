/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which connection a packet is about: its own, or for an ICMP error that of the packet which it carries.
 *
 * CT_LOAD_BYTES(ctx, offset, to, size) is what the program's type has for reading from the frame, whether or not the
 * bytes can be read directly: bpf_skb_load_bytes or bpf_xdp_load_bytes. Define it before this is included.
 */
#pragma once

#include "lib/conntrack.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ICMP_ECHO_REPLY		 0
#define ICMP_UNREACHABLE	 3
#define ICMP_ECHO_REQUEST	 8
#define ICMP_TIME_EXCEEDED	 11
#define ICMP_PARAMETER_PROBLEM	 12
#define ICMPV6_UNREACHABLE	 1
#define ICMPV6_PARAMETER_PROBLEM 4
#define ICMPV6_ECHO_REQUEST	 128
#define ICMPV6_ECHO_REPLY	 129
#define INNER_EXTENSION_HEADERS	 4
#define TCP_OPTION_END		 0
#define TCP_OPTION_NOTHING	 1
#define TCP_OPTION_WINDOW_SCALE	 3
#define TCP_OPTIONS_MAX		 40
/* Behind so many, padding included, none is looked for. */
#define TCP_OPTIONS_READ     16
#define TCP_WINDOW_SCALE_MAX 14

enum ct_subject_kind {
	/* No connection: neighbour discovery, a later fragment of a packet that is not known, not IP at all. */
	CT_SUBJECT_NONE = 0,
	CT_SUBJECT_OWN,
	/* An ICMP error about it. */
	CT_SUBJECT_ERROR,
	/* An ICMP error about nothing that could be a connection. */
	CT_SUBJECT_STRAY,
};

/**
 * struct ct_subject - the connection that a packet is about
 * @key: its key
 * @tag: of the key
 * @kind: enum ct_subject_kind
 * @sender: 0 if the low endpoint sent the packet, 1 if the high one; of an error: the packet in it
 * @scale: of a SYN: the window scale option
 * @has_scale: of a SYN: whether it is there
 * @opens: the packet may begin a connection of its protocol
 */
struct ct_subject {
	struct ct_key key;
	__u32 tag;
	__u8 kind;
	__u8 sender;
	__u8 scale;
	__u8 has_scale;
	__u8 opens;
	__u8 reserved[3];
};

/* Never zero: that is no tag. */
static __always_inline __u32 tag_of(const void *key, __u32 size)
{
	struct check check = { .sum = 0, .weight = 1 };

	check_words(&check, key, size);
	return check.sum ?: 1;
}

/* Whether the endpoint in front is the higher of the two, compared by the byte and then by port. */
static __always_inline int is_reversed(const struct ct_key *key)
{
	const __be32 *low = (const __be32 *)key->low, *high = (const __be32 *)key->high;

	for (int i = 0; i < 4; i++)
		if (low[i] != high[i])
			return bpf_ntohl(low[i]) > bpf_ntohl(high[i]);
	return key->low_port > key->high_port;
}

/* @subject's key has the sender in front: puts the lower endpoint there and notes who sent. */
static __always_inline void finish_key(struct ct_subject *subject)
{
	struct ct_key *key = &subject->key;

	subject->sender = is_reversed(key);
	if (subject->sender) {
		__u32 *low = (__u32 *)key->low, *high = (__u32 *)key->high;
		__u16 port = key->low_port;

		for (int i = 0; i < 4; i++) {
			__u32 word = low[i];

			low[i] = high[i];
			high[i] = word;
		}
		key->low_port = key->high_port;
		key->high_port = port;
	}
	subject->tag = tag_of(key, sizeof(*key));
}

static __always_inline int is_icmp_of(__u8 protocol, __u8 family)
{
	return protocol == (family == 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6);
}

static __always_inline int is_echo_request(__u8 type, __u8 family)
{
	return type == (family == 4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST);
}

static __always_inline int is_echo(__u8 type, __u8 family)
{
	return is_echo_request(type, family) ||
	       type == (family == 4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY);
}

static __always_inline int is_icmp_error(__u8 type, __u8 family)
{
	if (family == 6)
		return type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER_PROBLEM;
	return type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETER_PROBLEM;
}

/*
 * The window scale option of a SYN whose options were copied to @options, @size bytes of them. Options after a
 * malformed one are not believed.
 */
static __always_inline void read_window_scale(struct ct_subject *subject, const __u8 *options,
					      __u32 size)
{
	__u32 at = 0;

	for (int i = 0; i < TCP_OPTIONS_READ; i++) {
		__u8 kind, length;

		/* The option has three bytes, and what is compared has to be what is read by. */
		if (at + 3 > size)
			return;
		barrier_var(at);
		if (at > TCP_OPTIONS_MAX - 3)
			return;
		kind = options[at];
		if (kind == TCP_OPTION_END)
			return;
		if (kind == TCP_OPTION_NOTHING) {
			at++;
			continue;
		}
		length = options[at + 1];
		if (length < 2)
			return;
		if (kind == TCP_OPTION_WINDOW_SCALE && length == 3) {
			subject->has_scale = 1;
			subject->scale = options[at + 2] > TCP_WINDOW_SCALE_MAX
						 ? TCP_WINDOW_SCALE_MAX
						 : options[at + 2];
			return;
		}
		at += length;
	}
}

/*
 * The first fragment of a packet leaves its ports under what all of them have in common: @key, which has the sender in
 * front, with the identifier where the ports stand. The later ones find them there; 0 if they do not.
 */
static __always_inline int join_fragments(const struct packet *packet, struct ct_key *key)
{
	struct fragment_key fragment = *(const struct fragment_key *)key;
	__u16 source_port = key->low_port, destination_port = key->high_port;
	struct fragment_ports *found, ports;
	__u32 tag;

	fragment.id = packet->fragment_id;
	tag = tag_of(&fragment, sizeof(fragment));
	ports.word = (__u64)tag << 32 | (__u32)source_port << 16 | destination_port;
	if (!packet->later_fragment) {
		bpf_map_update_elem(&ct_fragments, &fragment, &ports, BPF_ANY);
	} else {
		found = bpf_map_lookup_elem(&ct_fragments, &fragment);
		if (!found)
			return 0;
		ports.word = READ_ONCE(found->word);
		if (ports.word >> 32 != tag)
			return 0;
	}
	key->low_port = ports.word >> 16;
	key->high_port = ports.word;
	return 1;
}

/* The frame of the packet that an ICMP error carries, as far as the error's own length says it is there. */
static __always_inline int load_inner(CT_CONTEXT *ctx, const struct packet *packet, __u32 offset,
				      void *to, __u32 size)
{
	if (offset + size > packet->network_offset + packet->ip_length)
		return 0;
	return CT_LOAD_BYTES(ctx, offset, to, size) == 0;
}

/*
 * Puts the inner packet's addresses and protocol into @key, the sender in front; returns where its transport header is,
 * 0 if nowhere.
 */
static __always_inline __u32 read_inner_ipv4(CT_CONTEXT *ctx, const struct packet *packet,
					     struct ct_key *key)
{
	__u32 at = packet->transport_offset + sizeof(struct icmp_header);
	struct ipv4_header ip;

	if (!load_inner(ctx, packet, at, &ip, sizeof(ip)) || ip.version_ihl >> 4 != 4 ||
	    (ip.version_ihl & 0xf) < 5 || bpf_ntohs(ip.fragment) & 0x1fff)
		return 0;
	__builtin_memcpy(key->low, &ip.source, sizeof(ip.source));
	__builtin_memcpy(key->high, &ip.destination, sizeof(ip.destination));
	key->protocol = ip.protocol;
	return at + (ip.version_ihl & 0xf) * 4;
}

static __always_inline __u32 read_inner_ipv6(CT_CONTEXT *ctx, const struct packet *packet,
					     struct ct_key *key)
{
	__u32 at = packet->transport_offset + sizeof(struct icmp_header);
	/* Any eight bytes: of the IPv6 header those before the addresses, then one extension header after the other. */
	struct extension_header header;
	__u8 kind;

	if (!load_inner(ctx, packet, at, &header, sizeof(header)) || header.next_header >> 4 != 6)
		return 0;
	key->protocol = ((const __u8 *)&header)[offsetof(struct ipv6_header, next_header)];
	at += sizeof(header);
	/* Both addresses, which lie side by side here and there. */
	if (!load_inner(ctx, packet, at, key->low, 2 * sizeof(key->low)))
		return 0;
	at += 2 * sizeof(key->low);
	for (int i = 0; i < INNER_EXTENSION_HEADERS; i++) {
		kind = key->protocol;
		if (!is_extension_header(kind))
			return at;
		if (!load_inner(ctx, packet, at, &header, sizeof(header)))
			return 0;
		if (kind == PROTOCOL_FRAGMENT && bpf_ntohs(header.fragment) >> 3)
			return 0;
		key->protocol = header.next_header;
		if (kind == PROTOCOL_FRAGMENT)
			at += sizeof(header);
		else if (kind == PROTOCOL_AH)
			at += (header.length + 2) * 4;
		else
			at += (header.length + 1) * 8;
	}
	return is_extension_header(key->protocol) ? 0 : at;
}

/*
 * The connection of the packet that an ICMP error carries. Errors are sent to whoever sent that packet: one that
 * came to somebody else is about nothing.
 */
static __always_inline int identify_inner(CT_CONTEXT *ctx, const struct packet *packet,
					  struct ct_subject *subject)
{
	struct ct_key *key = &subject->key;
	struct icmp_header transport;
	int is_icmp;
	__u32 at;

	key->family = packet->family;
	at = packet->family == 4 ? read_inner_ipv4(ctx, packet, key)
				 : read_inner_ipv6(ctx, packet, key);
	if (!at)
		return CT_SUBJECT_STRAY;
	for (int i = 0; i < 4; i++)
		if (((const __u32 *)key->low)[i] != packet->destination[i])
			return CT_SUBJECT_STRAY;
	is_icmp = is_icmp_of(key->protocol, key->family);
	if (is_icmp || key->protocol == PROTOCOL_TCP || key->protocol == PROTOCOL_UDP) {
		if (!load_inner(ctx, packet, at, &transport, sizeof(transport)))
			return CT_SUBJECT_STRAY;
		if (is_icmp && !is_echo(transport.type, key->family))
			return CT_SUBJECT_STRAY;
		/* TCP and UDP have their ports where ICMP has type, code and checksum. */
		key->low_port =
			is_icmp ? bpf_ntohs(transport.id) : transport.type << 8 | transport.code;
		key->high_port = is_icmp ? key->low_port : bpf_ntohs(transport.checksum);
	}
	finish_key(subject);
	return CT_SUBJECT_ERROR;
}

static __always_inline int identify_own(const struct packet *packet, struct ct_subject *subject)
{
	struct ct_key *key = &subject->key;
	int is_icmp = is_icmp_of(packet->protocol, packet->family);

	subject->opens = 1;
	__builtin_memcpy(key->low, packet->source, sizeof(key->low));
	__builtin_memcpy(key->high, packet->destination, sizeof(key->high));
	key->low_port = packet->source_port;
	key->high_port = packet->destination_port;
	key->protocol = packet->protocol;
	key->family = packet->family;
	if (packet->has_icmp) {
		if (!is_echo(packet->icmp >> 8, packet->family))
			return CT_SUBJECT_NONE;
		subject->opens = is_echo_request(packet->icmp >> 8, packet->family);
		key->low_port = key->high_port = packet->echo_id;
	}
	if (packet->fragment &&
	    (is_icmp || packet->protocol == PROTOCOL_TCP || packet->protocol == PROTOCOL_UDP) &&
	    !join_fragments(packet, key))
		return CT_SUBJECT_NONE;
	finish_key(subject);
	return CT_SUBJECT_OWN;
}

/* The window scale option of a SYN, which windows of both sides are read by later. */
__noinline int ct_read_options(CT_CONTEXT *ctx, const struct packet *packet,
			       struct ct_subject *subject)
{
	__u8 options[TCP_OPTIONS_MAX] = {};
	__u32 size;

	if (!packet || !subject)
		return 0;
	size = packet->tcp_header_length - sizeof(struct tcp_header);
	/*
	 * Options are whole words. Each comparison is of @size itself: the compiler would make one of both, of another
	 * register, and leave Linux 6.1 without the bounds.
	 */
	barrier_var(size);
	if (size > sizeof(options))
		return 0;
	barrier_var(size);
	if (size < sizeof(__u32))
		return 0;
	if (CT_LOAD_BYTES(ctx, packet->transport_offset + sizeof(struct tcp_header), options, size))
		return 0;
	read_window_scale(subject, options, size);
	return 0;
}

/* Fills @subject, which the caller has cleared; returns its kind. */
__noinline int ct_identify(CT_CONTEXT *ctx, const struct packet *packet, struct ct_subject *subject)
{
	if (!packet || !subject)
		return CT_SUBJECT_NONE;
	if (packet->family != 4 && packet->family != 6)
		return CT_SUBJECT_NONE;
	if (packet->has_icmp && is_icmp_error(packet->icmp >> 8, packet->family))
		subject->kind = identify_inner(ctx, packet, subject);
	else
		subject->kind = identify_own(packet, subject);
	if (packet->tcp_flags & TCP_SYN)
		ct_read_options(ctx, packet, subject);
	return subject->kind;
}
