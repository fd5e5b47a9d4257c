// What every program needs: the UAPI types, libbpf's helpers, the ABI shared with the daemon.
//
// Everything here is written once for IPv4 and IPv6. `family` is a constant wherever a packet's way is decided, and the
// compiler makes two programs of it; only what few packets need (making a flow) decides at run time.
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/stddef.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

// asm-generic/errno-base.h
#define NK_EEXIST 17

// The result of a step: one of these, or the counter (>= 0) of the reason to drop.
#define NK_OK (-1)
#define NK_NO_FLOW (-2)
#define NK_HOST_FLOW (-3)

// skb->tc_index (beside those in abi.h) of what was handed to the stack because it is too big and may be fragmented: it
// leaves with the container's address, to be translated, or not at all.
#define NK_TC_INDEX_TOO_BIG 0x6e6d

// include/linux/socket.h: AF_INET, AF_INET6
enum nk_family {
	NK_IPV4 = 2,
	NK_IPV6 = 10,
};

// A global function: the verifier looks at it once, by itself, and not again for every way that leads to a call. What
// costs many states (a flow's making, errors, fragments) is behind one; the programs' load takes a third of the time.
// Its arguments are the packet, numbers, and pointers to structures without pointers; such a pointer may be NULL for
// all that the verifier knows. It returns a number.
#define NK_GLOBAL __noinline
