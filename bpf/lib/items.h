// What the daemon asks of the programs that it runs itself: a packet of an Ethernet header and the items behind it,
// which come back answered (netd/datapath/run_program.h). Each program goes through them by bpf_loop, with a callback
// that ends at the first one that is not there.
#pragma once

#include "lib/base.h"

struct nk_items {
	struct __sk_buff *skb;
	__u32 answered;
};

static __always_inline bool nk_read_item(const struct nk_items *items, __u32 index, void *item, __u32 size)
{
	return !bpf_skb_load_bytes(items->skb, ETH_HLEN + index * size, item, size);
}

static __always_inline bool nk_answer_item(struct nk_items *items, __u32 index, const void *item, __u32 size)
{
	if (bpf_skb_store_bytes(items->skb, ETH_HLEN + index * size, item, size, 0))
		return false;
	items->answered = index + 1;
	return true;
}
