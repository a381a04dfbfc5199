// SPDX-License-Identifier: GPL-2.0
// A program that parses a frame as the firewall does and judges nothing: what a packet costs at least.
#include "lib/packet.h"

SEC("xdp")
int xdp_parse(struct xdp_md *ctx)
{
	struct packet packet = {};
	int reason = parse_frame((void *)(long)ctx->data, (void *)(long)ctx->data_end,
				 ctx->data_end - ctx->data, &packet);

	/* Something has to come of it, or nothing is parsed. */
	if (reason != PARSED || (packet.source[0] ^ packet.destination[0] ^ packet.source_port) == 1)
		return XDP_DROP;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
