/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What TC programs need before they ask for a packet's connection: the packet, and whether connections are tracked. */
#pragma once

#include "lib/carry.h"

#define CT_CONTEXT    struct __sk_buff
#define CT_LOAD_BYTES bpf_skb_load_bytes
#include "lib/track.h"

/* What has to be readable directly: two tags, IPv6 and TCP without options. */
#define HEADER_BYTES 82

/* Parses the frame into @packet, which has its length; returns PARSED or enum fw_reason. */
__noinline int parse_skb(struct __sk_buff *skb, struct packet *packet)
{
	if (!packet)
		return FW_REASON_INTERNAL_ERROR;
	if ((void *)(long)skb->data + HEADER_BYTES > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, skb->len < HEADER_BYTES ? skb->len : HEADER_BYTES);
	return parse_frame((void *)(long)skb->data, (void *)(long)skb->data_end, packet->length,
			   packet);
}

/* The slot of ct_settings that holds for an interface; 0 if connections are not tracked there. */
static __always_inline __u32 settings_at(__u32 interface, __u64 at)
{
	struct interface_binding binding;

	return look_up_interfaces(&interface, at, &binding) == 1 ? binding.conntrack : 0;
}
