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
// What is for all is counted anew every two seconds. What was taken of one's own comes back with time, so many
// milliseconds for each: a debt is the time until all of it has.
//
// A next hop that is a router of the host's is not counted: of those there are few.
#pragma once

#include "lib/base.h"
#include "lib/route/route.h"

#define NK_NEIGHBOUR_EPOCH_NS 2000000000ULL
#define NK_NEIGHBOURS_FOR_ALL ((__u32)(NK_NEIGHBOUR_EPOCH_NS / 1000000 / NK_NEIGHBOUR_INTERVAL_MS))
#define NK_NEIGHBOUR_GREED 8
#define NK_NEIGHBOURS_OF_ONE_NS 1000000000ULL // the largest debt

struct nk_neighbours_taken {
	__u32 epoch;
	__u32 of_all;	  // in that epoch, of what is for all
	__u64 own_due_ns; // when all that was taken of one's own has come back
};

// By endpoint id, and of NK_HOST_ID for all endpoints together.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct nk_neighbours_taken);
} neighbour_shares SEC(".maps");

// NULL: there is no room for it.
static __always_inline struct nk_neighbours_taken *nk_neighbours_taken_by(__u32 owner, __u32 epoch)
{
	struct nk_neighbours_taken *taken = bpf_map_lookup_elem(&neighbour_shares, &owner), none = {.epoch = epoch};

	if (!taken) {
		bpf_map_update_elem(&neighbour_shares, &owner, &none, BPF_NOEXIST);
		return bpf_map_lookup_elem(&neighbour_shares, &owner);
	}
	if (taken->epoch != epoch) {
		taken->epoch = epoch;
		taken->of_all = 0;
	}
	return taken;
}

NK_GLOBAL bool nk_take_neighbour(__u32 endpoint_id, __u64 now_ns)
{
	__u32 epoch = now_ns / NK_NEIGHBOUR_EPOCH_NS;
	struct nk_neighbours_taken *all = nk_neighbours_taken_by(NK_HOST_ID, epoch);
	struct nk_neighbours_taken *one = nk_neighbours_taken_by(endpoint_id, epoch);
	__u64 debt_ns;

	if (!all || !one)
		return false;
	if (all->of_all < NK_NEIGHBOURS_FOR_ALL &&
	    one->of_all <= NK_NEIGHBOUR_GREED * (NK_NEIGHBOURS_FOR_ALL - all->of_all)) {
		all->of_all++;
		one->of_all++;
		return true;
	}
	debt_ns = one->own_due_ns > now_ns ? one->own_due_ns - now_ns : 0;
	if (debt_ns > NK_NEIGHBOURS_OF_ONE_NS)
		return false;
	one->own_due_ns = now_ns + debt_ns + node.neighbour_interval_ms * 1000000ULL;
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
