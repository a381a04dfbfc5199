// SPDX-License-Identifier: GPL-2.0
// Programs that differ in how they look keys up, each several times a packet, and one that only makes the keys: the
// difference is what a lookup costs. The same for handing the generation on.
#include "lib/carry.h"

#define LOOKUPS 8

/* Set by user space: how many keys there are, a power of two. */
const volatile __u32 keys_mask = 1;

struct key {
	__u32 number;
	__u32 zero;
};

struct prefix_key {
	__u32 prefix_length;
	__u8 address[4];
};

struct payload {
	__u64 number;
	__u8 presence;
	__u8 reserved[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key);
	__type(value, struct payload);
} plain_keyed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, struct payload);
} plain_prefix SEC(".maps");

KEYED_TABLE(keyed, struct key, struct payload, presence, 1)
PREFIX_TABLE(prefix, struct prefix_key, struct payload, presence, 1)

/* Packets so far: the next keys follow from it. Keeps what was looked up from being optimised away. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[2]);
} state SEC(".maps");

/* Scattered, so that the next one is in no cache for a reason. */
static __always_inline __u32 number_of(__u64 lookup)
{
	return ((__u32)lookup * 2654435761u >> 7) & keys_mask;
}

static __always_inline __u64 look_up_nothing(__u32 number, __u64 at)
{
	return number + at;
}

static __always_inline __u64 look_up_plain_keyed(__u32 number, __u64 at)
{
	struct key key = { .number = number };
	const struct payload *payload = bpf_map_lookup_elem(&plain_keyed, &key);

	return payload && payload->presence ? payload->number : 0;
}

static __always_inline __u64 look_up_in_keyed(__u32 number, __u64 at)
{
	struct key key = { .number = number };
	struct payload payload = {};

	return look_up_keyed(&key, at, &payload) > 0 ? payload.number : 0;
}

static __always_inline __u64 look_up_plain_prefix(__u32 number, __u64 at)
{
	struct prefix_key key = { .prefix_length = 32 };
	const struct payload *payload;

	__builtin_memcpy(key.address, &number, sizeof(number));
	payload = bpf_map_lookup_elem(&plain_prefix, &key);
	return payload && payload->presence ? payload->number : 0;
}

static __always_inline __u64 look_up_in_prefix(__u32 number, __u64 at)
{
	struct prefix_key key = { .prefix_length = 32 };
	const struct payload *payload;

	__builtin_memcpy(key.address, &number, sizeof(number));
	payload = look_up_prefix(&key, at);
	return payload ? payload->number : 0;
}

#define PROGRAM(name, look_up)                                        \
	SEC("xdp")                                                    \
	int name(struct xdp_md *ctx)                                  \
	{                                                             \
		__u64 at = current_generation();                      \
		__u32 zero = 0;                                       \
		__u64 *done = bpf_map_lookup_elem(&state, &zero);     \
                                                                      \
		if (!done)                                            \
			return XDP_ABORTED;                           \
		for (int i = 0; i < LOOKUPS; i++)                     \
			done[1] += look_up(number_of(done[0]++), at); \
		return XDP_PASS;                                      \
	}

PROGRAM(xdp_nothing, look_up_nothing)
PROGRAM(xdp_plain_keyed, look_up_plain_keyed)
PROGRAM(xdp_keyed, look_up_in_keyed)
PROGRAM(xdp_plain_prefix, look_up_plain_prefix)
PROGRAM(xdp_prefix, look_up_in_prefix)

SEC("xdp")
int xdp_reads(struct xdp_md *ctx)
{
	return current_generation() == ~0ULL ? XDP_ABORTED : XDP_PASS;
}

/* Takes the metadata off again, so that the next run over the same buffer finds none. */
SEC("xdp")
int xdp_hands_on(struct xdp_md *ctx)
{
	int verdict = pass_xdp(ctx, begin_xdp(ctx));

	bpf_xdp_adjust_meta(ctx, sizeof(struct carried));
	return verdict;
}

char LICENSE[] SEC("license") = "GPL";
