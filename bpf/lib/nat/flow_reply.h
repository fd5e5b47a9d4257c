// The way back: find the container that a packet from outside belongs to.
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/endpoint_drops.h"
#include "lib/nat/flow.h"
#include "lib/nat/flow_share.h"
#include "lib/nat/frontend.h"
#include "lib/nat/host_socket.h"
#include "lib/nat/ports.h"
#include "lib/node.h"
#include "lib/packet/skb.h"

// A packet from outside, or from a client on this host (inside_client.h, host_client.h), and where it goes. A copy: a
// map's entry may be reused for another flow once it is deleted.
struct nk_delivery {
	struct nk_flow6_key key; // reverse
	struct nk_addr addr;	 // answer
	__u32 ifindex;		 // answer
	__be16 port;		 // answer
	__u8 tcp_flags;
	__u32 origin; // NK_FLOW_ORIGIN
	enum nk_family family;
};

// A SYN that comes back answers one that went out: a reset that seemed to be the answer before was not, or was to an
// attempt before.
static __always_inline void nk_flow_note_answer(struct nk_flow *flow, bool begins)
{
	if (begins)
		__sync_fetch_and_and(&flow->flags, ~NK_FLOW_RST);
	__sync_fetch_and_or(&flow->flags, NK_FLOW_ANSWERED);
}

// The first reply. A function of its own: it is for one packet of a flow.
static __noinline void nk_flow_answer(struct __sk_buff *skb, const struct nk_delivery *to, struct nk_flow *reverse)
{
	struct nk_flow6_key forward_key = nk_flow_other_key(&to->key, reverse);
	struct nk_flow *forward = nk_flow_find(to->family, &forward_key);
	bool begins = to->tcp_flags & NK_TCP_SYN;

	if (forward && nk_flow_is(to->family, forward, &to->key.daddr, to->key.dport, reverse->endpoint_id)) {
		// A SYN is answered by one: anybody can send data.
		if (forward->flags & NK_FLOW_SYN && !begins)
			return;
		nk_flow_note_answer(forward, begins);
	}
	nk_flow_note_answer(reverse, begins);
	nk_count(skb, NK_EVENT_FLOW_ESTABLISHED);
}

// What a packet from outside says of the flow's end. SCTP's ABORT is believed only of the container: there is no
// witness of an association, and anybody can send one.
static __always_inline __u8 nk_flags_from_outside(const struct nk_delivery *to)
{
	return to->key.proto == IPPROTO_SCTP ? to->tcp_flags & ~NK_TCP_RST : to->tcp_flags;
}

// A connection that somebody outside begins is no container's: to whatever the host serves, or another runtime
// publishes there, a container's flow to the same remote must not lead. (RFC 9293, 3.5: a simultaneous open; nobody
// does that.)
static __always_inline bool nk_begins_from_outside(const struct nk_delivery *to)
{
	return to->key.proto == IPPROTO_TCP && nk_is_beginning(to->tcp_flags);
}

// How many ticks (nk_stamp) may be between two looks that find a socket of the host's.
#define NK_HOST_SOCKET_TICKS 4

// Whether the host has opened a socket since the flow began that would receive this datagram, and keeps it: then the
// host comes first, and the flow is over. A resolver opens one for each question, with any port, and closes it at once:
// so it has to be found twice. (A connection is told by its beginning.)
static __noinline bool nk_host_has_come(struct __sk_buff *skb, const struct nk_delivery *to, struct nk_flow *flow)
{
	const struct nk_flow6_key *key = &to->key;
	__u32 stamp = nk_stamp(), found = flow->host_socket_stamp;

	if (key->proto != IPPROTO_UDP || nk_has_left_host(skb, node.host_netns_cookie) ||
	    !nk_host_has_socket(skb, to->family, key->proto, &key->saddr, key->sport, &key->daddr, key->dport))
		return false;
	flow->host_socket_stamp = stamp;
	if (found == stamp || stamp - found > 2 * NK_HOST_SOCKET_TICKS)
		return false;
	nk_note_drop(flow->ifindex, NK_DROP_PORT_TAKEN, 0);
	nk_count(skb, NK_EVENT_HOST_TOOK_PORT);
	nk_flow_remove(to->family, key, flow);
	return true;
}

// Its container has taken up a flow that somebody outside began (arrival.h), which counts from now on, if there is room
// in its share. Else it stays as it was. `places`: how many it needs there.
static __noinline bool nk_flow_take_up(enum nk_family family, struct nk_flow *reverse, __u32 places)
{
	struct nk_flow_counts *counts = nk_flow_counts_of(reverse->endpoint_id);
	__u32 flags;

	if (!nk_flow_may_begin(family, counts, places))
		return false;
	// Before it says so, for who removes what says so takes one off.
	nk_flow_count_one(family, counts);
	flags = __sync_fetch_and_and(&reverse->flags, ~NK_FLOW_ARRIVING);
	if ((flags & (NK_FLOW_ARRIVING | NK_FLOW_OVER)) != NK_FLOW_ARRIVING)
		nk_flow_uncount_one(family, counts);
	return true;
}

// By a packet of TCP that the container sends.
static __always_inline bool nk_flow_take_up_by(struct __sk_buff *skb, enum nk_family family, struct nk_flow *reverse,
					       struct nk_flow *forward)
{
	if (!nk_flow_take_up(family, reverse, 1))
		return false;
	if (nk_has_findable_socket(skb, IPPROTO_TCP))
		__sync_fetch_and_or(&forward->flags, NK_FLOW_WITNESS);
	return true;
}

// Of a protocol without connections, who sends again after he was answered has an address of his own, as a rule: one
// that he forged may seem so too. So all of those get half of what the container may have, and it can always begin
// flows itself. A function of its own: it is for one packet of a flow.
static __noinline int nk_flow_take_up_again(const struct nk_delivery *to, struct nk_flow *reverse)
{
	struct nk_flow6_key forward_key = nk_flow_other_key(&to->key, reverse);
	struct nk_flow *forward;

	if (!nk_flow_take_up(to->family, reverse, 2))
		return 0;
	forward = nk_flow_other_half(to->family, &to->key, &forward_key, reverse->endpoint_id);
	if (forward)
		__sync_fetch_and_or(&forward->flags, NK_FLOW_TAKEN_UP);
	return 0;
}

static __always_inline void nk_flow_comes_again(const struct nk_delivery *to, struct nk_flow *reverse)
{
	if (reverse->flags & NK_FLOW_ARRIVING && nk_flow_answered(reverse) && to->key.proto != IPPROTO_TCP)
		nk_flow_take_up_again(to, reverse);
}

// A container that starts again has another number: its clients' flows begin anew with it. And a container's own flow
// ends where another one publishes its port, whose clients it would get.
static __always_inline bool nk_flow_has_port(const struct nk_delivery *to, const struct nk_flow *flow)
{
	const struct nk_flow6_key *key = &to->key;

	if (nk_flow_is_inbound(flow))
		return nk_is_frontend_of(to->family, &key->daddr, key->dport, key->proto, flow->endpoint_id);
	return !nk_is_published_by_another(to->family, &key->daddr, key->dport, key->proto, flow->endpoint_id);
}

// What comes in to the reverse half `flow`, which was found under to->key: NK_OK with `to` answered, NK_NO_FLOW,
// NK_HOST_FLOW, or the reason to drop. A reset ends a flow and is no reply: a refused connection is forgotten soon.
NK_GLOBAL int nk_flow_reply(struct __sk_buff *skb, struct nk_delivery *to, struct nk_flow *flow)
{
	if (!to || !flow)
		return NK_NO_FLOW;
	if (nk_flow_is_hosts(flow)) {
		flow->last_seen_ns = bpf_ktime_get_coarse_ns();
		return NK_HOST_FLOW;
	}
	if (!nk_flow_has_port(to, flow)) {
		nk_flow_remove(to->family, &to->key, flow);
		return NK_NO_FLOW;
	}
	if (nk_begins_from_outside(to) && !nk_flow_is_inbound(flow))
		return NK_NO_FLOW;
	if ((flow->flags & NK_FLOW_ORIGIN) != to->origin || !nk_flow_comes_by(skb, to->family, &to->key, flow))
		return NK_DROP_UNSOLICITED;
	flow->container_ifindex = skb->ifindex;
	if (!nk_flow_is_inbound(flow) && nk_host_has_come(skb, to, flow))
		return NK_HOST_FLOW;
	to->addr = flow->addr;
	to->port = flow->port;
	to->ifindex = flow->ifindex;
	if (nk_flow_is_inbound(flow))
		nk_flow_comes_again(to, flow);
	else if (!nk_flow_answered(flow) && !(to->tcp_flags & NK_TCP_RST))
		nk_flow_answer(skb, to, flow);
	nk_flow_seen(to->family, &to->key, flow, bpf_ktime_get_coarse_ns(), nk_flags_from_outside(to));
	if (nk_flow_answered(flow) && !nk_flow_is_inside(flow))
		flow->stamp = nk_stamp();
	return NK_OK;
}

// The same for a packet of which nothing is known yet.
static __always_inline int nk_flow_inbound(struct __sk_buff *skb, struct nk_delivery *to)
{
	struct nk_flow *flow = nk_flow_find(to->family, &to->key);

	return flow ? nk_flow_reply(skb, to, flow) : NK_NO_FLOW;
}
