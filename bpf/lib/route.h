// The way to the outside: the host's routing decision for a packet of a container, and what a flow remembers of it.
//
// bpf_fib_lookup() does what the stack would: policy rules, multipath, next hop, neighbour, source address. With
// `tot_len` set it also compares the route's MTU, before it looks at the neighbour (net/core/filter.c), so that no
// result below says "go" for a packet that does not fit.
//
// A masqueraded flow remembers the answer for about a second, or until the daemon says that a route changed, whichever
// comes first (nk_route_stamp). So most packets are spared the look-up, and a change takes effect within a second even
// while no daemon runs. The packet that asks anew goes by way of the kernel's neighbour, which keeps that one checked
// and resolved: a next hop whose MAC changes is noticed as it is for the host's own traffic.
#pragma once

#include "base.h"
#include "counters.h"
#include "node.h"
#include "parse.h"
#include "rewrite.h"

#define NK_MAX_U16 0xffff

// Network-layer bytes of the largest frame this packet becomes on the wire.
static __always_inline __u32 nk_wire_len(const struct __sk_buff *skb, const struct nk_ip *ip, const struct nk_l4 *l4)
{
	__u32 len = skb->gso_size ? ip->header_len + l4->header_len + skb->gso_size : skb->len - ETH_HLEN;

	return len < NK_MAX_U16 ? len : NK_MAX_U16;
}

// The helper's result (BPF_FIB_LKUP_RET_*, or a negative errno), with `fib` filled.
static __always_inline long nk_find_route(struct __sk_buff *skb, const struct nk_ip *ip, const struct nk_flow6_key *key,
					  __u32 wire_len, struct bpf_fib_lookup *fib)
{
	fib->family = ip->family;
	fib->l4_protocol = key->proto;
	fib->sport = key->sport;
	fib->dport = key->dport;
	fib->tot_len = wire_len;
	fib->ifindex = skb->ifindex;
	if (ip->family == NK_IPV4) {
		fib->tos = ip->tos;
		fib->ipv4_src = key->saddr.word[0];
		fib->ipv4_dst = key->daddr.word[0];
	} else {
		fib->flowinfo = ip->flow_info;
		__builtin_memcpy(fib->ipv6_src, &key->saddr, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, &key->daddr, sizeof(fib->ipv6_dst));
	}
	return bpf_fib_lookup(skb, fib, sizeof(*fib), BPF_FIB_LOOKUP_SRC);
}

// The node's address that the routing table chose. (`ipv6_src` is a union with `ipv4_src`.)
static __always_inline struct nk_addr nk_route_source(enum nk_family family, const struct bpf_fib_lookup *fib)
{
	struct nk_addr addr;

	if (family == NK_IPV4)
		return nk_addr4(fib->ipv4_src);
	__builtin_memcpy(&addr, fib->ipv6_src, sizeof(addr));
	return addr;
}

// A route that was found: the helper's answer, and its result.
struct nk_route {
	struct bpf_fib_lookup fib;
	long result; // BPF_FIB_LKUP_RET_SUCCESS, or NO_NEIGH: the next hop's MAC is not known
};

// Two CPUs may do this at once: the stamp is written last, so that it never vouches for what is not there yet.
static __always_inline void nk_route_remember(struct nk_flow *flow, const struct nk_route *route,
					      __u32 container_ifindex)
{
	if (route->result != BPF_FIB_LKUP_RET_SUCCESS)
		return;
	flow->mtu = route->fib.mtu_result;
	flow->container_ifindex = container_ifindex;
	__builtin_memcpy(flow->next_hop_mac, route->fib.dmac, ETH_ALEN);
	__builtin_memcpy(flow->uplink_mac, route->fib.smac, ETH_ALEN);
	barrier();
	flow->stamp = nk_stamp();
}

// Next hops that a packet went to by way of the kernel's neighbour, and when; a slot may be taken over by another.
struct nk_next_hop {
	__u32 stamp;
	__u32 ifindex;
	struct nk_addr addr;
};

#define NK_NEXT_HOPS 64

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NK_NEXT_HOPS);
	__type(key, __u32);
	__type(value, struct nk_next_hop);
} next_hops SEC(".maps");

// Whether the kernel's neighbour was used for this next hop while the stamp was what it is; and notes that it is now.
static __always_inline bool nk_next_hop_is_checked(const struct bpf_fib_lookup *fib)
{
	__u32 slot =
	    (fib->ipv6_dst[0] ^ fib->ipv6_dst[3] ^ (fib->ipv6_dst[0] >> 24) ^ (fib->ipv6_dst[3] >> 24)) % NK_NEXT_HOPS;
	struct nk_next_hop *known = bpf_map_lookup_elem(&next_hops, &slot);
	__u32 stamp = nk_stamp();

	if (!known)
		return false;
	if (known->stamp == stamp && known->ifindex == fib->ifindex && known->addr.word[0] == fib->ipv6_dst[0] &&
	    known->addr.word[1] == fib->ipv6_dst[1] && known->addr.word[2] == fib->ipv6_dst[2] &&
	    known->addr.word[3] == fib->ipv6_dst[3])
		return true;
	__builtin_memcpy(&known->addr, fib->ipv6_dst, sizeof(known->addr));
	known->ifindex = fib->ifindex;
	known->stamp = stamp;
	return false;
}

// Sends a finished packet to the next hop: now and then by way of the kernel's neighbour, which resolves it while the
// packet waits if it is not known, and checks it if it is; else directly.
static __always_inline int nk_send(struct __sk_buff *skb, const struct nk_route *route)
{
	struct bpf_redir_neigh next_hop = {.nh_family = route->fib.family};

	if (route->result == BPF_FIB_LKUP_RET_NO_NEIGH) {
		nk_count(skb, NK_EVENT_NEIGHBOUR_MISSING);
	} else if (nk_next_hop_is_checked(&route->fib)) {
		if (!nk_write_macs(skb, route->fib.dmac, route->fib.smac))
			return nk_drop(skb, NK_DROP_REWRITE_FAILED);
		return bpf_redirect(route->fib.ifindex, 0);
	}
	__builtin_memcpy(next_hop.ipv6_nh, route->fib.ipv6_dst, sizeof(next_hop.ipv6_nh));
	return bpf_redirect_neigh(route->fib.ifindex, &next_hop, sizeof(next_hop), 0);
}
