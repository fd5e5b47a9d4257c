// netkitd0, where the host's stack and the containers meet. The routes to the containers' prefixes lead to it, and its
// egress program is the one way for what the host sends to a container (to_container.h). What a container sends to the
// host, or its program hands to the stack, comes in there: from where the route to the container leads, so that a
// strict rp_filter lets it in, and one device's `forwarding` serves for all.
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/node.h"
#include "lib/packet/parse.h"
#include "lib/packet/skb.h"

// The stack ignores a frame with another device's Ethernet address (eth_type_trans() in net/ethernet/eth.c). A helper
// writes it: a direct write would make the kernel copy the headers of the host's own packets.
static __always_inline bool nk_address_to_host(struct __sk_buff *skb)
{
	const volatile __u16 *own = (const volatile __u16 *)node.host_device_mac;
	const struct ethhdr *header = nk_header(skb, 0, sizeof(*header));
	const __u16 mac[] = {own[0], own[1], own[2]};
	const __u16 *is;

	if (!header)
		return false;
	is = (const __u16 *)header->h_dest;
	return (is[0] == mac[0] && is[1] == mac[1] && is[2] == mac[2]) ||
	       !bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0);
}

// A function of its own: many ways lead here.
static __noinline int nk_to_host(struct __sk_buff *skb)
{
	if (!nk_address_to_host(skb))
		return nk_drop(skb, NK_DROP_REWRITE_FAILED);
	return bpf_redirect(node.host_device, BPF_F_INGRESS);
}

// Of a packet at a device's egress: whether the host forwards it for a container of ours. (What another namespace's
// stack sends has that one's numbers of devices.)
static __always_inline bool nk_comes_from_container(struct __sk_buff *skb)
{
	return skb->ingress_ifindex == node.host_device && !nk_is_of_another_stack(skb, node.host_netns_cookie);
}
