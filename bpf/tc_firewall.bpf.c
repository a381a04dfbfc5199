// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * tc_firewall: what xdp_firewall decided and only TC can do. It judges nothing: it sends copies to where a rule wants
 * them, sends on packets whose next hop XDP could not reach, and what this host answers where a rule wants replies.
 */
#include "lib/route.h"
#include "lib/track_tc.h"

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

/*
 * XDP sends on the replies that it sees; those of the host itself are seen here for the first time. They leave an
 * interface whose connections are tracked, and tc_conntrack has had them when they come here: where they leave then,
 * their stamp tells it so.
 */
SEC("tc")
int tc_firewall_egress(struct __sk_buff *skb)
{
	__u64 at = begin_tc(skb);
	struct packet packet = { .length = skb->len };

	if (has_its_way(skb) || !settings_at(skb->ifindex, at))
		return TC_ACT_UNSPEC;
	if (parse_skb(skb, &packet) != PARSED || stays_on_link(&packet))
		return TC_ACT_UNSPEC;
	return apply_reply_route(skb, at, ct_rule_answered(skb, &packet, at));
}

char _license[] SEC("license") = "Dual BSD/GPL";
