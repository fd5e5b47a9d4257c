// The way to the outside: the host's routing decision for a packet of a container, and what a flow remembers of it.
//
// bpf_fib_lookup() does what the stack would: policy rules, multipath, next hop, neighbour, source address. With
// `tot_len` set it also compares the route's MTU, before it looks at the neighbour (net/core/filter.c), so that no
// result below says "go" for a packet that does not fit.
//
// What was answered is believed for about a second, or until the daemon says that something changed, whichever comes
// first (nk_stamp): by a masqueraded flow, for its own packets, and by a container, for new flows to the same address.
// So most packets are spared the look-up, and a change takes effect within a second even while no daemon runs. Now and
// then a packet goes by way of the kernel's neighbour, which keeps that one checked and resolved: a next hop whose MAC
// changes is noticed as it is for the host's own traffic.
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/node.h"
#include "lib/packet/parse.h"
#include "lib/packet/rewrite.h"
#include "lib/packet/skb.h"
#include "lib/uplink_set.h"

#define NK_MAX_U16 0xffff

// include/linux/skbuff.h: GSO_BY_FRAGS
#define NK_GSO_BY_FRAGS 0xffff

// Network-layer bytes of the largest frame this packet becomes on the wire.
static __always_inline __u32 nk_wire_len(const struct __sk_buff *skb, const struct nk_ip *ip, const struct nk_l4 *l4)
{
	__u32 headers = ip->header_len + l4->header_len - (ip->jumbo ? NK_JUMBO_HEADER_LEN : 0);
	__u32 len = skb->gso_size ? headers + skb->gso_size : skb->len - ETH_HLEN;

	// SCTP's segments are of any size, and were made by the MTU of the container's path.
	if (skb->gso_size == NK_GSO_BY_FRAGS)
		return ip->header_len + l4->header_len;
	return len < NK_MAX_U16 ? len : NK_MAX_U16;
}

struct bpf_fib_lookup___marked {
	__u32 mark;
} __attribute__((preserve_access_index));

// For policy rules that look at marks. A container's packet has one only if another program gave it one, on the host's
// end before this one. Before Linux 6.10 the FIB cannot be asked with it; rules then see none.
static __always_inline __u32 nk_with_mark(const struct __sk_buff *skb, struct bpf_fib_lookup *fib)
{
	if (!skb->mark || !bpf_core_field_exists(struct bpf_fib_lookup___marked, mark))
		return 0;
	fib->mark = skb->mark;
	return BPF_FIB_LOOKUP_MARK;
}

// The helper's result (BPF_FIB_LKUP_RET_*, or a negative errno), with `fib` filled.
static __always_inline long nk_ask_fib4(struct __sk_buff *skb, const struct nk_flow6_key *key, __u8 tos, __u32 wire_len,
					struct bpf_fib_lookup *fib)
{
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->family = NK_IPV4;
	fib->l4_protocol = key->proto;
	fib->sport = key->sport;
	fib->dport = key->dport;
	fib->tot_len = wire_len;
	fib->ifindex = node.host_device;
	fib->tos = tos;
	fib->ipv4_src = key->saddr.word[0];
	fib->ipv4_dst = key->daddr.word[0];
	return bpf_fib_lookup(skb, fib, sizeof(*fib), BPF_FIB_LOOKUP_SRC | nk_with_mark(skb, fib));
}

// Without the flow label: like IPv4's, all flows between two addresses take the same one of several next hops.
static __always_inline long nk_ask_fib6(struct __sk_buff *skb, const struct nk_flow6_key *key, __be32 traffic_class,
					__u32 wire_len, __u32 flags, struct bpf_fib_lookup *fib)
{
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->family = NK_IPV6;
	fib->l4_protocol = key->proto;
	fib->sport = key->sport;
	fib->dport = key->dport;
	fib->tot_len = wire_len;
	fib->ifindex = node.host_device;
	fib->flowinfo = traffic_class;
	__builtin_memcpy(fib->ipv6_src, &key->saddr, sizeof(fib->ipv6_src));
	__builtin_memcpy(fib->ipv6_dst, &key->daddr, sizeof(fib->ipv6_dst));
	return bpf_fib_lookup(skb, fib, sizeof(*fib), flags | nk_with_mark(skb, fib));
}

static __always_inline bool nk_stack_heeds_mtu(__u32 mtu)
{
	if (node.mtu_count > NK_MAX_MTUS)
		return true;
	for (__u32 i = 0; i < NK_MAX_MTUS && i < node.mtu_count; i++) {
		if (node.mtus[i] == mtu)
			return true;
	}
	return false;
}

// Who asked, and for where to: all that an answer depends on where the host routes by addresses (skb.h). A container
// has one address of a family.
struct nk_route_key {
	struct nk_addr daddr;
	__u32 container_ifindex; // 0: nobody, the answer was for one packet
	__u16 family;
	__u8 proto; // IPv6's multipath looks at it
	__u8 tos;   // IPv4
};

static __always_inline bool nk_route_key_equal(enum nk_family family, const struct nk_route_key *one,
					       const struct nk_route_key *other)
{
	return nk_addr_equal(family, &one->daddr, &other->daddr) &&
	       one->container_ifindex == other->container_ifindex && one->family == other->family &&
	       one->proto == other->proto && one->tos == other->tos;
}

// A packet's way. It is in a map because the stack has no room for it, and stays there for the next packet to the same
// address. The source comes with an IPv4 route; for IPv6 the kernel goes through the addresses of all devices, each
// container's too (ipv6_dev_get_saddr), so that it is asked for new flows only.
struct nk_route {
	struct nk_route_key key;
	__u32 stamp;  // of when it was asked for
	__s32 result; // BPF_FIB_LKUP_RET_SUCCESS, or NO_NEIGH: the next hop's MAC is not known; or why there is no way
	struct bpf_fib_lookup fib;
	struct nk_addr source6;
	bool source6_known;
	bool to_uplink; // the way leads to one
	__u8 unused[2];
	struct nk_addr own;    // another address that was found to be the host's; unset if none was
	struct nk_addr routed; // the container's, if a packet of it went this way with it; else unset (fast.h)
};

static __always_inline bool nk_has_next_hop(const struct nk_route *route)
{
	return route->result == BPF_FIB_LKUP_RET_SUCCESS || route->result == BPF_FIB_LKUP_RET_NO_NEIGH;
}

// In place of BPF_FIB_LKUP_RET_*. Where a rule suppresses routes (wg-quick's: the main table without its default one),
// the kernel heeds that for packets of its own, but in IPv6 not for who asks without one (fib6_rule_suppress() in
// net/ipv6/fib6_rules.c): its answer may lead past the tunnel.
#define NK_WAY_SUPPRESSED 0x100

// `class`: the type of service, or the traffic class.
static __noinline void nk_ask_fib(struct __sk_buff *skb, const struct nk_flow6_key *key, __be32 class, __u32 wire_len,
				  struct nk_route *route)
{
	route->result = route->key.family == NK_IPV4 ? nk_ask_fib4(skb, key, class, wire_len, &route->fib)
						     : nk_ask_fib6(skb, key, class, wire_len, 0, &route->fib);
	if (route->key.family == NK_IPV6 && node.suppressed6)
		route->result = NK_WAY_SUPPRESSED;
	route->to_uplink = nk_is_uplink(&route->fib.ifindex);
}

#define NK_ROUTES_BITS 8

// Knuth's multiplicative hash (The Art of Computer Programming, 6.4).
#define NK_HASH_FACTOR 2654435769U

// Of each CPU its own, so that nobody reads what another is just writing. A slot may be taken over by another address.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << NK_ROUTES_BITS);
	__type(key, __u32);
	__type(value, struct nk_route);
} routes SEC(".maps");

static __always_inline struct nk_route *nk_route_slot(enum nk_family family, const struct nk_addr *daddr)
{
	__u32 slot = daddr->word[0];

	if (family == NK_IPV6)
		slot ^= daddr->word[1] ^ daddr->word[2] ^ daddr->word[3];
	slot = slot * NK_HASH_FACTOR >> (32 - NK_ROUTES_BITS);
	return bpf_map_lookup_elem(&routes, &slot);
}

static __always_inline bool nk_route_is_known(enum nk_family family, const struct nk_route *route,
					      const struct nk_route_key *key, __u32 stamp, __u32 wire_len)
{
	return route->stamp == stamp && nk_route_key_equal(family, &route->key, key) &&
	       route->result == BPF_FIB_LKUP_RET_SUCCESS && wire_len <= route->fib.mtu_result;
}

// The packet is larger than the path's MTU. If that is one that the host learned for its own connections to the same
// address, the stack forwards without regard to it (ip_forward_use_pmtu, Documentation/networking/ip-sysctl.rst), and
// so do we: the router that minds will say so to the container. Else the answer stays, and the stack repeats it.
static __noinline void nk_ask_past_learned_mtu(struct __sk_buff *skb, const struct nk_flow6_key *key, __be32 class,
					       __u32 wire_len, struct nk_route *route)
{
	if (nk_stack_heeds_mtu(route->fib.mtu_result))
		return;
	nk_ask_fib(skb, key, class, 0, route);
	// Without a length to compare, the device's MTU comes back, after a look at the packet's length: with the
	// Ethernet header that it still has, also where the device has none (is_skb_forwardable in net/core/dev.c).
	if ((route->result == BPF_FIB_LKUP_RET_SUCCESS || route->result == BPF_FIB_LKUP_RET_FRAG_NEEDED) &&
	    wire_len <= route->fib.mtu_result)
		route->result = BPF_FIB_LKUP_RET_SUCCESS;
	else
		route->result = BPF_FIB_LKUP_RET_FRAG_NEEDED;
}

// Fills the packet's slot with its way. 0.
NK_GLOBAL int nk_find_route(struct __sk_buff *skb, const struct nk_flow6_key *key, int family, __be32 class,
			    __u32 wire_len)
{
	bool by_address = nk_routes_by_address(skb, family);
	struct nk_route_key route_key = {
	    .container_ifindex = by_address ? skb->ifindex : 0,
	    .family = family,
	    .tos = family == NK_IPV4 ? class : 0,
	};
	__u32 stamp = nk_stamp();
	struct nk_route *route;

	if (!key)
		return 0;
	route_key.daddr = key->daddr;
	route_key.proto = key->proto;
	route = nk_route_slot(family, &key->daddr);
	if (!route || (by_address && nk_route_is_known(family, route, &route_key, stamp, wire_len)))
		return 0;
	route->key = route_key;
	route->stamp = stamp;
	route->source6_known = false;
	route->own = (struct nk_addr){};
	route->routed = (struct nk_addr){};
	nk_ask_fib(skb, key, class, wire_len, route);
	if (route->result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		nk_ask_past_learned_mtu(skb, key, class, wire_len, route);
	return 0;
}

// The route of this packet; NULL cannot be.
static __always_inline struct nk_route *nk_route_of(struct __sk_buff *skb, const struct nk_flow6_key *key,
						    enum nk_family family, __be32 class, __u32 wire_len)
{
	nk_find_route(skb, key, family, class, wire_len);
	return nk_route_slot(family, &key->daddr);
}

static __always_inline __be32 nk_class(const struct nk_ip *ip)
{
	return ip->family == NK_IPV4 ? ip->tos : ip->traffic_class;
}

static __always_inline bool nk_same_way(const struct bpf_fib_lookup *one, const struct bpf_fib_lookup *other)
{
	return one->ifindex == other->ifindex && one->ipv6_dst[0] == other->ipv6_dst[0] &&
	       one->ipv6_dst[1] == other->ipv6_dst[1] && one->ipv6_dst[2] == other->ipv6_dst[2] &&
	       one->ipv6_dst[3] == other->ipv6_dst[3];
}

// Whether `route` is the way of now, answered with its source. The length was compared before; without one the kernel
// takes the packet's (nk_ask_past_learned_mtu).
static __noinline bool nk_ask_source6(struct __sk_buff *skb, const struct nk_flow6_key *key, __be32 traffic_class,
				      struct nk_route *route)
{
	struct bpf_fib_lookup fib;

	if (nk_ask_fib6(skb, key, traffic_class, 1, BPF_FIB_LOOKUP_SRC, &fib) != route->result ||
	    !nk_same_way(&fib, &route->fib))
		return false;
	__builtin_memcpy(&route->source6, fib.ipv6_src, sizeof(route->source6));
	return true;
}

// The host's routes may have changed since `route` was asked for, which may be a second ago. Then it is asked for anew,
// once: a new flow's first packet need not be lost.
static __noinline void nk_find_source6(struct __sk_buff *skb, const struct nk_flow6_key *key, __be32 traffic_class,
				       __u32 wire_len, struct nk_route *route)
{
	route->source6 = (struct nk_addr){};
	route->source6_known = true;
	if (nk_ask_source6(skb, key, traffic_class, route))
		return;
	nk_ask_fib(skb, key, traffic_class, wire_len, route);
	if (nk_has_next_hop(route) && route->to_uplink)
		nk_ask_source6(skb, key, traffic_class, route);
}

// The node's address that the routing table chooses for a packet that goes this way; unset if there is none.
static __always_inline struct nk_addr nk_route_source(struct __sk_buff *skb, enum nk_family family,
						      const struct nk_flow6_key *key, __be32 traffic_class,
						      __u32 wire_len, struct nk_route *route)
{
	if (family == NK_IPV4)
		return nk_addr4(route->fib.ipv4_src);
	if (!route->source6_known)
		nk_find_source6(skb, key, traffic_class, wire_len, route);
	return route->source6;
}

static __noinline long nk_ask_way(struct __sk_buff *skb, enum nk_family family, const struct nk_flow6_key *key,
				  const struct nk_addr *daddr)
{
	struct bpf_fib_lookup fib = {.family = family, .ifindex = node.host_device};

	if (family == NK_IPV4) {
		fib.ipv4_src = key->saddr.word[0];
		fib.ipv4_dst = daddr->word[0];
	} else {
		__builtin_memcpy(fib.ipv6_src, &key->saddr, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, daddr, sizeof(fib.ipv6_dst));
	}
	return bpf_fib_lookup(skb, &fib, sizeof(fib), BPF_FIB_LOOKUP_SKIP_NEIGH);
}

// Whether the host has this address. The FIB gives one answer for the host's own addresses and for those that no route
// leads to, so it means something only where there is a default route: one that leads to what nobody has, 240.0.0.1
// (RFC 1112, 4) or 4000:: (RFC 4291, 2.4, not assigned).
static __noinline bool nk_is_own(struct __sk_buff *skb, enum nk_family family, const struct nk_flow6_key *key,
				 const struct nk_addr *addr)
{
	struct nk_addr nobody = {.word = {bpf_htonl(family == NK_IPV4 ? 0xf0000001 : 0x40000000)}};

	long result;

	if (nk_ask_way(skb, family, key, addr) != BPF_FIB_LKUP_RET_NOT_FWDED)
		return false;
	result = nk_ask_way(skb, family, key, &nobody);
	return result == BPF_FIB_LKUP_RET_SUCCESS || result == BPF_FIB_LKUP_RET_FRAG_NEEDED;
}

// Whether a flow may still have this source: what the route's is now, or another that the host has (its choice may have
// changed since the flow began). One that was taken away must not leave any more.
static __always_inline bool nk_may_be_source(struct __sk_buff *skb, enum nk_family family,
					     const struct nk_flow6_key *key, struct nk_route *route,
					     const struct nk_addr *addr)
{
	if (family == NK_IPV4 ? addr->word[0] == route->fib.ipv4_src
			      : route->source6_known && nk_addr_equal(family, addr, &route->source6))
		return true;
	if (nk_addr_equal(family, addr, &route->own))
		return true;
	if (!nk_is_own(skb, family, key, addr))
		return false;
	route->own = *addr;
	return true;
}

// Two CPUs may do this at once: the stamp is written last, so that it never vouches for what is not there yet.
static __always_inline void nk_route_remember(struct nk_flow *flow, const struct nk_route *route,
					      __u32 container_ifindex)
{
	flow->uplink_ifindex = route->fib.ifindex;
	if (route->result != BPF_FIB_LKUP_RET_SUCCESS)
		return;
	flow->mtu = route->fib.mtu_result;
	flow->container_ifindex = container_ifindex;
	__builtin_memcpy(flow->next_hop_mac, route->fib.dmac, ETH_ALEN);
	__builtin_memcpy(flow->uplink_mac, route->fib.smac, ETH_ALEN);
	barrier();
	flow->stamp = route->stamp;
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
