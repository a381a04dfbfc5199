/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every program includes first: kernel types, libbpf's macros, and the few words of our own on top. */
#pragma once

#include <stddef.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define NS_PER_S 1000000000ULL

#define READ_ONCE(x)   (*(const volatile typeof(x) *)&(x))
#define barrier()      asm volatile("" ::: "memory")
#define likely(x)      __builtin_expect(!!(x), 1)
#define unlikely(x)    __builtin_expect(!!(x), 0)
#define __maybe_unused __attribute__((unused))

/* From here on the compiler knows nothing about the value of @var. */
#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif
