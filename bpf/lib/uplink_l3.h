// Uplinks whose packets have no Ethernet header.
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/nat/fast.h"
#include "lib/packet/parse.h"
#include "lib/uplink.h"

// All that is said of packets in these files counts on an Ethernet header, so one that comes in gets one, of zeros.
// Whoever receives it, the host's stack or a container, does not see that: the kernel takes what is before the network
// header for the link's own and removes it (mac_len: bpf_skb_change_head in net/core/filter.c, sch_handle_ingress in
// net/core/dev.c). Only another program behind this one does.
static __always_inline bool nk_l3_add_header(struct __sk_buff *skb)
{
	return !bpf_skb_change_head(skb, ETH_HLEN, 0);
}

// No memory for it, or a packet of 16 KiB and more that is no GSO one: it is the host's, and never a container's.
static __noinline int nk_l3_without_header(struct __sk_buff *skb)
{
	bool to_prefix = false;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		const struct iphdr *ip4 = nk_header(skb, 0, sizeof(*ip4));

		to_prefix = ip4 && nk_destination_network(NK_IPV4, ip4);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		const struct ipv6hdr *ip6 = nk_header(skb, 0, sizeof(*ip6));

		to_prefix = ip6 && nk_destination_network(NK_IPV6, ip6);
	}
	return to_prefix ? nk_drop(skb, NK_DROP_REWRITE_FAILED) : TCX_NEXT;
}
