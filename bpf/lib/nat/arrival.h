// Flows that somebody outside begins, to a published port (frontend.h).
//
// Such a flow has the same two halves as a masqueraded one, and each packet of it is translated alike; the other end of
// it began it, and its port is the frontend's. The frontend says what both halves are, so that one that is lost comes
// back as it was with the next packet from outside: they may be lost at any time, and are, first of all, as long as the
// container has not taken the flow up (NK_FLOW_ARRIVING): in a flood the latest drives the oldest out, and nobody else.
//
// The container takes it up by a packet that is more than an answer to whoever asks: of TCP, one that is neither SYN
// nor RST, which a stack sends for a connection alone, and not to an address that somebody made up; of others, if the
// other end sends again after it was answered. From then on the flow is the container's like any other, and counts to
// its share (flow_share.h). Of TCP, the short way out takes it up too (fast.h).
//
// A client on this host begins one like that, too (inside_client.h, host_client.h).
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/endpoint.h"
#include "lib/nat/flow.h"
#include "lib/nat/flow_reply.h"
#include "lib/nat/flow_ring.h"
#include "lib/nat/flow_share.h"
#include "lib/nat/frontend.h"
#include "lib/nat/hold.h"
#include "lib/node.h"
#include "lib/route/route.h"
#include "lib/uplink_set.h"

static __always_inline struct nk_ring_place *nk_arrivals_ring_next(const struct nk_delivery *to)
{
	__u32 number;

	if (to->origin == NK_FLOW_INSIDE)
		return nk_inside_ring_next(to->family, &to->key.saddr);
	return nk_ring_next(to->origin ? NK_RING_HOST_CLIENTS : NK_RING_ARRIVALS, &number);
}

// The oldest gives way.
static __noinline int nk_make_room_for_arrival(const struct nk_delivery *to)
{
	struct nk_ring_place *place = nk_arrivals_ring_next(to);
	struct nk_flow6_key former_key; // a copy: another CPU may be given the same place
	enum nk_family former;
	struct nk_flow *flow;

	if (!place)
		return 0;
	former = place->family == NK_IPV6 ? NK_IPV6 : NK_IPV4;
	former_key = place->key;
	flow = nk_flow_find(former, &former_key);
	if (flow && flow->flags & NK_FLOW_ARRIVING)
		nk_flow_remove(former, &former_key, flow);
	place->key = to->key;
	place->family = to->family;
	return 0;
}

// What both halves have in common; NULL cannot be.
static __always_inline struct nk_flow *nk_arriving_half(const struct nk_delivery *to, __u32 endpoint_id)
{
	struct nk_flow *half = nk_half_place();

	if (!half)
		return NULL;
	__builtin_memset(half, 0, sizeof(*half));
	half->created_ns = half->last_seen_ns = bpf_ktime_get_coarse_ns();
	half->endpoint_id = endpoint_id;
	half->flags = NK_FLOW_INBOUND | to->origin;
	return half;
}

static __always_inline long nk_insert_arriving_reverse(struct __sk_buff *skb, const struct nk_delivery *to,
						       __u32 endpoint_id)
{
	struct nk_flow *half = nk_arriving_half(to, endpoint_id);

	if (!half)
		return -1;
	half->addr = to->addr;
	half->port = to->port;
	half->ifindex = to->ifindex;
	half->container_ifindex = skb->ifindex;
	half->flags |= NK_FLOW_ARRIVING | nk_flow_flags(to->tcp_flags);
	// Of a connection, nothing is found out by the client's next packet. Only here and where the frontend is asked:
	// a port that is taken back must not go on as if it were not.
	half->stamp = to->key.proto == IPPROTO_TCP && !to->origin ? nk_stamp() : 0;
	return nk_flow_insert(to->family, &to->key, half);
}

// The way back to the client, if this CPU has just found it for the container: then its answer need not ask for it
// anew (nk_fast_answer in fast.h). Only of a connection: of others, the answer has to be noted.
static __always_inline void nk_remember_way_back(const struct nk_delivery *to, struct nk_flow *half)
{
	const struct nk_route_key key = {
	    .daddr = to->key.saddr,
	    .container_ifindex = to->ifindex,
	    .family = to->family,
	    .proto = to->key.proto,
	};
	const struct nk_route *route;

	if (to->key.proto != IPPROTO_TCP || to->origin)
		return;
	route = nk_route_slot(to->family, &key.daddr);
	if (!route || !route->to_uplink || !nk_route_is_known(to->family, route, &key, nk_stamp(), 0))
		return;
	nk_route_remember(half, route, to->ifindex);
	half->ifindex = route->fib.ifindex;
	half->stamp &= NK_STAMP_ARRIVING;
}

// NK_OK, or the reason to drop. NK_DROP_PORT_CLASH: another flow of the container's is in the way, which leads to the
// same port of it by another frontend, or it began it itself.
static __noinline int nk_insert_arriving_forward(const struct nk_delivery *to, __u32 endpoint_id)
{
	const struct nk_flow6_key key = nk_flow_key_beside(&to->key, &to->addr, to->port);
	struct nk_flow *half = nk_arriving_half(to, endpoint_id), *known;
	long error;

	if (!half)
		return NK_DROP_FLOW_TABLE_FULL;
	half->addr = to->key.daddr;
	half->port = to->key.dport;
	nk_remember_way_back(to, half);
	error = nk_flow_insert(to->family, &key, half);
	known = error == -NK_EEXIST ? nk_flow_find(to->family, &key) : NULL;
	if (known && known->endpoint_id != endpoint_id) {
		// Of one that had the address before.
		nk_flow_delete(to->family, &key);
		error = nk_flow_insert(to->family, &key, half);
		known = NULL;
	}
	if (known)
		return nk_flow_is(to->family, known, &to->key.daddr, to->key.dport, endpoint_id) ? NK_OK
												 : NK_DROP_PORT_CLASH;
	return error ? NK_DROP_FLOW_TABLE_FULL : NK_OK;
}

// By another packet of it, on another CPU; and not that the container itself has begun a flow with its port.
static __always_inline bool nk_has_arrived(const struct nk_delivery *to, __u32 endpoint_id)
{
	const struct nk_flow *flow = nk_flow_find(to->family, &to->key);

	return flow && nk_flow_is_inbound(flow) && flow->endpoint_id == endpoint_id;
}

// Whether the container is there that a frontend leads to.
static __always_inline const struct nk_endpoint *nk_backend(enum nk_family family, const struct nk_frontend *frontend)
{
	const struct nk_endpoint *endpoint = nk_endpoint(family, &frontend->addr);

	return endpoint && endpoint->id == frontend->endpoint_id ? endpoint : NULL;
}

// Whether the host would believe the source: its way back is by the device that it came by (rp_filter, ip-sysctl).
static __noinline bool nk_is_believed(struct __sk_buff *skb, const struct nk_flow6_key *key)
{
	struct bpf_fib_lookup fib = {.family = NK_IPV4, .ifindex = node.host_device};

	fib.ipv4_dst = key->saddr.word[0];
	fib.ipv4_src = key->daddr.word[0];
	return bpf_fib_lookup(skb, &fib, sizeof(fib), BPF_FIB_LOOKUP_SKIP_NEIGH) == BPF_FIB_LKUP_RET_SUCCESS &&
	       fib.ifindex == skb->ifindex;
}

// What an `allow` list says is only as good as the source is.
static __always_inline bool nk_may_come(struct __sk_buff *skb, enum nk_family family,
					const struct nk_frontend *frontend, const struct nk_flow6_key *key)
{
	if (!frontend->sources)
		return true;
	return nk_is_allowed(frontend, &key->saddr) &&
	       (family == NK_IPV6 || !nk_has_uplink_flag(skb->ifindex, NK_UPLINK_STRICT) || nk_is_believed(skb, key));
}

// Of a packet to a published port that no flow is known of: NK_OK with `to` answered, NK_NO_FLOW, or the reason to
// drop. Whether a client on this host may come there is known already.
NK_GLOBAL int nk_flow_arrive(struct __sk_buff *skb, struct nk_delivery *to)
{
	const struct nk_endpoint *endpoint;
	struct nk_frontend *frontend;
	enum nk_family family;
	long error;
	int result;

	if (!to)
		return NK_NO_FLOW;
	family = to->family == NK_IPV6 ? NK_IPV6 : NK_IPV4;
	// For this host alone, if at all (CVE-2020-8558).
	if (!(to->origin & NK_FLOW_OF_HOST) && nk_never_forwarded(family, &to->key.daddr))
		return NK_NO_FLOW;
	frontend = nk_frontend(family, &to->key.daddr, to->key.dport, to->key.proto);
	endpoint = frontend ? nk_backend(family, frontend) : NULL;
	if (!frontend || (!endpoint && (!frontend->hold_s || to->origin)))
		return NK_NO_FLOW;
	if (!to->origin && (nk_is_inside_source(family, &to->key.saddr) || nk_is_own_address(family, &to->key.saddr)))
		return NK_DROP_UNSOLICITED;
	if (!to->origin && !nk_may_come(skb, family, frontend, &to->key))
		return NK_DROP_NOT_ALLOWED;
	if (frontend->hold_s && nk_begins_from_outside(to) && nk_is_held(skb, to, frontend))
		return NK_DROP_HELD;
	if (!endpoint)
		return NK_NO_FLOW;
	if (to->tcp_flags & NK_TCP_RST || nk_is_second_step(to->tcp_flags))
		return NK_DROP_NO_FLOW;
	to->addr = frontend->addr;
	to->port = frontend->port;
	to->ifindex = endpoint->ifindex;
	nk_make_room_for_arrival(to);
	error = nk_insert_arriving_reverse(skb, to, frontend->endpoint_id);
	if (error == -NK_EEXIST)
		return nk_has_arrived(to, frontend->endpoint_id) ? NK_OK : NK_DROP_PORT_CLASH;
	if (error)
		return NK_DROP_FLOW_TABLE_FULL;
	result = nk_insert_arriving_forward(to, frontend->endpoint_id);
	if (result != NK_OK) {
		nk_flow_delete(family, &to->key);
		return result;
	}
	nk_count(skb, NK_EVENT_FLOW_ARRIVED);
	return NK_OK;
}
