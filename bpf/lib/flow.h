// Masqueraded flows: the maps, their keys, and what a packet that belongs to a flow does to it.
//
// A flow is two entries, forward and reverse (abi.h), in one of two stages:
//   new          `flows4_new`, LRU. No reply was seen. Anything may be evicted, either half alone too; the next packet
//                out repairs the pair (flow_create.h).
//   established  `flows4`, preallocated, never evicts. A reply was seen (flow_promote.h). An established flow's packet
//                costs one look-up here; the other half is looked at on SYN and RST only.
// Whoever looks for a flow looks in the established map first. A pair enters that map before it leaves the other, so a
// packet that found it in neither looks once more into the first before it calls the flow unknown.
// The daemon deletes entries that are too old or whose endpoint is gone; the programs rely on none of that: an entry of
// another endpoint id is stale, whatever its age.
#pragma once

#include "base.h"
#include "parse.h"

// The loader may set other sizes before it loads. An LRU map is preallocated by itself.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct nk_flow4_key);
	__type(value, struct nk_flow);
} flows4_new __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct nk_flow4_key);
	__type(value, struct nk_flow);
} flows4 __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct nk_flow6_key);
	__type(value, struct nk_flow);
} flows6_new __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct nk_flow6_key);
	__type(value, struct nk_flow);
} flows6 __weak SEC(".maps");

static __always_inline struct nk_flow4_key nk_flow4_key(const struct nk_ipv4 *ip, const struct nk_l4 *l4,
							enum nk_flow_direction direction)
{
	return (struct nk_flow4_key){
	    .saddr = ip->saddr,
	    .daddr = ip->daddr,
	    .sport = l4->sport,
	    .dport = l4->dport,
	    .proto = ip->proto,
	    .direction = direction,
	};
}

// The key of the other half of the flow whose half `flow` was found under `key`: each half holds the other's address.
static __always_inline struct nk_flow4_key nk_flow4_other_key(const struct nk_flow4_key *key,
							      const struct nk_flow *flow)
{
	if (key->direction == NK_FLOW_FORWARD)
		return (struct nk_flow4_key){
		    .saddr = key->daddr,
		    .daddr = flow->addr.word[0],
		    .sport = key->dport,
		    .dport = flow->port,
		    .proto = key->proto,
		    .direction = NK_FLOW_REVERSE,
		};
	return (struct nk_flow4_key){
	    .saddr = flow->addr.word[0],
	    .daddr = key->saddr,
	    .sport = flow->port,
	    .dport = key->sport,
	    .proto = key->proto,
	    .direction = NK_FLOW_FORWARD,
	};
}

// Whether this half translates to that address and port, for that endpoint.
static __always_inline bool nk_flow4_is(const struct nk_flow *flow, __be32 addr, __be16 port, __u32 endpoint_id)
{
	return flow->addr.word[0] == addr && flow->port == port && flow->endpoint_id == endpoint_id;
}

static __always_inline bool nk_flow_closed(const struct nk_flow *one, const struct nk_flow *other)
{
	return ((one->flags | other->flags) & NK_FLOW_RST) || (one->flags & other->flags & NK_FLOW_FIN);
}

// A SYN from the container on a connection that had ended begins a new one under the same ports.
static __always_inline void nk_flow_restart(struct nk_flow *flow, struct nk_flow *other)
{
	flow->created_ns = other->created_ns = flow->last_seen_ns;
	other->flags = 0;
	flow->flags = NK_FLOW_SYN;
}

static __noinline void nk_flow4_tcp(void *map, const struct nk_flow4_key *key, struct nk_flow *flow, __u8 tcp_flags)
{
	struct nk_flow4_key other_key = nk_flow4_other_key(key, flow);
	struct nk_flow *other = NULL;

	if (tcp_flags & (NK_TCP_SYN | NK_TCP_RST))
		other = bpf_map_lookup_elem(map, &other_key);
	if (tcp_flags & NK_TCP_RST) {
		__sync_fetch_and_or(&flow->flags, NK_FLOW_RST);
		if (other)
			__sync_fetch_and_or(&other->flags, NK_FLOW_RST);
	} else if (tcp_flags & NK_TCP_SYN) {
		if (other && key->direction == NK_FLOW_FORWARD && !(tcp_flags & NK_TCP_ACK) &&
		    nk_flow_closed(flow, other))
			nk_flow_restart(flow, other);
		else
			__sync_fetch_and_or(&flow->flags, NK_FLOW_SYN);
	} else {
		__sync_fetch_and_or(&flow->flags, NK_FLOW_FIN);
	}
}

// A packet of this flow went by; `map` is where `flow` was found.
static __always_inline void nk_flow4_seen(void *map, const struct nk_flow4_key *key, struct nk_flow *flow,
					  __u8 tcp_flags)
{
	flow->last_seen_ns = bpf_ktime_get_coarse_ns();
	if (tcp_flags & (NK_TCP_SYN | NK_TCP_FIN | NK_TCP_RST))
		nk_flow4_tcp(map, key, flow, tcp_flags);
}

static __always_inline __u32 nk_flow_flags(__u8 tcp_flags)
{
	return (tcp_flags & NK_TCP_SYN ? NK_FLOW_SYN : 0) | (tcp_flags & NK_TCP_FIN ? NK_FLOW_FIN : 0);
}
