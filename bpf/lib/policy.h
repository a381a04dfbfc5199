/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The tables that all programs share: which revision is in force, what ids mean, which interfaces are bound to
 * which groups, address sets, and hit counters of rules.
 */
#pragma once

#include "lib/generation.h"
#include "lib/verdict.h"

/**
 * struct applied_revision - the revision that a generation carries
 * @commit: binary commit id (SHA-1), all zero if none was applied
 * @held: a commit that must not be applied again because somebody rolled back from it; all zero if none
 * @time_s: when it was prepared, seconds since the epoch
 * @present: 1 once anything was applied
 */
struct applied_revision {
	__u8 commit[20];
	__u8 held[20];
	__u64 time_s;
	__u8 present;
	__u8 reserved[7];
};

/* Written by the agent, read by the agent after a restart; versioned, so that it changes with the commit. */
ARRAY_TABLE(applied, struct applied_revision, present, 1)

/* What an id of the directory counts. */
enum id_space {
	ID_SPACE_RULE = 1,
	ID_SPACE_DOCUMENT = 2,
	ID_SPACE_ADDRESS_SET = 3,
	ID_SPACE_INTERFACE_GROUP = 4,
	/* Keys of maps of devices, processors and programs. */
	ID_SPACE_DEVICE = 5,
	ID_SPACE_PROCESSOR = 6,
	ID_SPACE_PROGRAM = 7,
	/* Slots of ct_settings. */
	ID_SPACE_CONNTRACK = 8,
	/* Slots of fw_routes. */
	ID_SPACE_ROUTE = 9,
	/* Slots of fw_steering. */
	ID_SPACE_STEERING = 10,
};

struct directory_key {
	__u32 space;
	__u32 id;
};

/**
 * struct directory_name - the name behind an id
 * @text: UTF-8, padded with zeros: "edge/office-ssh"; absent if the first byte is zero
 */
struct directory_name {
	__u8 text[160];
};

/*
 * Written and read by the agent only: ids must stay the same over commits, restarts and upgrades, so that
 * counters and events keep their meaning without any file on disk. The default size is replaced at load.
 */
KEYED_TABLE(directory, struct directory_key, struct directory_name, text[0], 40960)

/**
 * struct interface_binding - what applies to packets that arrive on an interface
 * @groups: bit i is set if the interface is in the interface group with id i
 * @present: 0 means that no policy applies here (absent)
 * @conntrack: slot of ct_settings; 0 if connections are not tracked here
 * @steering: slot of fw_steering; 0 if packets go on where they come in
 */
struct interface_binding {
	__u64 groups;
	__u8 present;
	__u8 conntrack;
	__u8 steering;
	__u8 reserved[5];
};

/* Written by the agent, read once per packet. Keyed by ifindex: interfaces come and go, so not an array. */
KEYED_TABLE(interfaces, __u32, struct interface_binding, present, 1024)

/* What a payload of a prefix table says about itself; see PREFIX_TABLE. */
enum presence {
	PRESENCE_ABSENT = 0,
	PRESENCE_OWN = 1,
	PRESENCE_INHERITED = 2,
};

/*
 * Whose an entry is, in tables that several may write. A revision replaces what is Git's and nothing else; what
 * a program enters by itself (a source that it blocks for a time) has a deadline that the program looks at.
 */
enum owner {
	OWNER_GIT = 0,
	OWNER_FEED = 1,
	OWNER_DATAPATH = 2,
};

/**
 * struct address_member - whether a prefix belongs to a set
 * @presence: enum presence; addresses under this prefix are members unless it is absent
 * @owner: enum owner
 */
struct address_member {
	__u8 presence;
	__u8 owner;
	__u8 reserved[2];
};

/**
 * struct address_key_v4 - a prefix of one set
 * @prefix_length: bits of the set id, which always count, and of the address
 * @set_id: id in ID_SPACE_ADDRESS_SET
 * @address: network byte order
 */
struct address_key_v4 {
	__u32 prefix_length;
	__u32 set_id;
	__u8 address[4];
};

struct address_key_v6 {
	__u32 prefix_length;
	__u32 set_id;
	__u8 address[16];
};

/* The prefix_length with which one address is looked up. */
#define HOST_LENGTH(key) (8 * (sizeof((key).set_id) + sizeof((key).address)))

/*
 * Written by the agent, read when a rule names a set. One trie a family for all sets, the set id first in the
 * key: changing one set writes that set's prefixes only, whatever others overlap it.
 */
PREFIX_TABLE(address_set_v4, struct address_key_v4, struct address_member, presence, 1000000)

PREFIX_TABLE(address_set_v6, struct address_key_v6, struct address_member, presence, 1000000)

/* Packets and their bytes (whole frames). */
struct counter {
	__u64 packets;
	__u64 bytes;
};

/*
 * Written by programs, read by the agent, cleared by it before an id is given to another rule. Keyed by rule
 * id, so that counts follow the rule's name and not its place.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct counter);
} rule_counters SEC(".maps");

/* Written by programs, read by the agent. Keyed by enum fw_reason. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FW_REASONS);
	__type(key, __u32);
	__type(value, struct counter);
} fw_reasons SEC(".maps");

static __always_inline void count_in(void *counters, __u32 index, __u64 bytes)
{
	struct counter *counter = bpf_map_lookup_elem(counters, &index);

	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
}
