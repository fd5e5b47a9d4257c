// The host's routing decision for a packet of a container, and the way out.
//
// bpf_fib_lookup() does what the stack would: policy rules, multipath, next hop, neighbour, source address. With
// `tot_len` set it also compares the route's MTU, before it looks at the neighbour (net/core/filter.c), so that no
// result below says "go" for a packet that does not fit.
#pragma once

#include "base.h"
#include "counters.h"
#include "node.h"
#include "parse.h"
#include "rewrite.h"

// include/linux/socket.h: AF_INET
#define NK_AF_INET 2
#define NK_MAX_U16 0xffff

// Network-layer bytes of the largest frame this packet becomes on the wire.
static __always_inline __u32 nk_wire_len(const struct __sk_buff *skb, const struct nk_ipv4 *ip, const struct nk_l4 *l4)
{
	__u32 len = skb->gso_size ? ip->header_len + l4->header_len + skb->gso_size : skb->len - ETH_HLEN;

	return len < NK_MAX_U16 ? len : NK_MAX_U16;
}

// The helper's result (BPF_FIB_LKUP_RET_*, or a negative errno), with `fib` filled.
static __always_inline long nk_fib4(struct __sk_buff *skb, const struct nk_ipv4 *ip, const struct nk_l4 *l4,
				    struct bpf_fib_lookup *fib)
{
	fib->family = NK_AF_INET;
	fib->l4_protocol = ip->proto;
	fib->sport = l4->sport;
	fib->dport = l4->dport;
	fib->tot_len = nk_wire_len(skb, ip, l4);
	fib->ifindex = skb->ifindex;
	fib->tos = ip->tos;
	fib->ipv4_src = ip->saddr;
	fib->ipv4_dst = ip->daddr;
	return bpf_fib_lookup(skb, fib, sizeof(*fib), BPF_FIB_LOOKUP_SRC);
}

// Sends a finished packet to the next hop. `result` is SUCCESS or NO_NEIGH: for the latter, the kernel resolves the
// neighbour and holds the packet meanwhile.
static __always_inline int nk_send(struct __sk_buff *skb, long result, const struct bpf_fib_lookup *fib)
{
	struct bpf_redir_neigh next_hop = {.nh_family = fib->family};

	if (result == BPF_FIB_LKUP_RET_SUCCESS) {
		if (!nk_write_macs(skb, fib->dmac, fib->smac))
			return nk_drop(skb, NK_DROP_REWRITE_FAILED);
		return bpf_redirect(fib->ifindex, 0);
	}
	__builtin_memcpy(next_hop.ipv6_nh, fib->ipv6_dst, sizeof(next_hop.ipv6_nh));
	nk_count(skb, NK_EVENT_NEIGHBOUR_MISSING);
	return bpf_redirect_neigh(fib->ifindex, &next_hop, sizeof(next_hop), 0);
}
