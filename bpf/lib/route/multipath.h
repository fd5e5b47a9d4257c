// Whether a flow goes on when the route of its packets leads by another uplink than before.
//
// With the address that a new flow would get there, it does. Else it would end: out of an uplink that its address is
// not of, no reply would come back. But where a route has several next hops the kernel chooses one by a hash of the
// addresses (and of the ports, if the host says so), so that a flow goes one way only as long as the next hops are the
// same ones. When there is one more or one less, some flows are hashed to another, though theirs is still there.
//
// So theirs is looked for: the hash is asked for other addresses of the container's network until one is led there.
// Nothing needs to be known of the host's routes for that, and the answer has all that a way needs. Policy rules are
// asked as for the container, unless they are about a part of its network.
#pragma once

#include "lib/base.h"
#include "lib/nat/masquerade.h"
#include "lib/node.h"
#include "lib/route/route.h"
#include "lib/uplink_set.h"

// Of eight equal next hops, each is found but for once in 5000 times.
#define NK_WAY_TRIES 64

struct nk_way_search {
	struct __sk_buff *skb;
	const struct nk_masquerade *m;
	struct nk_route *route;
	const volatile struct nk_network *network;
	struct nk_flow6_key key;
	__u32 uplink;
	bool found;
};

// A callback of bpf_loop: 1 ends the search. The host's part of the address is a number of its own each time.
static long nk_way_try(__u32 attempt, struct nk_way_search *search)
{
	const struct nk_masquerade *m = search->m;
	const __u32 word = m->family == NK_IPV4 ? 0 : 3;
	__u32 mask = search->network->mask.word[word];

	search->key.saddr.word[word] = (m->key.saddr.word[word] & mask) | ((attempt + 1) * NK_HASH_FACTOR & ~mask);
	nk_ask_fib(search->skb, &search->key, m->class, m->wire_len, search->route);
	search->found = nk_has_next_hop(search->route) && search->route->fib.ifindex == search->uplink;
	return search->found;
}

// Makes `route`, which is this packet's, the one by `uplink` instead, for this packet alone. False, with the route as
// it was, if that is not one of its ways.
static __always_inline bool nk_route_by(struct __sk_buff *skb, const struct nk_masquerade *m, struct nk_route *route,
					__u32 uplink)
{
	struct nk_way_search search = {
	    .skb = skb,
	    .m = m,
	    .route = route,
	    .network = nk_network_of(m->family, &m->key.saddr),
	    .key = m->key,
	    .uplink = uplink,
	};

	if (!search.network || !nk_is_uplink(&search.uplink))
		return false;
	route->key.container_ifindex = 0;
	bpf_loop(NK_WAY_TRIES, nk_way_try, &search, 0);
	route->source6_known = false;
	if (!search.found)
		nk_ask_fib(skb, &m->key, m->class, m->wire_len, route);
	return search.found;
}

// Whether what left by this uplink with this address goes on, by `route`; which is made to lead there if need be.
NK_GLOBAL bool nk_goes_on(struct __sk_buff *skb, const struct nk_masquerade *m, struct nk_route *route, __u32 uplink,
			  const struct nk_addr *addr)
{
	struct nk_addr source;

	if (!m || !route || !addr)
		return false;
	if (uplink == route->fib.ifindex)
		return true;
	source = nk_masquerade_source(skb, m, route);
	return nk_addr_equal(m->family, addr, &source) || nk_route_by(skb, m, route, uplink);
}
