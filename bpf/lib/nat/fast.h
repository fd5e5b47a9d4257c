// The short ways: what most packets are is judged by as little as will do.
//
// They are for TCP and UDP without IP options or extension headers, no fragments, their headers in the linear part. All
// else, and whatever is not as usual in any way, takes the long way (container.h, uplink.h), which judges from nothing.
//
// A masqueraded flow's packet, in either direction: one look-up, and it is written and gone; of the flows that a CPU
// has just seen, not even one in the table (flow_slots.h). For that the flow must be current: it is for about a second
// after the long way was taken, or until the daemon says that something changed (nk_stamp). For that time nothing that
// the long way found out is asked again: that the source address belongs to the device that the packet came from, that
// it is to be masqueraded, the route, the next hop. The time stamp by which a flow ages is of the last long way too.
// SYN and RST take the slow path, except a container's SYN-ACK to a client outside; a reply takes only its last part.
//
// What is not translated has short ways of its own (fast_routed.h).
#pragma once

#include "lib/base.h"
#include "lib/route/fast_routed.h"
#include "lib/nat/flow.h"
#include "lib/nat/flow_reply.h"
#include "lib/nat/flow_slots.h"
#include "lib/nat/plain_flow.h"
#include "lib/nat/ports.h"
#include "lib/node.h"
#include "lib/packet/plain.h"

// Whether the container has yet to take up what somebody outside began (arrival.h). Of a connection, the forward half
// is current only when it has.
static __always_inline bool nk_flow_is_arriving(const struct nk_flow *flow, enum nk_flow_direction direction,
						__u8 proto)
{
	if (direction == NK_FLOW_REVERSE || proto == IPPROTO_TCP)
		return flow->flags & NK_FLOW_ARRIVING;
	return nk_flow_is_inbound(flow) && !(flow->flags & NK_FLOW_TAKEN_UP);
}

// Copies `flow`, which the packet's half was found to be: of a container, and current. What that has not taken up is
// removed without a word to any CPU, for a flood does that for each of its packets.
static __always_inline void nk_flow_remember(enum nk_family family, enum nk_flow_direction direction,
					     struct nk_flow_slot *slot, const struct nk_plain *p,
					     const struct nk_flow *flow, __u32 stamp)
{
	if (nk_flow_is_arriving(flow, direction, p->proto))
		return;
	nk_flow_slot_write_key(family, slot, p);
	slot->flow = *flow;
	nk_full_barrier(&slot->flow.flags);
	// It may be another's already, or have been while it was copied; or have been made current anew.
	if (slot->flow.stamp != stamp || nk_find_plain(family, p, direction) != flow)
		slot->flow.stamp = 0;
}

static __always_inline void nk_flow_saw_plain(const struct nk_plain *p, struct nk_flow *flow)
{
	if (p->tcp_flags & NK_TCP_FIN)
		__sync_fetch_and_or(&flow->flags, NK_FLOW_FIN);
}

static __always_inline void nk_write_plain(struct __sk_buff *skb, enum nk_family family, enum nk_summed summed,
					   enum nk_side side, const struct nk_plain *p, const struct nk_flow *flow)
{
	nk_translate(skb, family, p->proto, summed, p->ip, &p->l4, side, &flow->addr, flow->port);
}

// The node's own prefix that it goes to. Read where it is: mostly the first word says that it is none. With host
// prefixes (host_prefixes.h), the long way decides whose an address in there is.
static __always_inline const volatile struct nk_network *nk_destination_network(enum nk_family family, const void *ip)
{
	return nk_network_around(family, nk_plain_addr(ip, family, NK_DESTINATION));
}

// The first packet by which a container takes a connection up that somebody outside began (arrival.h).
static __noinline bool nk_fast_take_up(struct __sk_buff *skb, enum nk_family family, const struct nk_flow6_key *key,
				       struct nk_flow *flow)
{
	struct nk_flow6_key reverse_key = nk_flow_other_key(key, flow);
	struct nk_flow *reverse = nk_flow_other_half(family, key, &reverse_key, flow->endpoint_id);

	if (!reverse || !nk_flow_take_up_by(skb, family, reverse, flow))
		return false;
	// What was not its SYN was not answered by one.
	if (!nk_flow_answered(flow))
		nk_flow_answers(flow, reverse);
	flow->stamp |= ~NK_STAMP_ARRIVING;
	return true;
}

// Whether what the flow remembers is current. Of one that is not: whether it comes to be by this packet.
static __always_inline bool nk_is_current(struct __sk_buff *skb, enum nk_family family, const struct nk_plain *p,
					  struct nk_flow *flow)
{
	__u32 stamp = nk_stamp();
	struct nk_flow6_key key;

	if (flow->stamp == stamp)
		return true;
	if (flow->stamp != (stamp & NK_STAMP_ARRIVING))
		return false;
	key = family == NK_IPV4 ? nk_flow_widen(nk_plain_key4(p, NK_FLOW_FORWARD)) : nk_plain_key6(p, NK_FLOW_FORWARD);
	return nk_fast_take_up(skb, family, &key, flow);
}

// Whether frame and headers agree with the packet: the slow path judges one where they do not.
static __always_inline bool nk_is_plainly_sent(struct __sk_buff *skb, enum nk_family family, const struct nk_plain *p)
{
	return !skb->vlan_present && nk_plain_type(p) == skb->protocol && nk_plain_len_is_right(skb, family, p);
}

static __always_inline int nk_send_translated(struct __sk_buff *skb, enum nk_family family, enum nk_summed summed,
					      const struct nk_plain *p, const struct nk_flow *flow)
{
	nk_write_plain(skb, family, summed, NK_SOURCE, p, flow);
	skb->tc_index = NK_TC_INDEX_TRANSLATED;
	return nk_send_plain(p, flow->next_hop_mac, flow->uplink_mac, flow->ifindex);
}

// A container's answer to a SYN from outside, if the flow knows the way back from the start (arrival.h). Parsed anew: a
// pointer to what its caller has would keep that out of registers, for every packet.
static __noinline int nk_fast_answer(struct __sk_buff *skb, enum nk_family family)
{
	struct nk_flow6_key key, reverse_key;
	struct nk_flow *flow, *reverse;
	enum nk_summed summed;
	struct nk_plain p;

	if (!nk_parse_plain(skb, family, NK_SOURCE, &p) || !nk_is_plainly_sent(skb, family, &p))
		return NK_LONG_WAY;
	summed = nk_summed_by_container(skb, nk_plain_l4_offset(family), p.proto);
	flow = nk_find_plain(family, &p, NK_FLOW_FORWARD);
	if (summed == NK_SUMMED_WRONG || !flow || flow->stamp != (nk_stamp() & NK_STAMP_ARRIVING) ||
	    flow->container_ifindex != skb->ifindex || !nk_plain_fits(skb, &p, flow->mtu))
		return NK_LONG_WAY;
	key =
	    family == NK_IPV4 ? nk_flow_widen(nk_plain_key4(&p, NK_FLOW_FORWARD)) : nk_plain_key6(&p, NK_FLOW_FORWARD);
	reverse_key = nk_flow_other_key(&key, flow);
	reverse = nk_flow_other_half(family, &key, &reverse_key, flow->endpoint_id);
	if (!reverse)
		return NK_LONG_WAY;
	flow->last_seen_ns = bpf_ktime_get_coarse_ns();
	__sync_fetch_and_or(&flow->flags, NK_FLOW_SYN);
	nk_flow_answers(flow, reverse);
	return nk_send_translated(skb, family, summed, &p, flow);
}

// From a container. `peer`: bpf_redirect_peer() works here.
static __always_inline int nk_fast_out(struct __sk_buff *skb, enum nk_family family, bool peer)
{
	const volatile struct nk_network *network;
	const struct nk_flow *known;
	struct nk_flow *flow = NULL;
	struct nk_flow_slot *slot;
	bool remember = false;
	enum nk_summed summed;
	struct nk_plain p;
	__u32 stamp;

	if (!nk_parse_plain(skb, family, NK_SOURCE, &p))
		return NK_LONG_WAY;
	if (nk_begins_or_ends(&p))
		return published.count && nk_answers_beginning(&p) ? nk_fast_answer(skb, family) : NK_LONG_WAY;
	if (!nk_is_plainly_sent(skb, family, &p))
		return NK_LONG_WAY;
	summed = nk_summed_by_container(skb, nk_plain_l4_offset(family), p.proto);
	if (summed == NK_SUMMED_WRONG)
		return NK_LONG_WAY;
	network = nk_destination_network(family, p.ip);
	if (network)
		return nk_fast_between(skb, family, &p, network, peer);
	slot = nk_flow_slot(family, NK_FLOW_FORWARD, &p);
	if (!slot)
		return NK_LONG_WAY;
	stamp = nk_stamp();
	known = nk_flow_remembered(family, slot, &p, stamp);
	if (!known) {
		remember = nk_flow_may_remember(slot, &p, stamp);
		known = flow = nk_find_plain(family, &p, NK_FLOW_FORWARD);
		if (!flow)
			return nk_fast_routed(skb, family, &p);
	}
	if (known->container_ifindex != skb->ifindex || !nk_plain_fits(skb, &p, known->mtu))
		return NK_LONG_WAY;
	if (flow) {
		if (!nk_is_current(skb, family, &p, flow))
			return NK_LONG_WAY;
		nk_flow_saw_plain(&p, flow);
		if (remember)
			nk_flow_remember(family, NK_FLOW_FORWARD, slot, &p, flow, stamp);
	}
	return nk_send_translated(skb, family, summed, &p, known);
}

// A reply that its flow is to hear of: the first one, or the first in a while. All the rest of the packet is as usual.
static __always_inline int nk_fast_in_anew(struct __sk_buff *skb, enum nk_family family, const struct nk_plain *p,
					   struct nk_flow *flow)
{
	struct nk_delivery to = {.tcp_flags = p->tcp_flags, .family = family};
	int result;

	if (family == NK_IPV4)
		to.key = nk_flow_widen(nk_plain_key4(p, NK_FLOW_REVERSE));
	else
		to.key = nk_plain_key6(p, NK_FLOW_REVERSE);
	result = nk_flow_reply(skb, &to, flow);
	if (result != NK_OK)
		return result == NK_HOST_FLOW ? TCX_NEXT : NK_LONG_WAY;
	nk_translate(skb, family, p->proto, nk_summed(skb, nk_plain_l4_offset(family)), p->ip, &p->l4, NK_DESTINATION,
		     &to.addr, to.port);
	return bpf_redirect_peer(to.ifindex, 0);
}

// nk_port_may_be_ours(), which copies the address for a published port alone.
static __always_inline bool nk_plain_may_be_ours(enum nk_family family, const struct nk_plain *p)
{
	struct nk_addr daddr;

	if (nk_in_pool(p->dport))
		return true;
	if (!nk_is_published(p->proto, p->dport))
		return false;
	daddr = nk_copy_plain_addr(p->ip, family, NK_DESTINATION);
	return nk_may_be_published_at(&daddr, p->proto, p->dport);
}

// From an uplink. The host's own traffic has the shortest way of all: nothing more is asked of it than whether it is
// for a container. No flow is looked for at a container's address (replies of flows go to the host's), but what is not
// for a container is not asked about that for nothing: at a port that may be ours, only where a network is routed.
static __always_inline int nk_fast_in(struct __sk_buff *skb, enum nk_family family)
{
	const volatile struct nk_network *network;
	const struct nk_flow *known;
	struct nk_flow_slot *slot;
	__u32 stamp;
	struct nk_flow *flow;
	struct nk_plain p;
	bool remember;

	if (!nk_parse_plain_ports(skb, family, &p))
		return NK_LONG_WAY;
	if (!nk_plain_may_be_ours(family, &p)) {
		network = nk_destination_network(family, p.ip);
		return network ? nk_fast_to_network(skb, family, &p, network) : TCX_NEXT;
	}
	if (nk_has_routed_network(family)) {
		network = nk_destination_network(family, p.ip);
		if (network)
			return nk_fast_to_network(skb, family, &p, network);
	}
	if (!nk_parse_plain_l4(skb, family, NK_DESTINATION, &p) || p.tcp_flags & NK_TCP_RST ||
	    !nk_plain_len_is_right(skb, family, &p))
		return NK_LONG_WAY;
	slot = nk_flow_slot(family, NK_FLOW_REVERSE, &p);
	if (!slot)
		return NK_LONG_WAY;
	stamp = nk_stamp();
	known = nk_flow_remembered(family, slot, &p, stamp);
	if (!known || known->container_ifindex != skb->ifindex) {
		remember = nk_flow_may_remember(slot, &p, stamp);
		known = flow = nk_find_plain(family, &p, NK_FLOW_REVERSE);
		if (!flow)
			return NK_LONG_WAY;
		if (flow->stamp != stamp || flow->container_ifindex != skb->ifindex || p.tcp_flags & NK_TCP_SYN) {
			if (!nk_flow_is_hosts(flow))
				return nk_fast_in_anew(skb, family, &p, flow);
			flow->last_seen_ns = bpf_ktime_get_coarse_ns();
			return TCX_NEXT;
		}
		nk_flow_saw_plain(&p, flow);
		if (remember)
			nk_flow_remember(family, NK_FLOW_REVERSE, slot, &p, flow, stamp);
	}
	nk_write_plain(skb, family, nk_summed(skb, nk_plain_l4_offset(family)), NK_DESTINATION, &p, known);
	return bpf_redirect_peer(known->ifindex, 0);
}
