// The devices that containers may send out by: those whose programs are there (netd/node/uplinks.h). Asked when the FIB
// is.
#pragma once

#include "lib/base.h"
#include "lib/node.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * NK_MAX_UPLINKS); // all the old ones and all the new ones
	__type(key, __u32);			 // ifindex
	__type(value, __u32);			 // enum nk_uplink_flag
} uplinks SEC(".maps");

// A pointer, to what need not be copied to the callers' stack.
static __always_inline bool nk_is_uplink(const __u32 *ifindex)
{
	return bpf_map_lookup_elem(&uplinks, ifindex);
}

static __noinline bool nk_has_uplink_flag(__u32 ifindex, enum nk_uplink_flag flag)
{
	const __u32 *flags = bpf_map_lookup_elem(&uplinks, &ifindex);

	return flags && *flags & flag;
}

// Of the device that a packet came by, or leaves by: a bridge of this host's containers or machines, behind which there
// is nobody else.
static __always_inline bool nk_is_inner_bridge(__u32 ifindex)
{
	return node.has_inner_bridge && nk_has_uplink_flag(ifindex, NK_UPLINK_INNER_BRIDGE);
}
