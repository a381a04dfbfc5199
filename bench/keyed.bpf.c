// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * One large keyed table, for measuring what transactions and scans of a hash cost: no kind of policy fills one.
 */
#include "lib/generation.h"

struct host {
	__u32 present;
	__u32 list;
};

/* Written by the benchmark. Its size is given at load. */
KEYED_TABLE(hosts, __u32, struct host, present, 1024)

SEC("xdp")
int drop_listed(struct xdp_md *ctx)
{
	__u32 address = ctx->rx_queue_index;
	struct host host;

	return look_up_hosts(&address, current_generation(), &host) ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
