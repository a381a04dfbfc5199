/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections: the table of all that are known, what it says of each, and what policy says about tracking.
 *
 * The table is the datapath's own. No revision replaces what stands in it, commits, restarts and upgrades keep it,
 * and user space only reads it: what is to go goes through tc_conntrack_end, so that whoever ends a connection also
 * takes back what was counted for it.
 */
#pragma once

#include "lib/packet.h"
#include "lib/policy.h"

/*
 * What a connection is in; the number is also the place of its timeout in ct_settings. Everything but TCP knows two
 * states, before and after the first packet in the other direction.
 */
enum ct_state {
	/* Nobody's any more: whoever stored this takes the entry out. */
	CT_STATE_ENDED = 0,
	CT_STATE_SYN_SENT = 1,
	CT_STATE_SYN_RECV = 2,
	CT_STATE_ESTABLISHED = 3,
	/* One side has sent its FIN, */
	CT_STATE_FIN_WAIT = 4,
	/* and the other has acknowledged it. */
	CT_STATE_CLOSE_WAIT = 5,
	/* Both have, */
	CT_STATE_LAST_ACK = 6,
	/* and both are acknowledged. */
	CT_STATE_TIME_WAIT = 7,
	/* After a reset. */
	CT_STATE_CLOSED = 8,
	CT_STATE_UDP_NEW = 9,
	CT_STATE_UDP_REPLIED = 10,
	CT_STATE_ECHO_NEW = 11,
	CT_STATE_ECHO_REPLIED = 12,
	CT_STATE_OTHER_NEW = 13,
	CT_STATE_OTHER_REPLIED = 14,
};
#define CT_STATES 16

/* Bits of the word of a connection, see enum ct_word. */
enum ct_flag {
	/* Opened by the endpoint that stands second in the key. */
	CT_FLAG_OPENED_BY_HIGH = 1,
	/* A packet came in the other direction. */
	CT_FLAG_REPLIED = 2,
	/* Both sides have sent a SYN of their own. */
	CT_FLAG_SIMULTANEOUS = 4,
	/* Which side has sent its FIN, the low one first, and whose FIN was acknowledged. */
	CT_FLAG_FIN_LOW = 8,
	CT_FLAG_FIN_HIGH = 16,
	CT_FLAG_FIN_ACKED_LOW = 32,
	CT_FLAG_FIN_ACKED_HIGH = 64,
	/* source_counts and rule_counts have this connection in them; who clears the bit takes it out. */
	CT_FLAG_COUNTED = 128,
	/* To be judged again after each commit: the fast path is closed while @judged is another generation. */
	CT_FLAG_REEVALUATE = 256,
	/* Nobody saw its beginning: windows are not known, nothing is checked against them. */
	CT_FLAG_PICKED_UP = 512,
	/* Its rule does something to each of its packets, which meet it therefore: there is no fast path. */
	CT_FLAG_SLOW = 1024,
};

/* The parts of connection.word, from the lowest bit: state, flags, settings, serial, tag. */
enum ct_word {
	CT_WORD_STATE_BITS = 4,
	CT_WORD_FLAGS_SHIFT = 4,
	CT_WORD_FLAGS_BITS = 12,
	CT_WORD_SETTINGS_SHIFT = 16,
	CT_WORD_SETTINGS_BITS = 8,
	CT_WORD_SERIAL_SHIFT = 24,
	CT_WORD_SERIAL_BITS = 8,
	CT_WORD_TAG_SHIFT = 32,
};

/* The parts of connection.judged: the generation, and below it the lowest bits of the tag. */
enum ct_judged {
	CT_JUDGED_GENERATION_SHIFT = 24,
};

/**
 * struct ct_key - the packet on the wire, with the lower (address, port) first, whoever sent it
 * @low: address in network byte order, IPv4 in the first four bytes and the rest zero; compared by the byte
 * @high: the other one
 * @low_port: host byte order; of an ICMP or ICMPv6 echo both are its identifier; 0 for protocols without ports
 * @high_port: likewise
 * @protocol: IANA number
 * @family: 4 or 6
 * @zone: zero
 *
 * Helpers of Linux 6.1 take keys from the stack, from maps and from packets: a function that the verifier looks at on
 * its own, and that was given a pointer, copies the key first.
 */
struct ct_key {
	__u8 low[16];
	__u8 high[16];
	__u16 low_port;
	__u16 high_port;
	__u8 protocol;
	__u8 family;
	__u16 zone;
};

/**
 * struct ct_side - what one endpoint of a connection has sent
 * @edge: of TCP: the sequence number behind the last byte sent, and in the upper half the highest one that the
 *        other side's window has allowed so far; zero before the side's first packet
 * @packets: sent by this endpoint
 * @bytes: of them, whole frames
 * @window: the largest that it has advertised, scaled; zero before its first packet
 * @scale: by which its windows are to be shifted
 * @has_scale: its SYN had the window scale option
 * @tag: the lowest bits of the connection's, so that a compare-and-swap of @window and what is behind it fails as well
 */
struct ct_side {
	__u64 edge;
	__u64 packets;
	__u64 bytes;
	__u32 window;
	__u8 scale;
	__u8 has_scale;
	__u16 tag;
};

/**
 * struct connection - one entry of the table of connections
 * @word: tag << 32 | serial << 24 | settings << 16 | flags << 4 | state. The tag is taken of the key and never zero,
 *        the serial tells connections of one key apart. Changed by compare-and-swap only
 * @seen_ns: when its last packet came by, CLOCK_MONOTONIC_COARSE: milliseconds are what timeouts need
 * @created_ns: likewise its first one
 * @judged: the generation in which the rules last let it through, << 24, and the tag's lowest 24 bits
 * @side: the low endpoint, the high one
 * @rule_id: the rule that let it through, for which it is counted; 0 if none did
 * @interface: where its first packet came in or went out
 * @slot: its place in ct_slots
 *
 * The kernel gives the element of a deleted key to the next new one at once, so a program may hold a connection
 * that has become another. Then
 *  - its compare-and-swap of @word, of @judged, of an edge and of a window fails, since tag, serial or sequence
 *    numbers differ,
 *  - what it read is thrown away, for the tag is compared once more behind the reads,
 *  - what it adds to @packets and @bytes is a packet counted for another connection,
 *  - what it stores in @seen_ns is the time of this moment, in which the other connection was seen as well: it has
 *    just been created.
 * @created_ns, @rule_id, @interface and @slot are written before @word, when nobody else has the entry.
 */
struct connection {
	__u64 word;
	__u64 seen_ns;
	__u64 created_ns;
	__u64 judged;
	struct ct_side side[2];
	__u32 rule_id;
	__u32 interface;
	__u32 slot;
	__u32 reserved;
};
_Static_assert(sizeof(struct ct_key) == 40 && sizeof(struct connection) == 112,
	       "less than two cache lines");

/*
 * Written by programs, read by them and by the agent; the default size is replaced at load. Preallocated: entries
 * are had under a flood without the allocator, the bound is exact, and an element that a program still holds is
 * never memory of somebody else.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__type(key, struct ct_key);
	__type(value, struct connection);
} connections SEC(".maps");

/*
 * Who may be put out when the table is full, the oldest first: keys of connections that were new or had ended when
 * they were entered here. As large as the table; what has become established since is passed over.
 */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 262144);
	__type(value, struct ct_key);
} ct_candidates SEC(".maps");

/**
 * struct ct_slot - a place for one connection
 * @key: of the connection that has it
 * @tag: of the key; 0 if nobody has it
 * @next: of a slot that is free again: the one behind it in the list of those, + 1; 0 at its end
 */
struct ct_slot {
	struct ct_key key;
	__u32 tag;
	__u32 next;
};

/*
 * A hash map cannot be walked piece by piece, an array can: each connection has a slot, and the sweeper goes round
 * them. As large as the table, and what bounds it: without a slot there is no connection.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 262144);
	__type(key, __u32);
	__type(value, struct ct_slot);
} ct_slots SEC(".maps");

/**
 * struct ct_sweeper - who ends connections at their deadlines
 * @timer: one for all. A timer in each entry would need memory at each new connection, which the kernel gets without
 *         waiting or not at all: on 6.18 it had some hundred and no more
 * @used: slots below it have been given out
 * @free: the first slot of those that are free again, + 1; above it a number that each change adds to, so that a
 *        compare-and-swap fails when others have taken that slot and brought it back
 * @at: slot to look at next
 * @is_set: the timer runs
 */
struct ct_sweeper {
	struct bpf_timer timer;
	__u64 used;
	__u64 free;
	__u32 at;
	__u32 is_set;
};

/* Written by programs. Its timer runs while the map is pinned or open in a process. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ct_sweeper);
} ct_sweeper SEC(".maps");

/* Bits of ct_settings.flags. */
enum ct_setting {
	/* A TCP connection whose beginning nobody saw is taken up when one of its packets comes by. */
	CT_SETTING_PICK_UP = 1,
	/* TCP sequence numbers and windows are not checked, but for resets. */
	CT_SETTING_LIBERAL = 2,
};

/**
 * struct ct_setting_record - what a Conntrack document says
 * @timeouts_s: how long a connection in each enum ct_state lives without a packet, in seconds
 * @flags: enum ct_setting
 * @present: 0 marks an empty slot
 */
struct ct_setting_record {
	__u32 timeouts_s[CT_STATES];
	__u32 flags;
	__u8 present;
	__u8 reserved[3];
};

/*
 * Written by the agent, read by packets of connections. Interfaces name their slot (interface_binding.conntrack),
 * as does the word of each connection; slot 0 stays empty: not tracked. A connection whose slot has become empty
 * is absent.
 */
ARRAY_TABLE(ct_settings, struct ct_setting_record, present, 256)

/**
 * struct source_count_key - one source's connections by one rule
 * @address: network byte order, IPv4 in the first four bytes
 * @rule_id: id in ID_SPACE_RULE
 * @family: 4 or 6
 */
struct source_count_key {
	__u8 address[16];
	__u32 rule_id;
	__u8 family;
	__u8 reserved[3];
};

/**
 * struct source_count - tag << 32 | connections
 * @word: the tag is taken of the key and never zero; a word of zero says that the entry is being taken out
 */
struct source_count {
	__u64 word;
};

/* Written by programs only: exact at any moment. An entry goes with its last connection. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct source_count_key);
	__type(value, struct source_count);
} source_counts SEC(".maps");

/* Written by programs only, by rule id: connections that count for the rule. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} rule_counts SEC(".maps");

/* What is counted on the way; @current of them is created less everything that ends a connection. */
enum ct_stat {
	CT_STAT_CREATED = 0,
	/* Created in the middle of a TCP connection. */
	CT_STAT_PICKED_UP,
	/* Got their first packet in the other direction. */
	CT_STAT_REPLIED,
	/* The four ways for an entry to go. */
	CT_STAT_EXPIRED,
	CT_STAT_REUSED,
	CT_STAT_EVICTED,
	CT_STAT_FLUSHED,
	/* Packets that belong to no connection and begin none, or do not fit to theirs. */
	CT_STAT_INVALID,
	/* Resets among them. */
	CT_STAT_RESET_IGNORED,
	/* ICMP errors about a connection. */
	CT_STAT_RELATED,
	/* Not created: nothing could be put out of the full table, a limit was reached, others were in the way. */
	CT_STAT_FULL,
	CT_STAT_LIMITED,
	CT_STAT_CONTENDED,
	/* The sweeper's timer could not be set; the next new connection tries again. */
	CT_STAT_NO_TIMER,
};
#define CT_STATS (CT_STAT_NO_TIMER + 1)

/* Written by programs, read by the agent. Keyed by enum ct_stat. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CT_STATS);
	__type(key, __u32);
	__type(value, __u64);
} ct_stats SEC(".maps");

/**
 * struct fragment_key - the fragments of one packet
 * @source: network byte order, IPv4 in the first four bytes
 * @destination: likewise
 * @id: as it stands in the packet, host byte order; where struct ct_key has its ports, the rest alike
 * @protocol: IANA number
 * @family: 4 or 6
 */
struct fragment_key {
	__u8 source[16];
	__u8 destination[16];
	__u32 id;
	__u8 protocol;
	__u8 family;
	__u8 reserved[2];
};

/* tag of the key << 32 | source port << 16 | destination port, read and written as one word. */
struct fragment_ports {
	__u64 word;
};

/* Written by the first fragment, read by the later ones, which have no ports. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_key);
	__type(value, struct fragment_ports);
} ct_fragments SEC(".maps");
