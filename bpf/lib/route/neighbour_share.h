// Who may have the host ask for a neighbour that it does not know.
//
// The host's neighbour tables are for all: a container that sends to each address of a prefix on the uplink's link
// fills them with entries that nobody answers for, each for some five seconds, and what the host itself wants to reach
// then, or another container, finds no room (net.ipv4.neigh.default.gc_thresh3). So such packets are counted: there are
// some for whoever comes first, and beyond them each endpoint has some of its own, the fewer the more endpoints there
// are. All together they keep to about half of what the kernel begins to forget entries at (gc_thresh2, 512).
//
// A next hop that is a router of the host's is not counted: of those there are few.
#pragma once

#include "lib/base.h"
#include "lib/route/route.h"

#define NK_NEIGHBOURS_FOR_ALL_NS 2000000000ULL // may be taken at once that come back in this time; of one's own:
#define NK_NEIGHBOURS_OF_ONE_NS 1000000000ULL

// By endpoint id, and of NK_HOST_ID for all: when all that was taken has come back.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} neighbour_shares SEC(".maps");

static __noinline bool nk_take_neighbour(__u32 owner, __u64 now_ns, __u32 interval_ms, __u64 at_once_ns)
{
	__u64 *back_ns = bpf_map_lookup_elem(&neighbour_shares, &owner), none = 0, from_ns;

	if (!back_ns) {
		bpf_map_update_elem(&neighbour_shares, &owner, &none, BPF_NOEXIST);
		back_ns = bpf_map_lookup_elem(&neighbour_shares, &owner);
	}
	if (!back_ns)
		return false;
	from_ns = *back_ns > now_ns ? *back_ns : now_ns;
	if (from_ns - now_ns > at_once_ns)
		return false;
	*back_ns = from_ns + interval_ms * 1000000ULL;
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
	__u64 now_ns = bpf_ktime_get_coarse_ns();

	return !nk_is_to_next_hop(family, daddr, route) ||
	       nk_take_neighbour(NK_HOST_ID, now_ns, NK_NEIGHBOUR_INTERVAL_MS, NK_NEIGHBOURS_FOR_ALL_NS) ||
	       nk_take_neighbour(endpoint_id, now_ns, node.neighbour_interval_ms, NK_NEIGHBOURS_OF_ONE_NS);
}
