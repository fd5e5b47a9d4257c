// The way back: find the container a packet from outside belongs to, and move a flow that got its first reply from the
// new stage to the established one.
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/endpoint.h"
#include "lib/nat/flow.h"
#include "lib/node.h"

enum nk_promotion {
	NK_PROMOTED,	 // both halves are in the established map
	NK_NOT_PROMOTED, // its container is gone, or the halves do not name each other (one was evicted and made anew)
	NK_PROMOTE_FAILED, // the established map has no room
};

// A packet from outside, and where it goes. A copy: a map's entry may be reused for another flow once it is deleted.
struct nk_delivery {
	struct nk_flow6_key key; // reverse
	struct nk_addr addr;	 // answer
	__u32 ifindex;		 // answer
	__be16 port;		 // answer
	__u8 tcp_flags;
	enum nk_family family;
};

// The forward half of a reply's flow: the one in the new map, or made from the reverse half if there is none. A SYN
// that came back answers one that went out. It may have come in by another uplink than that went out by. `stamp` is of
// when that one's way was found.
static __always_inline void nk_flow_forward_half(const struct nk_flow *found, const struct nk_flow6_key *reverse_key,
						 const struct nk_flow *reverse, __u32 stamp, struct nk_flow *forward)
{
	if (found) {
		*forward = *found;
		return;
	}
	*forward = *reverse;
	forward->addr = reverse_key->daddr;
	forward->port = reverse_key->dport;
	forward->flags = reverse->flags & NK_FLOW_SYN;
	forward->ifindex = reverse->uplink_ifindex;
	forward->stamp = stamp;
}

// Otherwise a late reply would give the place in the established map to a container that is gone, and another one that
// has its address and the same conversation would not get it.
static __always_inline bool nk_flow_container_is_there(enum nk_family family, const struct nk_flow *reverse)
{
	const struct nk_endpoint *container = nk_endpoint(family, &reverse->addr);

	return container && container->id == reverse->endpoint_id;
}

// Both halves or none: a pair that is only half established would lose its other half to the LRU.
static __noinline enum nk_promotion nk_flow_promote(struct __sk_buff *skb, const struct nk_delivery *to,
						    const struct nk_flow *entry, __u32 stamp)
{
	struct nk_flow *forward = nk_half_place(NK_FLOW_FORWARD), *reverse = nk_half_place(NK_FLOW_REVERSE);
	enum nk_family family = to->family;
	struct nk_flow6_key forward_key;
	struct nk_flow *found;
	bool one_half;
	long error;

	if (!forward || !reverse)
		return NK_PROMOTE_FAILED;
	*reverse = *entry;
	if (!nk_flow_container_is_there(family, reverse))
		return NK_NOT_PROMOTED;
	forward_key = nk_flow_other_key(&to->key, reverse);
	one_half = nk_flow_begins_with_one_half(forward_key.proto, reverse->port, to->key.dport);
	found = one_half ? NULL : nk_flow_find(family, NK_STAGE_NEW, &forward_key);
	nk_flow_forward_half(found, &to->key, reverse, stamp, forward);
	if (!nk_flow_is(family, forward, &to->key.daddr, to->key.dport, reverse->endpoint_id))
		return NK_NOT_PROMOTED;
	error = nk_flow_insert(family, NK_STAGE_ESTABLISHED, &to->key, reverse);
	if (error == -NK_EEXIST)
		return NK_PROMOTED; // by another CPU, just now
	if (error)
		return NK_PROMOTE_FAILED;
	error = nk_flow_insert(family, NK_STAGE_ESTABLISHED, &forward_key, forward);
	if (error) {
		nk_flow_delete(family, NK_STAGE_ESTABLISHED, &to->key);
		return error == -NK_EEXIST ? NK_NOT_PROMOTED : NK_PROMOTE_FAILED;
	}
	nk_flow_delete(family, NK_STAGE_NEW, &to->key);
	if (!one_half)
		nk_flow_delete(family, NK_STAGE_NEW, &forward_key);
	nk_count(skb, NK_EVENT_FLOW_ESTABLISHED);
	return NK_PROMOTED;
}

static __always_inline void nk_flow_reply(struct nk_delivery *to, enum nk_stage stage, struct nk_flow *flow)
{
	to->addr = flow->addr;
	to->port = flow->port;
	to->ifindex = flow->ifindex;
	nk_flow_seen(to->family, stage, &to->key, flow, bpf_ktime_get_coarse_ns(), to->tcp_flags);
	flow->stamp = nk_stamp();
}

static __always_inline bool nk_flow_exists(const struct nk_delivery *to)
{
	return nk_flow_find(to->family, NK_STAGE_ESTABLISHED, &to->key) ||
	       nk_flow_find(to->family, NK_STAGE_NEW, &to->key);
}

// A reply to a flow of the new stage. A reset ends a flow instead of establishing it: refused connections must not fill
// the map that never evicts.
static __noinline int nk_flow_inbound_new(struct __sk_buff *skb, struct nk_delivery *to)
{
	struct nk_flow *flow = nk_flow_find(to->family, NK_STAGE_NEW, &to->key);
	__u32 stamp;

	if (flow) {
		stamp = flow->stamp;
		nk_flow_reply(to, NK_STAGE_NEW, flow);
		if (!(to->tcp_flags & NK_TCP_RST) && nk_flow_promote(skb, to, flow, stamp) == NK_PROMOTE_FAILED)
			return NK_DROP_FLOW_TABLE_FULL;
		return NK_OK;
	}
	// It is there already, or has moved there since somebody looked.
	flow = nk_flow_find(to->family, NK_STAGE_ESTABLISHED, &to->key);
	if (!flow)
		return NK_NO_FLOW;
	nk_flow_reply(to, NK_STAGE_ESTABLISHED, flow);
	return NK_OK;
}

// NK_OK with `to` answered, NK_NO_FLOW, or the reason to drop.
NK_GLOBAL int nk_flow_inbound(struct __sk_buff *skb, struct nk_delivery *to)
{
	struct nk_flow *flow = NULL;

	if (!to)
		return NK_NO_FLOW;

	// A SYN from outside mostly is the first reply.
	if (!(to->tcp_flags & NK_TCP_SYN))
		flow = nk_flow_find(to->family, NK_STAGE_ESTABLISHED, &to->key);
	if (!flow)
		return nk_flow_inbound_new(skb, to);
	nk_flow_reply(to, NK_STAGE_ESTABLISHED, flow);
	return NK_OK;
}
