// Masqueraded flows: the map, its keys, and what a packet that belongs to a flow does to it.
//
// A flow is two entries, forward and reverse (abi.h), which are made together when it begins and removed together. What
// it has seen is in their flags: before the first reply it lives a short while only. Nothing is ever evicted: whoever
// may begin a flow is decided before (flow_share.h).
// An entry whose other half is missing may come of a former version's maps. The next packet out makes the other one
// anew (flow_create.h), or the daemon removes it.
// The programs have one key for both families, nk_flow6_key; an IPv4 one is narrowed where it meets its map.
// The host's own flows, and those of other NATs on it, have a reverse half alone (host_flow.h).
// The daemon deletes entries that are too old or whose endpoint is gone (flow_changes.bpf.c); the programs rely on none
// of that: an entry of another endpoint id is stale, whatever its age.
#pragma once

#include "lib/addr.h"
#include "lib/base.h"
#include "lib/packet/parse.h"
#include "lib/uplink_set.h"

// The loader may set other sizes before it loads.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct nk_flow4_key);
	__type(value, struct nk_flow);
} flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct nk_flow6_key);
	__type(value, struct nk_flow);
} flows6 SEC(".maps");

// kernel/bpf/map_iter.c; the type's name is all that matters here.
struct bpf_map {
	__u32 id;
} __attribute__((preserve_access_index));

extern __s64 bpf_map_sum_elem_count(const struct bpf_map *map) __ksym;

// How many entries there are; every flow has two.
static __always_inline __u64 nk_flow_entries(enum nk_family family)
{
	__s64 count = family == NK_IPV4 ? bpf_map_sum_elem_count((const struct bpf_map *)&flows4)
					: bpf_map_sum_elem_count((const struct bpf_map *)&flows6);

	return count < 0 ? 0 : count;
}

// Where a half is put together before it is inserted: the stack has no room for it. Of each CPU its own.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nk_flow);
} halves SEC(".maps");

// NULL cannot be.
static __always_inline struct nk_flow *nk_half_place(void)
{
	__u32 index = 0;

	return bpf_map_lookup_elem(&halves, &index);
}

static __always_inline struct nk_flow4_key nk_flow_narrow(const struct nk_flow6_key *key)
{
	return (struct nk_flow4_key){
	    .saddr = key->saddr.word[0],
	    .daddr = key->daddr.word[0],
	    .sport = key->sport,
	    .dport = key->dport,
	    .proto = key->proto,
	    .direction = key->direction,
	};
}

static __always_inline struct nk_flow6_key nk_flow_widen(struct nk_flow4_key key)
{
	return (struct nk_flow6_key){
	    .saddr = nk_addr4(key.saddr),
	    .daddr = nk_addr4(key.daddr),
	    .sport = key.sport,
	    .dport = key.dport,
	    .proto = key.proto,
	    .direction = key.direction,
	};
}

static __always_inline struct nk_flow *nk_flow_find(enum nk_family family, const struct nk_flow6_key *key)
{
	struct nk_flow4_key key4;

	if (family == NK_IPV6)
		return bpf_map_lookup_elem(&flows6, key);
	key4 = nk_flow_narrow(key);
	return bpf_map_lookup_elem(&flows4, &key4);
}

// 0, or a negative errno; -NK_EEXIST if it is there already.
static __always_inline long nk_flow_insert(enum nk_family family, const struct nk_flow6_key *key,
					   const struct nk_flow *flow)
{
	struct nk_flow4_key key4;

	if (family == NK_IPV6)
		return bpf_map_update_elem(&flows6, key, flow, BPF_NOEXIST);
	key4 = nk_flow_narrow(key);
	return bpf_map_update_elem(&flows4, &key4, flow, BPF_NOEXIST);
}

// 0: it was there.
static __always_inline long nk_flow_delete(enum nk_family family, const struct nk_flow6_key *key)
{
	struct nk_flow4_key key4;

	if (family == NK_IPV6)
		return bpf_map_delete_elem(&flows6, key);
	key4 = nk_flow_narrow(key);
	return bpf_map_delete_elem(&flows4, &key4);
}

// The key of the other half of the flow whose half under `key` translates to that address and port.
static __always_inline struct nk_flow6_key nk_flow_key_beside(const struct nk_flow6_key *key,
							      const struct nk_addr *addr, __be16 port)
{
	if (key->direction == NK_FLOW_FORWARD)
		return (struct nk_flow6_key){
		    .saddr = key->daddr,
		    .daddr = *addr,
		    .sport = key->dport,
		    .dport = port,
		    .proto = key->proto,
		    .direction = NK_FLOW_REVERSE,
		};
	return (struct nk_flow6_key){
	    .saddr = *addr,
	    .daddr = key->saddr,
	    .sport = port,
	    .dport = key->sport,
	    .proto = key->proto,
	    .direction = NK_FLOW_FORWARD,
	};
}

static __always_inline struct nk_flow6_key nk_flow_other_key(const struct nk_flow6_key *key, const struct nk_flow *flow)
{
	return nk_flow_key_beside(key, &flow->addr, flow->port);
}

// Whether this half translates to that address and port, for that endpoint.
static __always_inline bool nk_flow_is(enum nk_family family, const struct nk_flow *flow, const struct nk_addr *addr,
				       __be16 port, __u32 endpoint_id)
{
	return nk_addr_equal(family, &flow->addr, addr) && flow->port == port && flow->endpoint_id == endpoint_id;
}

// Of resolvers (RFC 1035, 4.2).
#define NK_DOMAIN_PORT 53

static __always_inline bool nk_is_host_id(__u32 endpoint_id)
{
	return endpoint_id == NK_HOST_ID || endpoint_id >= NK_HOST_ASKED_ID;
}

static __always_inline bool nk_flow_is_hosts(const struct nk_flow *flow)
{
	return nk_is_host_id(flow->endpoint_id);
}

// NULL: the host's, or nobody's.
static __always_inline struct nk_flow *nk_flow_of_container(enum nk_family family, const struct nk_flow6_key *key)
{
	struct nk_flow *flow = nk_flow_find(family, key);

	return flow && !nk_flow_is_hosts(flow) ? flow : NULL;
}

// The other half of the flow whose half `flow` was found under `key`. What is there may be another's by now, or
// nothing: NULL.
static __always_inline struct nk_flow *nk_flow_other_half(enum nk_family family, const struct nk_flow6_key *key,
							  const struct nk_flow6_key *other_key, __u32 endpoint_id)
{
	bool forward = key->direction == NK_FLOW_FORWARD;
	struct nk_flow *other = nk_flow_find(family, other_key);

	return other && nk_flow_is(family, other, forward ? &key->saddr : &key->daddr,
				   forward ? key->sport : key->dport, endpoint_id)
		   ? other
		   : NULL;
}

// TCP and SCTP.
static __always_inline bool nk_flow_closed(const struct nk_flow *one, const struct nk_flow *other)
{
	return ((one->flags | other->flags) & NK_FLOW_RST) || (one->flags & other->flags & NK_FLOW_FIN);
}

static __always_inline bool nk_flow_answered(const struct nk_flow *flow)
{
	return flow->flags & NK_FLOW_ANSWERED;
}

// The container has answered whoever began the flow outside.
static __always_inline void nk_flow_answers(struct nk_flow *flow, struct nk_flow *reverse)
{
	__sync_fetch_and_or(&flow->flags, NK_FLOW_ANSWERED);
	__sync_fetch_and_or(&reverse->flags, NK_FLOW_ANSWERED);
}

// In the stamp of a forward half, in place of its last bit (nk_stamp() is odd): it would be current, but the container
// is to take the flow up (arrival.h) with the next packet.
#define NK_STAMP_ARRIVING (~1U)

// Whether somebody outside began it (arrival.h).
static __always_inline bool nk_flow_is_inbound(const struct nk_flow *flow)
{
	return flow->flags & NK_FLOW_INBOUND;
}

// Where somebody began it: nothing of these, outside.
#define NK_FLOW_ORIGIN (NK_FLOW_INSIDE | NK_FLOW_OF_HOST)

// Whether that is on this host (inside_client.h, host_client.h).
static __always_inline bool nk_flow_is_inside(const struct nk_flow *flow)
{
	return flow->flags & NK_FLOW_INSIDE;
}

// Whether the reverse half `flow`, which was found under `key`, is of a flow that leaves by this device.
static __noinline bool nk_flow_leaves_by(enum nk_family family, const struct nk_flow6_key *key,
					 const struct nk_flow *flow, __u32 ifindex)
{
	struct nk_flow6_key other_key = nk_flow_other_key(key, flow);
	struct nk_flow *forward = nk_flow_other_half(family, key, &other_key, flow->endpoint_id);

	return forward && forward->ifindex == ifindex;
}

// Whether a packet to the reverse half `flow`, which was found under `key`, may come by the device that it came by: by
// any, as routers choose the way back; but from an inner bridge comes only what answers what goes there, or each of its
// containers could answer for anybody.
static __always_inline bool nk_flow_comes_by(struct __sk_buff *skb, enum nk_family family,
					     const struct nk_flow6_key *key, const struct nk_flow *flow)
{
	return flow->container_ifindex == skb->ifindex || !nk_is_inner_bridge(skb->ifindex) ||
	       nk_flow_leaves_by(family, key, flow, skb->ifindex);
}

// What a flow is, whatever it has seen.
#define NK_FLOW_KIND (NK_FLOW_INBOUND | NK_FLOW_ARRIVING | NK_FLOW_ORIGIN)

// A SYN of the end that began a connection, when that has ended, begins a new one under the same ports, without a reply
// yet.
static __always_inline void nk_flow_restart(struct nk_flow *flow, struct nk_flow *other)
{
	flow->created_ns = other->created_ns = flow->last_seen_ns;
	other->stamp = 0;
	other->flags &= NK_FLOW_KIND;
	flow->flags = NK_FLOW_SYN | (flow->flags & NK_FLOW_KIND);
}

static __noinline void nk_flow_tcp(enum nk_family family, const struct nk_flow6_key *key, struct nk_flow *flow,
				   __u8 tcp_flags)
{
	__u8 beginning = nk_flow_is_inbound(flow) ? NK_FLOW_REVERSE : NK_FLOW_FORWARD;
	bool resets = tcp_flags & NK_TCP_RST;
	bool begins = !resets && nk_is_beginning(tcp_flags) && key->direction == beginning;
	struct nk_flow *other = NULL;

	if (begins || (resets && key->direction == NK_FLOW_FORWARD)) {
		struct nk_flow6_key other_key = nk_flow_other_key(key, flow);

		other = nk_flow_other_half(family, key, &other_key, flow->endpoint_id);
	}
	if (resets) {
		__sync_fetch_and_or(&flow->flags, NK_FLOW_RST);
		if (other)
			__sync_fetch_and_or(&other->flags, NK_FLOW_RST);
	} else if (tcp_flags & NK_TCP_SYN) {
		if (begins && other && nk_flow_closed(flow, other))
			nk_flow_restart(flow, other);
		else
			__sync_fetch_and_or(&flow->flags, NK_FLOW_SYN);
	} else {
		__sync_fetch_and_or(&flow->flags, NK_FLOW_FIN);
	}
}

// A packet of this flow went by.
static __always_inline void nk_flow_seen(enum nk_family family, const struct nk_flow6_key *key, struct nk_flow *flow,
					 __u64 now_ns, __u8 tcp_flags)
{
	flow->last_seen_ns = now_ns;
	if (tcp_flags & NK_TCP_STATE)
		nk_flow_tcp(family, key, flow, tcp_flags);
}

static __always_inline __u32 nk_flow_flags(__u8 tcp_flags)
{
	return (tcp_flags & NK_TCP_SYN ? NK_FLOW_SYN : 0) | (tcp_flags & NK_TCP_FIN ? NK_FLOW_FIN : 0);
}
