// Who may begin a flow: no endpoint's flows are another's problem.
//
// Half of the table is kept for shares: every endpoint may have so many flows whatever others do, and the daemon makes
// the shares as large as the number of endpoints allows (netd/datapath/flow_capacity.h). The other half, the common
// one, is for whoever needs more: an endpoint may have up to eight times as many above its share as the common half has
// room left for (NK_FLOW_GREED). So one that takes all that it can get leaves a ninth of it to others, ten leave an
// eighty-first, and of what is left everybody who has less than they gets some: what is asked is cheap, and no flow is
// ever ended for another's.
//
// The kernel counts the entries of the map for each CPU; to sum them up is for those alone who are above their share.
#pragma once

#include "lib/base.h"
#include "lib/nat/flow.h"
#include "lib/nat/flow_slots.h"
#include "lib/node.h"

// By endpoint id: those of endpoints that ended as well, as long as there are flows of them. The daemon removes those
// that it does not know any more. A former version's programs count in a map of their own.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct nk_flow_counts);
} flow_counts SEC(".maps");

static __always_inline __u32 *nk_flow_count(enum nk_family family, struct nk_flow_counts *counts)
{
	return family == NK_IPV4 ? &counts->flows4 : &counts->flows6;
}

// NULL: there is no room for it.
static __noinline struct nk_flow_counts *nk_flow_counts_of(__u32 endpoint_id)
{
	struct nk_flow_counts *counts = bpf_map_lookup_elem(&flow_counts, &endpoint_id);
	struct nk_flow_counts none = {};

	if (counts)
		return counts;
	bpf_map_update_elem(&flow_counts, &endpoint_id, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&flow_counts, &endpoint_id);
}

// `counts`: of whoever begins it, or NULL. `places`: what each flow counts for, the former ones too.
static __noinline bool nk_flow_may_begin(enum nk_family family, struct nk_flow_counts *counts, __u32 places)
{
	__u64 share = family == NK_IPV4 ? node.flow_share4 : node.flow_share6;
	__u64 common = family == NK_IPV4 ? node.flow_common4 : node.flow_common6;
	__u64 count, all;

	if (!counts)
		return false;
	count = (__u64)*nk_flow_count(family, counts) * places;
	if (count < share)
		return true;
	all = nk_flow_entries(family) / 2;
	return all < common && count - share < NK_FLOW_GREED * (common - all);
}

// A reverse half was inserted: to be called in the run that did. A flow's other half comes and goes with it, and is not
// counted.
static __always_inline void nk_flow_count_one(enum nk_family family, struct nk_flow_counts *counts)
{
	if (counts)
		__sync_fetch_and_add(nk_flow_count(family, counts), 1);
}

// What was not counted is not taken off: nothing here may come below zero.
static __always_inline void nk_flow_uncount_one(enum nk_family family, struct nk_flow_counts *counts)
{
	if (counts && *nk_flow_count(family, counts))
		__sync_fetch_and_sub(nk_flow_count(family, counts), 1);
}

// Removes one half; whether it was there. A reverse one is taken off the endpoint's, where its flow is counted (not
// NK_FLOW_ARRIVING).
static __noinline bool nk_flow_remove_half(enum nk_family family, const struct nk_flow6_key *key, __u32 endpoint_id,
					   bool is_counted)
{
	struct nk_flow_counts *counts;

	if (nk_flow_delete(family, key))
		return false;
	counts =
	    is_counted && key->direction == NK_FLOW_REVERSE ? bpf_map_lookup_elem(&flow_counts, &endpoint_id) : NULL;
	nk_flow_uncount_one(family, counts);
	return true;
}

static __always_inline bool nk_flow_remove_reverse(enum nk_family family, const struct nk_flow6_key *key,
						   __u32 endpoint_id)
{
	return nk_flow_remove_half(family, key, endpoint_id, true);
}

// How many flows were about to be removed so far, by programs that have this object's globals. Whoever makes a flow
// knows by it that nobody has taken the half that was there first, while he made the other one (flow_create.h).
__u32 flow_removals;

static __always_inline __u32 nk_flow_removals(void)
{
	return *(volatile __u32 *)&flow_removals;
}

// No CPU has a copy of a half that is not counted (nk_flow_remember in fast.h).
static __always_inline void nk_flow_end_half(enum nk_family family, const struct nk_flow6_key *key, __u32 endpoint_id,
					     __u32 flags)
{
	bool is_counted = !(flags & NK_FLOW_ARRIVING);

	if (nk_flow_remove_half(family, key, endpoint_id, is_counted) && is_counted)
		nk_flow_forget(family, key);
}

// The flags of a half that is about to be removed. One whose container may be taking its flow up on another CPU is told
// it: the first of both decides whether it is counted (nk_flow_take_up).
static __always_inline __u32 nk_flow_end(struct nk_flow *half)
{
	return half->flags & NK_FLOW_ARRIVING ? __sync_fetch_and_or(&half->flags, NK_FLOW_OVER) : half->flags;
}

// Removes the flow whose half `flow` was found under `key`, with its other half if that is there. The reverse half goes
// first: whoever is just making the forward one (flow_create.h) either learns that somebody removes the reverse one, or
// has it removed here. A global function for the verifier's sake.
NK_GLOBAL int nk_flow_remove(int family, const struct nk_flow6_key *key, struct nk_flow *flow)
{
	struct nk_flow6_key other_key;
	struct nk_flow *other;
	__u32 endpoint_id, flags;

	if (!key || !flow)
		return 0;
	endpoint_id = flow->endpoint_id;
	flags = nk_flow_end(flow);
	other_key = nk_flow_other_key(key, flow);
	// With its result, for it is to be a barrier (nk_full_barrier).
	if (__sync_fetch_and_add(&flow_removals, 1) == ~0U)
		barrier();
	if (key->direction == NK_FLOW_REVERSE)
		nk_flow_end_half(family, key, endpoint_id, flags);
	other = nk_flow_other_half(family, key, &other_key, endpoint_id);
	if (other)
		nk_flow_end_half(family, &other_key, endpoint_id, flags | nk_flow_end(other));
	if (key->direction == NK_FLOW_FORWARD)
		nk_flow_end_half(family, key, endpoint_id, flags);
	return 0;
}
