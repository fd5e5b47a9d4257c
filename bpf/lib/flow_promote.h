// The way back: find the container a packet from outside belongs to, and move a flow that got its first reply from the
// new stage to the established one.
#pragma once

#include "base.h"
#include "counters.h"
#include "flow.h"

enum nk_promotion {
	NK_PROMOTED,	   // both halves are in the established map
	NK_NOT_PROMOTED,   // the halves do not name each other (one was evicted and made anew): stays in the new stage
	NK_PROMOTE_FAILED, // the established map has no room
};

// Where a reply goes. A copy: a map's entry may be reused for another flow once it is deleted.
struct nk_delivery4 {
	__be32 addr;
	__be16 port;
	__u32 ifindex;
};

// The forward half of a reply's flow: the one in the new map, or made from the reverse half if that one was evicted.
static __always_inline struct nk_flow nk_flow4_forward_half(const struct nk_flow *found,
							    const struct nk_flow4_key *reverse_key,
							    const struct nk_flow *reverse, __u32 uplink)
{
	if (found)
		return *found;
	return (struct nk_flow){
	    .last_seen_ns = reverse->last_seen_ns,
	    .created_ns = reverse->created_ns,
	    .addr.word[0] = reverse_key->daddr,
	    .port = reverse_key->dport,
	    .ifindex = uplink,
	    .endpoint_id = reverse->endpoint_id,
	};
}

// Both halves or none: a pair that is only half established would lose its other half to the LRU.
static __noinline enum nk_promotion nk_flow4_promote(struct __sk_buff *skb, const struct nk_flow4_key *reverse_key,
						     const struct nk_flow *entry)
{
	struct nk_flow reverse = *entry;
	struct nk_flow4_key forward_key = nk_flow4_other_key(reverse_key, &reverse);
	struct nk_flow *found = bpf_map_lookup_elem(&flows4_new, &forward_key);
	struct nk_flow forward = nk_flow4_forward_half(found, reverse_key, &reverse, skb->ifindex);
	long error, forward_error;

	if (!nk_flow4_is(&forward, reverse_key->daddr, reverse_key->dport, reverse.endpoint_id))
		return NK_NOT_PROMOTED;
	error = bpf_map_update_elem(&flows4, reverse_key, &reverse, BPF_NOEXIST);
	if (error == -NK_EEXIST)
		return NK_PROMOTED; // by another CPU, just now
	if (error)
		return NK_PROMOTE_FAILED;
	forward_error = bpf_map_update_elem(&flows4, &forward_key, &forward, BPF_NOEXIST);
	if (forward_error) {
		bpf_map_delete_elem(&flows4, reverse_key);
		return forward_error == -NK_EEXIST ? NK_NOT_PROMOTED : NK_PROMOTE_FAILED;
	}
	bpf_map_delete_elem(&flows4_new, reverse_key);
	bpf_map_delete_elem(&flows4_new, &forward_key);
	nk_count(skb, NK_EVENT_FLOW_ESTABLISHED);
	return NK_PROMOTED;
}

static __always_inline void nk_flow4_deliver(struct nk_delivery4 *to, const struct nk_flow *flow)
{
	to->addr = flow->addr.word[0];
	to->port = flow->port;
	to->ifindex = flow->ifindex;
}

static __always_inline bool nk_flow4_exists(const struct nk_flow4_key *key)
{
	return bpf_map_lookup_elem(&flows4, key) || bpf_map_lookup_elem(&flows4_new, key);
}

static __always_inline int nk_flow4_inbound_established(const struct nk_flow4_key *key, struct nk_delivery4 *to,
							__u8 tcp_flags)
{
	struct nk_flow *flow = bpf_map_lookup_elem(&flows4, key);

	if (!flow)
		return NK_NO_FLOW;
	nk_flow4_deliver(to, flow);
	nk_flow4_seen(&flows4, key, flow, tcp_flags);
	return NK_OK;
}

// A reply to a flow of the new stage. A reset ends a flow instead of establishing it: refused connections must not fill
// the map that never evicts.
static __noinline int nk_flow4_inbound_new(struct __sk_buff *skb, const struct nk_flow4_key *key,
					   struct nk_delivery4 *to, __u8 tcp_flags)
{
	struct nk_flow *flow = bpf_map_lookup_elem(&flows4_new, key);

	if (!flow)
		return NK_NO_FLOW;
	nk_flow4_deliver(to, flow);
	nk_flow4_seen(&flows4_new, key, flow, tcp_flags);
	if (!(tcp_flags & NK_TCP_RST) && nk_flow4_promote(skb, key, flow) == NK_PROMOTE_FAILED)
		return NK_DROP_FLOW_TABLE_FULL;
	return NK_OK;
}

// NK_OK with `to` set, NK_NO_FLOW, or the reason to drop.
static __always_inline int nk_flow4_inbound(struct __sk_buff *skb, const struct nk_flow4_key *key,
					    struct nk_delivery4 *to, __u8 tcp_flags)
{
	int result = nk_flow4_inbound_established(key, to, tcp_flags);

	if (result == NK_NO_FLOW)
		result = nk_flow4_inbound_new(skb, key, to, tcp_flags);
	if (result == NK_NO_FLOW)
		result = nk_flow4_inbound_established(key, to, tcp_flags);
	return result;
}
