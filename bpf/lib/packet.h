/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The parser: Ethernet, up to two tags, IPv4 with options, IPv6 with extension headers, TCP, UDP, ICMP.
 *
 * A cursor with one bounds check a header. Lengths that a header states are checked against what is left; what
 * does not fit has a reason of its own, and nothing behind it is read. Fields are copied out, so that the
 * rest of the program never touches the packet.
 */
#pragma once

#include "lib/kernel.h"
#include "lib/verdict.h"

#define ETHERTYPE_IPV4	 0x0800
#define ETHERTYPE_IPV6	 0x86dd
#define ETHERTYPE_8021Q	 0x8100
#define ETHERTYPE_8021AD 0x88a8

#define PROTOCOL_HOP_BY_HOP	     0
#define PROTOCOL_ICMP		     1
#define PROTOCOL_TCP		     6
#define PROTOCOL_UDP		     17
#define PROTOCOL_ROUTING	     43
#define PROTOCOL_FRAGMENT	     44
#define PROTOCOL_AH		     51
#define PROTOCOL_ICMPV6		     58
#define PROTOCOL_DESTINATION_OPTIONS 60
#define PROTOCOL_MOBILITY	     135
#define PROTOCOL_HIP		     139
#define PROTOCOL_SHIM6		     140

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define TAGS_MAX	      2
#define EXTENSION_HEADERS_MAX 8
#define IP_BYTES_MAX	      65535

struct ethernet_header {
	__u8 destination[6];
	__u8 source[6];
	__be16 ethertype;
} __attribute__((packed));

struct tag_header {
	__be16 tag;
	__be16 ethertype;
};

/* Everything that can stand in front of an IP header. */
struct link_header {
	struct ethernet_header ethernet;
	struct tag_header tags[TAGS_MAX];
} __attribute__((packed));

#define LINK_BYTES_MAX sizeof(struct link_header)

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 total_length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6_header {
	__u8 version_class;
	__u8 class_flow;
	__be16 flow;
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__be32 source[4];
	__be32 destination[4];
};

/* Any IPv6 extension header: the first eight bytes, which all of them have. */
struct extension_header {
	__u8 next_header;
	__u8 length;
	__be16 fragment;
	__be32 rest;
};

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 data_offset;
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

struct udp_header {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 checksum;
};

/* ICMP and ICMPv6; what stands behind the checksum depends on the type, in an echo an identifier. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 id;
	__be16 sequence;
};

/**
 * struct packet - what the programs know of a packet
 * @source: address in network byte order; IPv4 in the first four bytes, the rest zero
 * @destination: likewise
 * @length: bytes of the frame
 * @ip_length: bytes of the IP packet, header included; padding does not count
 * @sequence: of TCP, host byte order
 * @acknowledgement: likewise
 * @source_port: host byte order, 0 without ports
 * @destination_port: likewise
 * @icmp: type << 8 | code of ICMP and ICMPv6
 * @fragment_id: what the fragments of one packet have in common, host byte order; 0 in a whole packet
 * @echo_id: where an echo request or reply has its identifier, host byte order
 * @window: of TCP, host byte order, not scaled
 * @network_offset: where the IP header begins in the frame
 * @transport_offset: where the transport header begins, or a later fragment's data
 * @vlan: ids of the tags, the outer one first
 * @source_mac: Ethernet source
 * @destination_mac: Ethernet destination
 * @family: 4 or 6; 0 after parsing if the frame carries neither
 * @protocol: IANA number; of a later IPv6 fragment, what its fragment header names
 * @has_ports: TCP or UDP, and not a later fragment
 * @has_icmp: ICMP over IPv4 or ICMPv6 over IPv6, and not a later fragment
 * @authenticated: IPv6 with an authentication header on the way to @protocol
 * @fragment: any fragment of several
 * @later_fragment: not the first one: there is no transport header
 * @tags: VLAN tags
 * @traffic_class: TOS or traffic class: DSCP in the upper six bits
 * @tcp_flags: the flags octet, FIN the lowest
 * @tcp_header_length: bytes, options included
 */
struct packet {
	__u32 source[4];
	__u32 destination[4];
	__u32 length;
	__u32 ip_length;
	__u32 sequence;
	__u32 acknowledgement;
	__u32 fragment_id;
	__u16 source_port;
	__u16 destination_port;
	__u16 icmp;
	__u16 echo_id;
	__u16 window;
	__u16 network_offset;
	__u16 transport_offset;
	__u16 vlan[TAGS_MAX];
	__u8 source_mac[6];
	__u8 destination_mac[6];
	__u8 family;
	__u8 protocol;
	__u8 has_ports;
	__u8 has_icmp;
	__u8 authenticated;
	__u8 fragment;
	__u8 later_fragment;
	__u8 tags;
	__u8 traffic_class;
	__u8 tcp_flags;
	__u8 tcp_header_length;
	__u8 reserved[3];
};

/**
 * struct cursor - where the parser is
 * @at: next byte
 * @offset: where that is in the frame
 * @end: end of what can be read directly
 * @left: bytes that belong to the packet from @at on; may be more than lie before @end, if the frame has
 *        fragments of its own, or fewer, if there is padding
 */
struct cursor {
	void *at;
	void *end;
	__u32 offset;
	__u32 left;
};

/* The header of @size bytes at the cursor, or NULL if the packet or the readable part ends before. */
static __always_inline void *take(struct cursor *cursor, __u32 size)
{
	void *header = cursor->at;

	if (cursor->left < size || header + size > cursor->end)
		return NULL;
	cursor->at = header + size;
	cursor->offset += size;
	cursor->left -= size;
	return header;
}

static __always_inline int parse_icmp(struct cursor *cursor, struct packet *packet)
{
	struct icmp_header *icmp = take(cursor, sizeof(*icmp));

	if (!icmp)
		return FW_REASON_TRUNCATED_TRANSPORT;
	packet->has_icmp = 1;
	packet->icmp = icmp->type << 8 | icmp->code;
	packet->echo_id = bpf_ntohs(icmp->id);
	return PARSED;
}

static __always_inline int parse_transport(struct cursor *cursor, struct packet *packet)
{
	__u32 left = cursor->left;

	switch (packet->protocol) {
	case PROTOCOL_TCP: {
		struct tcp_header *tcp = take(cursor, sizeof(*tcp));
		__u32 data_offset;

		if (!tcp)
			return FW_REASON_TRUNCATED_TRANSPORT;
		data_offset = tcp->data_offset >> 4;
		if (data_offset < 5)
			return FW_REASON_BAD_TRANSPORT;
		if (data_offset * 4 > left)
			return FW_REASON_TRUNCATED_TRANSPORT;
		packet->source_port = bpf_ntohs(tcp->source);
		packet->destination_port = bpf_ntohs(tcp->destination);
		packet->sequence = bpf_ntohl(tcp->sequence);
		packet->acknowledgement = bpf_ntohl(tcp->acknowledgement);
		packet->window = bpf_ntohs(tcp->window);
		packet->tcp_flags = tcp->flags;
		packet->tcp_header_length = data_offset * 4;
		packet->has_ports = 1;
		return PARSED;
	}
	case PROTOCOL_UDP: {
		struct udp_header *udp = take(cursor, sizeof(*udp));
		__u32 length;

		if (!udp)
			return FW_REASON_TRUNCATED_TRANSPORT;
		length = bpf_ntohs(udp->length);
		if (length < sizeof(*udp))
			return FW_REASON_BAD_TRANSPORT;
		/* The length of a first fragment counts what the later ones carry. */
		if (!packet->fragment && length > left)
			return FW_REASON_TRUNCATED_TRANSPORT;
		packet->source_port = bpf_ntohs(udp->source);
		packet->destination_port = bpf_ntohs(udp->destination);
		packet->has_ports = 1;
		return PARSED;
	}
	case PROTOCOL_ICMP:
		return packet->family == 4 ? parse_icmp(cursor, packet) : PARSED;
	case PROTOCOL_ICMPV6:
		return packet->family == 6 ? parse_icmp(cursor, packet) : PARSED;
	}
	return PARSED;
}

/*
 * Notes a fragment; @offset in units of eight bytes, @bytes behind it. Two cases are refused: a packet that
 * would be longer than IP allows when put together, and a second fragment that begins inside the TCP header
 * of the first and would rewrite what the first was judged by (RFC 3128).
 */
static __always_inline int note_fragment(struct packet *packet, __u32 offset, int more, __u32 bytes)
{
	packet->fragment = offset || more;
	packet->later_fragment = offset != 0;
	if (offset * 8 + bytes > IP_BYTES_MAX)
		return FW_REASON_BAD_FRAGMENT;
	if (offset == 1 && packet->protocol == PROTOCOL_TCP)
		return FW_REASON_BAD_FRAGMENT;
	return PARSED;
}

static __always_inline int parse_ipv4(struct cursor *cursor, struct packet *packet)
{
	__u32 available = cursor->left, total_length, header_length, fragment;
	struct ipv4_header *ip = take(cursor, sizeof(*ip));
	int reason;

	if (!ip)
		return FW_REASON_TRUNCATED_IP;
	if (ip->version_ihl >> 4 != 4)
		return FW_REASON_BAD_IP_VERSION;
	header_length = (ip->version_ihl & 0xf) * 4;
	if (header_length < sizeof(*ip))
		return FW_REASON_BAD_IP_HEADER;
	if (available < header_length)
		return FW_REASON_TRUNCATED_IP;
	total_length = bpf_ntohs(ip->total_length);
	if (total_length < header_length)
		return FW_REASON_BAD_IP_HEADER;
	if (total_length > available)
		return FW_REASON_TRUNCATED_IP;

	packet->family = 4;
	packet->protocol = ip->protocol;
	packet->traffic_class = ip->tos;
	packet->ip_length = total_length;
	packet->network_offset = cursor->offset - sizeof(*ip);
	packet->source[0] = ip->source;
	packet->destination[0] = ip->destination;

	cursor->at = (void *)ip + header_length;
	cursor->offset += header_length - sizeof(*ip);
	cursor->left = total_length - header_length;
	packet->transport_offset = cursor->offset;
	fragment = bpf_ntohs(ip->fragment);
	if (fragment & 0x3fff)
		packet->fragment_id = bpf_ntohs(ip->id);
	reason = note_fragment(packet, fragment & 0x1fff, fragment & 0x2000, cursor->left);
	if (reason != PARSED || packet->later_fragment)
		return reason;
	return parse_transport(cursor, packet);
}

/* The headers that Linux looks through; whatever else follows is the packet's protocol. */
static __always_inline int is_extension_header(__u8 next_header)
{
	switch (next_header) {
	case PROTOCOL_HOP_BY_HOP:
	case PROTOCOL_ROUTING:
	case PROTOCOL_FRAGMENT:
	case PROTOCOL_AH:
	case PROTOCOL_DESTINATION_OPTIONS:
		return 1;
	}
	return 0;
}

/*
 * Walks to the transport header. Each header's length follows its own rule, never that of the next one.
 *
 * Unrolled, since Linux 6.1 refuses a loop ("back-edge") whose top is reached from above by anything but a jump,
 * which is how the compiler lays this one out.
 */
static __always_inline int skip_extension_headers(struct cursor *cursor, struct packet *packet)
{
	int fragment_seen = 0;

#pragma unroll
	for (int i = 0; i <= EXTENSION_HEADERS_MAX; i++) {
		struct extension_header *header;
		__u8 kind = packet->protocol;
		__u32 length, fragment;

		if (!is_extension_header(kind))
			return PARSED;
		if (i == EXTENSION_HEADERS_MAX)
			return FW_REASON_TOO_MANY_EXTENSION_HEADERS;
		if (kind == PROTOCOL_HOP_BY_HOP && i > 0)
			return FW_REASON_BAD_EXTENSION_HEADER;
		header = cursor->at;
		if (cursor->left < sizeof(*header) || (void *)(header + 1) > cursor->end)
			return FW_REASON_TRUNCATED_EXTENSION_HEADER;
		if (kind == PROTOCOL_FRAGMENT) {
			int reason;

			if (fragment_seen)
				return FW_REASON_BAD_EXTENSION_HEADER;
			fragment_seen = 1;
			packet->protocol = header->next_header;
			cursor->at = header + 1;
			cursor->offset += sizeof(*header);
			cursor->left -= sizeof(*header);
			fragment = bpf_ntohs(header->fragment);
			packet->fragment_id = bpf_ntohl(header->rest);
			reason = note_fragment(packet, fragment >> 3, fragment & 1, cursor->left);
			if (reason != PARSED || packet->later_fragment)
				return reason;
			continue;
		}
		if (kind == PROTOCOL_AH) {
			packet->authenticated = 1;
			length = (header->length + 2) * 4;
		} else {
			length = (header->length + 1) * 8;
		}
		if (cursor->left < length)
			return FW_REASON_TRUNCATED_EXTENSION_HEADER;
		packet->protocol = header->next_header;
		cursor->at += length;
		cursor->offset += length;
		cursor->left -= length;
	}
	return PARSED;
}

static __always_inline int parse_ipv6(struct cursor *cursor, struct packet *packet)
{
	struct ipv6_header *ip = take(cursor, sizeof(*ip));
	__u32 payload_length;
	int reason;

	if (!ip)
		return FW_REASON_TRUNCATED_IP;
	if (ip->version_class >> 4 != 6)
		return FW_REASON_BAD_IP_VERSION;
	payload_length = bpf_ntohs(ip->payload_length);
	if (payload_length > cursor->left)
		return FW_REASON_TRUNCATED_IP;
	cursor->left = payload_length;

	packet->family = 6;
	packet->protocol = ip->next_header;
	packet->traffic_class = ip->version_class << 4 | ip->class_flow >> 4;
	packet->ip_length = sizeof(*ip) + payload_length;
	packet->network_offset = cursor->offset - sizeof(*ip);
	__builtin_memcpy(packet->source, ip->source, sizeof(packet->source));
	__builtin_memcpy(packet->destination, ip->destination, sizeof(packet->destination));

	reason = skip_extension_headers(cursor, packet);
	packet->transport_offset = cursor->offset;
	if (reason != PARSED || packet->later_fragment)
		return reason;
	return parse_transport(cursor, packet);
}

/*
 * Parses a frame of @length bytes (which may be more than can be read directly) into @packet, which the caller
 * has cleared. Returns PARSED, or the reason why it is malformed; family 0 means neither IPv4 nor IPv6.
 */
static __always_inline int parse_frame(void *data, void *data_end, __u32 length,
				       struct packet *packet)
{
	struct cursor cursor = { .at = data, .end = data_end, .left = length };
	struct ethernet_header *ethernet = take(&cursor, sizeof(*ethernet));
	__u16 ethertype;

	packet->length = length;
	if (!ethernet)
		return FW_REASON_TRUNCATED_ETHERNET;
	__builtin_memcpy(packet->source_mac, ethernet->source, sizeof(packet->source_mac));
	__builtin_memcpy(packet->destination_mac, ethernet->destination,
			 sizeof(packet->destination_mac));
	ethertype = bpf_ntohs(ethernet->ethertype);
	for (int i = 0; i <= TAGS_MAX; i++) {
		struct tag_header *tag;

		if (ethertype != ETHERTYPE_8021Q && ethertype != ETHERTYPE_8021AD)
			break;
		if (i == TAGS_MAX)
			return FW_REASON_TOO_MANY_TAGS;
		tag = take(&cursor, sizeof(*tag));
		if (!tag)
			return FW_REASON_TRUNCATED_VLAN;
		packet->vlan[i] = bpf_ntohs(tag->tag) & 0xfff;
		packet->tags++;
		ethertype = bpf_ntohs(tag->ethertype);
	}
	if (ethertype == ETHERTYPE_IPV4)
		return parse_ipv4(&cursor, packet);
	if (ethertype == ETHERTYPE_IPV6)
		return parse_ipv6(&cursor, packet);
	return PARSED;
}
