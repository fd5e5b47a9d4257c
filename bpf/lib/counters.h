// Drops and events, counted per CPU. A drop has a name (abi.h); there is no way to drop without one.
#pragma once

#include "lib/base.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NK_COUNTER_ROOM);
	__type(key, __u32);
	__type(value, struct nk_counter_value);
} counters SEC(".maps");

static __always_inline void nk_count(const struct __sk_buff *skb, enum nk_counter counter)
{
	__u32 index = counter;
	struct nk_counter_value *value = bpf_map_lookup_elem(&counters, &index);

	if (!value)
		return;
	value->packets++;
	value->bytes += skb->len;
}

// TCX_DROP and NETKIT_DROP are the same number (linux/bpf.h, linux/if_link.h).
static __always_inline int nk_drop(const struct __sk_buff *skb, enum nk_counter reason)
{
	nk_count(skb, reason);
	return TCX_DROP;
}
