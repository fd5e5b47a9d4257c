// Who may have the host ask for a neighbour that it does not know.
//
// The host's neighbour tables are for all: a container that sends to each address of a prefix on the uplink's link
// fills them with entries that nobody answers for, each for some five seconds, and what the host itself wants to reach
// then, or another container, finds no room (net.ipv4.neigh.default.gc_thresh3). So such packets are counted: there are
// some for all, of which an endpoint may have up to eight times as many as are left (as of the flow table,
// lib/nat/flow_share.h), so that one that takes all it can get leaves others some; and beyond them each endpoint has
// some of its own, the fewer the more endpoints there are. All together they keep to about half of what the kernel
// begins to forget entries at (gc_thresh2, 512).
//
// What was taken comes back with time, so many milliseconds for each: a debt is the time until all of it has.
//
// A next hop that is a router of the host's is not counted: of those there are few.
#pragma once

#include "lib/base.h"
#include "lib/route/route.h"

#define NK_NEIGHBOURS_FOR_ALL_NS 2000000000ULL // the largest debt; of one's own share:
#define NK_NEIGHBOURS_OF_ONE_NS 1000000000ULL
#define NK_NEIGHBOUR_GREED 8
#define NK_NEIGHBOUR_NS (NK_NEIGHBOUR_INTERVAL_MS * 1000000ULL)

// When all that was taken has come back.
struct nk_neighbour_debts {
	__u64 of_all_ns; // of what is for all
	__u64 of_own_ns;
};

// By endpoint id, and of NK_HOST_ID for all endpoints together.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct nk_neighbour_debts);
} neighbour_shares SEC(".maps");

// NULL: there is no room for it.
static __always_inline struct nk_neighbour_debts *nk_neighbour_debts_of(__u32 owner)
{
	struct nk_neighbour_debts *debts = bpf_map_lookup_elem(&neighbour_shares, &owner), none = {};

	if (debts)
		return debts;
	bpf_map_update_elem(&neighbour_shares, &owner, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&neighbour_shares, &owner);
}

static __always_inline __u64 nk_debt(__u64 back_ns, __u64 now_ns)
{
	return back_ns > now_ns ? back_ns - now_ns : 0;
}

static __noinline bool nk_take_neighbour(__u32 endpoint_id, __u64 now_ns)
{
	struct nk_neighbour_debts *all = nk_neighbour_debts_of(NK_HOST_ID), *one = nk_neighbour_debts_of(endpoint_id);
	__u64 of_all, of_one, own;

	if (!all || !one)
		return false;
	of_all = nk_debt(all->of_all_ns, now_ns);
	of_one = nk_debt(one->of_all_ns, now_ns);
	if (of_all < NK_NEIGHBOURS_FOR_ALL_NS && of_one <= NK_NEIGHBOUR_GREED * (NK_NEIGHBOURS_FOR_ALL_NS - of_all)) {
		all->of_all_ns = now_ns + of_all + NK_NEIGHBOUR_NS;
		one->of_all_ns = now_ns + of_one + NK_NEIGHBOUR_NS;
		return true;
	}
	own = nk_debt(one->of_own_ns, now_ns);
	if (own > NK_NEIGHBOURS_OF_ONE_NS)
		return false;
	one->of_own_ns = now_ns + own + node.neighbour_interval_ms * 1000000ULL;
	return true;
}

static __always_inline bool nk_is_to_next_hop(enum nk_family family, const struct nk_addr *daddr,
					      const struct nk_route *route)
{
	struct nk_addr next_hop = {.word = {route->fib.ipv4_dst}};

	if (route->fib.family != family)
		return false;
	if (family == NK_IPV6)
		__builtin_memcpy(&next_hop, route->fib.ipv6_dst, sizeof(next_hop));
	return nk_addr_equal(family, daddr, &next_hop);
}

// Of a route whose next hop is not known.
static __noinline bool nk_may_ask_for_neighbour(enum nk_family family, const struct nk_addr *daddr,
						const struct nk_route *route, __u32 endpoint_id)
{
	return !nk_is_to_next_hop(family, daddr, route) || nk_take_neighbour(endpoint_id, bpf_ktime_get_coarse_ns());
}
