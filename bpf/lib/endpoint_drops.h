// What was dropped of the packets that a container sent, by endpoint and reason: whoever asks why a container gets no
// answer is told of its own. Nothing that is not dropped comes here, but for the flows of the host's that get no entry
// (NK_DROPS_OF_HOST).
#pragma once

#include "lib/base.h"
#include "lib/counters.h"

// The daemon makes an endpoint's entry, and removes it.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); // ifindex of the host's end
	__type(value, struct nk_endpoint_drops);
} endpoint_drops SEC(".maps");

// `route_ifindex`: of the device that the route led to, or zero.
static __noinline int nk_note_drop(__u32 ifindex, __u32 reason, __u32 route_ifindex)
{
	struct nk_endpoint_drops *drops = bpf_map_lookup_elem(&endpoint_drops, &ifindex);

	if (!drops || reason >= NK_DROP_COUNT || reason >= NK_DROP_ROOM)
		return 0;
	__sync_fetch_and_add(&drops->packets[reason], 1);
	drops->last_ns[reason] = bpf_ktime_get_coarse_ns();
	if (route_ifindex)
		drops->no_uplink_ifindex = route_ifindex;
	return 0;
}

// Of a packet from a container, by its program.
static __always_inline int nk_drop_sent(struct __sk_buff *skb, enum nk_counter reason)
{
	nk_note_drop(skb->ifindex, reason, 0);
	return nk_drop(skb, reason);
}
