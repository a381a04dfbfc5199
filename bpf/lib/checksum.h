/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The Internet checksum (RFC 1071). Sums are of words as they stand in memory, so that neither order of bytes
 * matters; they are 64 bits wide and folded once, at the end.
 */
#pragma once

#include "lib/kernel.h"

/* What goes into a checksum field for @sum. */
static __always_inline __u16 fold_checksum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* @size is a constant and a multiple of four. */
static __always_inline __u64 sum_words(const void *from, __u32 size)
{
	const __u32 *words = from;
	__u64 sum = 0;

	for (__u32 i = 0; i < size / 4; i++)
		sum += words[i];
	return sum;
}

/* A header's @checksum after one of its words became @new (RFC 1624); a wrong one stays wrong. */
static __always_inline __u16 update_checksum(__u16 checksum, __u16 old, __u16 new)
{
	return fold_checksum((__u64)(__u16)~checksum + (__u16)~old + new);
}
