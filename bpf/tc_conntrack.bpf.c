// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* tc_conntrack: keeps the table of connections, in both directions. It never drops: that is for rules to say. */
#include "lib/carry.h"
#include "lib/conntrack.h"

/* Types that user space decodes but that no map names. */
enum ct_state *emit_ct_state;
enum ct_flag *emit_ct_flag;
enum ct_word *emit_ct_word;
enum ct_judged *emit_ct_judged;
enum ct_setting *emit_ct_setting;
enum ct_stat *emit_ct_stat;

SEC("tc")
int tc_conntrack_ingress(struct __sk_buff *skb)
{
	begin_tc(skb);
	return -1;
}

SEC("tc")
int tc_conntrack_egress(struct __sk_buff *skb)
{
	begin_tc(skb);
	return -1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
