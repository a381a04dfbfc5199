/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Verdicts and the reasons for them, shared with user space through BTF. */
#pragma once

enum verdict {
	VERDICT_PASS = 1,
	VERDICT_DROP = 2,
	/* Drop, and answer the sender if that may be. */
	VERDICT_REJECT = 3,
};

/* Why a packet got its verdict: each packet is counted under exactly one. docs/kinds/firewall.md lists them. */
enum fw_reason {
	FW_REASON_UNBOUND = 0,
	FW_REASON_NON_IP_PASS,
	FW_REASON_NON_IP_DROP,
	FW_REASON_RULE_PASS,
	FW_REASON_RULE_DROP,
	FW_REASON_DEFAULT_PASS,
	FW_REASON_DEFAULT_DROP,
	FW_REASON_TRUNCATED_ETHERNET,
	FW_REASON_TRUNCATED_VLAN,
	FW_REASON_TOO_MANY_TAGS,
	FW_REASON_TRUNCATED_IP,
	FW_REASON_BAD_IP_VERSION,
	FW_REASON_BAD_IP_HEADER,
	FW_REASON_BAD_FRAGMENT,
	FW_REASON_TOO_MANY_EXTENSION_HEADERS,
	FW_REASON_BAD_EXTENSION_HEADER,
	FW_REASON_TRUNCATED_EXTENSION_HEADER,
	FW_REASON_TRUNCATED_TRANSPORT,
	FW_REASON_BAD_TRANSPORT,
	FW_REASON_INTERNAL_ERROR,
	/* Rejected, and the sender was answered. */
	FW_REASON_REJECT,
	/* Rejected without an answer: nobody may answer such a packet, or there were too many. */
	FW_REASON_REJECT_SILENT,
	/* The packet went where its rule sends it. */
	FW_REASON_ROUTED,
	/* It has no time left to be sent on: the host got it, to say so. */
	FW_REASON_ROUTE_EXPIRED,
	/* It could not go where its rule sends it: dropped. */
	FW_REASON_NO_ROUTE,
	FW_REASON_TOO_BIG,
	/* Of a connection that was let through before: rules were not asked. */
	FW_REASON_ESTABLISHED,
	/* The source has had more connections than its rule allows, and is blocked for a time. */
	FW_REASON_BLOCKED,
	/* A connection more than its rule allows, of its source or of all. */
	FW_REASON_LIMIT,
	/* It cannot be counted, since the table of connections is full. */
	FW_REASON_TABLE_FULL,
};
#define FW_REASONS (FW_REASON_TABLE_FULL + 1)

/* What the parser returns for a packet without fault. */
#define PARSED (-1)

/* What a packet is to the connections that are known; bits of fw_rule.states. */
enum connection_state {
	CONNECTION_STATE_NEW = 1,
	CONNECTION_STATE_ESTABLISHED = 2,
	CONNECTION_STATE_RELATED = 4,
	CONNECTION_STATE_INVALID = 8,
};
