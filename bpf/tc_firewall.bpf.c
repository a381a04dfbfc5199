// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * tc_firewall: what xdp_firewall decided and only TC can do. It judges nothing: it sends copies to where a rule wants
 * them, and sends on packets whose next hop XDP could not reach.
 */
#include "lib/route.h"

SEC("tc")
int tc_firewall_ingress(struct __sk_buff *skb)
{
	__u64 at = begin_tc(skb);
	const struct carried *carried = find_carried(skb);
	__u32 route_to = carried ? carried->route_to : 0;
	__u32 mirror_to = carried ? carried->mirror_to : 0;
	/* What a slot means is known at the generation that named it only. */
	int is_known = carried && carried->generation == at;
	__u32 reason = FW_REASON_NO_ROUTE;
	int action = TC_ACT_SHOT;

	if (mirror_to && is_known)
		mirror(skb, look_up_fw_routes(mirror_to, at));
	if (!route_to)
		return TC_ACT_UNSPEC;
	if (is_known)
		action = leave_by_route(skb, look_up_fw_routes(route_to, at), &reason);
	count_in(&fw_reasons, reason, skb->len);
	return action;
}

char _license[] SEC("license") = "Dual BSD/GPL";
