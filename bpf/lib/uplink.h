// The uplink's two directions.
//
// In: a packet to an address of a routed network goes straight to its container. To one of a masqueraded network it was
// never asked for (the outside knows the node's address only) and is dropped, whatever it is, unless it comes from
// where the containers' own addresses are known (non_masquerade.h). A packet to a port that may be ours (ports.h) may
// be a reply and goes to its container, and so does an ICMP error about a packet from there; all else is the host's.
// Out: the safety net behind the containers' programs, one comparison; and the host's own flows are noted
// (host_flow.h).
#pragma once

#include <linux/if_packet.h>

#include "lib/base.h"
#include "lib/addr.h"
#include "lib/counters.h"
#include "lib/endpoint.h"
#include "lib/host_device.h"
#include "lib/nat/arrival.h"
#include "lib/nat/fast.h"
#include "lib/nat/flow_reply.h"
#include "lib/packet/fragment.h"
#include "lib/nat/host_flow.h"
#include "lib/nat/host_socket.h"
#include "lib/nat/icmp_error.h"
#include "lib/node.h"
#include "lib/nat/non_masquerade.h"
#include "lib/nat/ports.h"
#include "lib/nat/sent_by_rule.h"
#include "lib/packet/parse.h"
#include "lib/packet/rewrite.h"
#include "lib/packet/skb.h"
#include "lib/uplink_set.h"

static __always_inline int nk_deliver(struct __sk_buff *skb, const struct nk_ip *ip, const struct nk_delivery *to)
{
	if (!nk_rewrite(skb, ip, to->key.proto, NK_DESTINATION, &to->addr, to->port))
		return nk_drop(skb, NK_DROP_REWRITE_FAILED);
	return bpf_redirect_peer(to->ifindex, 0);
}

// To a port that may be ours, of no flow that is known: it is the host's. During an upgrade it may be of a flow that is
// not taken over yet (netd/datapath/upgrade.h): the host must not answer that with a reset. (An echo reply that nobody
// waits for it does not answer.)
static __noinline int nk_without_flow(struct __sk_buff *skb, enum nk_family family, const struct nk_flow6_key *key)
{
	if (!node.upgrading || key->proto == IPPROTO_ICMP || key->proto == IPPROTO_ICMPV6 ||
	    nk_host_has_socket(skb, family, key->proto, &key->saddr, key->sport, &key->daddr, key->dport))
		return TCX_NEXT;
	return nk_drop(skb, NK_DROP_UPGRADING);
}

// A packet to a port that may be ours: it may be the host's nevertheless.
static __always_inline int nk_reply(struct __sk_buff *skb, const struct nk_ip *ip, const struct nk_l4 *l4,
				    const struct nk_flow6_key *key)
{
	struct nk_delivery to = {
	    .key = *key,
	    .tcp_flags = l4->tcp_flags,
	    .family = ip->family,
	};
	int result;

	if (ip->ttl <= 1)
		return nk_flow_of_container(to.family, &to.key) ? nk_drop(skb, NK_DROP_TTL) : TCX_NEXT;
	result = nk_flow_inbound(skb, &to);
	if (result == NK_NO_FLOW && nk_is_published(key->proto, key->dport))
		result = nk_flow_arrive(skb, &to);
	if (result >= 0)
		return nk_drop(skb, result);
	if (result != NK_OK)
		return result == NK_HOST_FLOW ? TCX_NEXT : nk_without_flow(skb, ip->family, key);
	if (ip->fragment)
		nk_fragment_remember_in(key, ip->id, &to.addr, to.ifindex);
	return nk_deliver(skb, ip, &to);
}

// A whole packet to the node, or a first fragment.
static __always_inline int nk_to_node(struct __sk_buff *skb, const struct nk_ip *ip, struct nk_flow6_key *key)
{
	struct nk_l4 l4 = {};

	key->direction = NK_FLOW_REVERSE;
	switch (nk_parse_l4(skb, ip, &l4, key)) {
	case NK_L4_OK:
		return nk_port_may_be_ours(&key->daddr, key->proto, key->dport) ? nk_reply(skb, ip, &l4, key)
										: TCX_NEXT;
	case NK_L4_ICMP_ERROR:
		return ip->fragment ? TCX_NEXT : nk_error_from_uplink(skb, ip, key);
	default:
		return TCX_NEXT;
	}
}

// What is not for a container. Of a routed network the stack knows what to do: it has the gateway's address, and
// answers for those that nobody has.
static __always_inline int nk_not_for_container(struct __sk_buff *skb, const volatile struct nk_network *network)
{
	return nk_masqueraded(network) ? nk_drop(skb, NK_DROP_UNSOLICITED) : TCX_NEXT;
}

// Of what comes to a masqueraded network.
static __always_inline bool nk_was_asked_for(struct __sk_buff *skb, const struct nk_ip *ip,
					     const struct nk_flow6_key *key)
{
	return nk_has_non_masquerade(ip->family) &&
	       (nk_find_non_masquerade(ip->family, &key->saddr) || nk_error_is_about_non_masquerade(skb, ip, key));
}

// What the host's stack knows more of, and the one way from there to containers judges then (to_container.h): whether a
// network wants all that is forwarded, or a rule of the host's sent a container's packet to another runtime's
// container, which answers.
static __always_inline bool nk_may_be_stacks(struct __sk_buff *skb, const volatile struct nk_network *network)
{
	return network->flags & NK_NETWORK_ACCEPT_FORWARDED || nk_is_inner_bridge(skb->ifindex);
}

// To an address of the containers' own: routed to its container, whatever the stack would do with it. With its TTL used
// up, it is for the stack to answer, if the host forwards.
static __always_inline int nk_to_network(struct __sk_buff *skb, const struct nk_ip *ip, const struct nk_flow6_key *key,
					 const volatile struct nk_network *network)
{
	const struct nk_endpoint *target;

	if (nk_is_inside_source(ip->family, &key->saddr))
		return nk_drop(skb, NK_DROP_UNSOLICITED);
	if (nk_masqueraded(network) && !nk_was_asked_for(skb, ip, key))
		return nk_may_be_stacks(skb, network) ? TCX_NEXT : nk_drop(skb, NK_DROP_UNSOLICITED);
	// A tag leads to a VLAN device of the host, which may be an uplink itself.
	if (nk_has_vlan(skb))
		return TCX_NEXT;
	if (skb->pkt_type != PACKET_HOST || nk_is_gateway(ip->family, network, &key->daddr))
		return nk_not_for_container(skb, network);
	target = nk_endpoint(ip->family, &key->daddr);
	if (!target)
		return nk_not_for_container(skb, network);
	if (nk_is_answer_to_rule(skb, ip->family, target->id))
		return TCX_NEXT;
	if (ip->ttl <= 1) {
		nk_count(skb, NK_EVENT_STACK_TTL);
		return TCX_NEXT;
	}
	if (!nk_rewrite_ttl(skb, ip))
		return nk_drop(skb, NK_DROP_REWRITE_FAILED);
	return bpf_redirect_peer(target->ifindex, 0);
}

// What cannot be read may be a packet that the stack would forward all the same: one of IPv6 that says it is empty but
// for a hop-by-hop header, it takes for as long as it is (ip6_rcv_core() in net/ipv6/ip6_input.c). None gets to a
// container.
static __always_inline int nk_unreadable(struct __sk_buff *skb, enum nk_family family)
{
	void *header = nk_ip_header(skb, family);
	struct nk_addr daddr;

	if (!header)
		return TCX_NEXT;
	daddr = nk_copy_plain_addr(header, family, NK_DESTINATION);
	return nk_network_of(family, &daddr) ? nk_drop(skb, NK_DROP_MALFORMED) : TCX_NEXT;
}

// Whether a fragment may be of what was sent to a container: others than the first one have no ports to find a flow by
// (nk_flow_comes_by), so of what an inner bridge brings the host's route to its source has to lead there.
static __noinline bool nk_may_be_fragment_of_answer(struct __sk_buff *skb, enum nk_family family,
						    const struct nk_addr *saddr)
{
	struct bpf_fib_lookup fib = {.family = family, .ifindex = node.host_device};
	long result;

	if (!nk_is_inner_bridge(skb->ifindex))
		return true;
	if (family == NK_IPV4)
		fib.ipv4_dst = saddr->word[0];
	else
		__builtin_memcpy(fib.ipv6_dst, saddr, sizeof(fib.ipv6_dst));
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), BPF_FIB_LOOKUP_SKIP_NEIGH);
	return result == BPF_FIB_LKUP_RET_SUCCESS && fib.ifindex == skb->ifindex;
}

static __always_inline int nk_from_uplink(struct __sk_buff *skb, enum nk_family family)
{
	const volatile struct nk_network *network;
	struct nk_flow6_key key;
	struct nk_ip ip;
	int verdict;

	// To another machine, or to a macvlan or bridge on this device: the stack knows.
	if (skb->pkt_type == PACKET_OTHERHOST)
		return TCX_NEXT;
	if (!nk_parse_ip(skb, family, &ip, &key))
		return nk_unreadable(skb, family);
	network = nk_network_of(family, &key.daddr);
	if (network)
		return nk_to_network(skb, &ip, &key, network);
	// A tag leads to a VLAN device of the host; flows live on the uplink itself.
	if (nk_has_vlan(skb) || skb->pkt_type != PACKET_HOST)
		return TCX_NEXT;
	if (ip.fragment && !nk_may_be_fragment_of_answer(skb, family, &key.saddr))
		return TCX_NEXT;
	if (ip.fragment & NK_FRAGMENT_LATER)
		return nk_later_fragment_inbound(skb, &ip, &key);
	verdict = nk_to_node(skb, &ip, &key);
	if (ip.fragment && verdict == TCX_NEXT)
		nk_fragment_forget(&key, ip.id);
	return verdict;
}

// Functions of their own, so that the variables of one don't count for the others' stack.
NK_GLOBAL int nk_fast_in4(struct __sk_buff *skb)
{
	return nk_fast_in(skb, NK_IPV4);
}

NK_GLOBAL int nk_fast_in6(struct __sk_buff *skb)
{
	return nk_fast_in(skb, NK_IPV6);
}

NK_GLOBAL int nk_from_uplink4(struct __sk_buff *skb)
{
	return nk_from_uplink(skb, NK_IPV4);
}

NK_GLOBAL int nk_from_uplink6(struct __sk_buff *skb)
{
	return nk_from_uplink(skb, NK_IPV6);
}

static __always_inline int nk_uplink_in(struct __sk_buff *skb)
{
	bool fast = skb->pkt_type == PACKET_HOST && !nk_has_vlan(skb);
	int verdict = NK_LONG_WAY;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (fast)
			verdict = nk_fast_in4(skb);
		return verdict == NK_LONG_WAY ? nk_from_uplink4(skb) : verdict;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (fast)
			verdict = nk_fast_in6(skb);
		return verdict == NK_LONG_WAY ? nk_from_uplink6(skb) : verdict;
	}
	return TCX_NEXT;
}

// What a rule of the host's sends on from a container to another runtime's, at the port that this publishes.
static __always_inline bool nk_is_sent_by_rule(struct __sk_buff *skb)
{
	return nk_comes_from_container(skb) && nk_ct_translated(skb) & NK_CT_DST_NAT &&
	       nk_is_inner_bridge(skb->ifindex);
}

// Behind a VLAN tag (`tagged`), or of IPv6, nothing was handed to the stack to be translated here. `ip`: the network
// header, at `offset`.
static __always_inline int nk_check_source(struct __sk_buff *skb, enum nk_family family, __u32 offset, bool tagged,
					   const void *ip)
{
	const volatile struct nk_network *network = nk_network(family, nk_plain_addr(ip, family, NK_SOURCE));
	struct nk_addr daddr;

	if (!network)
		return tagged ? TCX_NEXT : nk_host_flow(skb, family, offset);
	if (!nk_masqueraded(network))
		return TCX_NEXT;
	if (skb->tc_index == NK_TC_INDEX_COPY)
		return nk_drop(skb, NK_EVENT_COPY_ENDED);
	daddr = nk_copy_plain_addr(ip, family, NK_DESTINATION);
	if (nk_is_non_masquerade(family, &daddr) || nk_is_sent_by_rule(skb))
		return TCX_NEXT;
	if (family == NK_IPV4 && !tagged && !skb->vlan_present)
		return nk_fragment_of_stack(skb, offset);
	return nk_drop(skb, NK_DROP_UNTRANSLATED);
}

// `offset`: of the network header, whose type is `protocol`.
static __always_inline int nk_to_uplink_ip(struct __sk_buff *skb, __u32 protocol, __u32 offset, bool tagged)
{
	struct ipv6hdr *ip6;
	struct iphdr *ip4;

	if (protocol == bpf_htons(ETH_P_IP)) {
		if (nk_may_plainly_leave(skb, NK_IPV4, offset))
			return TCX_NEXT;
		ip4 = nk_header(skb, offset, sizeof(*ip4));
		return ip4 ? nk_check_source(skb, NK_IPV4, offset, tagged, ip4) : TCX_NEXT;
	}
	if (protocol == bpf_htons(ETH_P_IPV6)) {
		if (nk_may_plainly_leave(skb, NK_IPV6, offset))
			return TCX_NEXT;
		ip6 = nk_header(skb, offset, sizeof(*ip6));
		return ip6 ? nk_check_source(skb, NK_IPV6, offset, tagged, ip6) : TCX_NEXT;
	}
	return TCX_NEXT;
}

// IEEE 802.1Q, 9.3: two bytes of tag, then the inner type.
#define NK_VLAN_HLEN 4

// Behind a VLAN tag that is in the data: from a VLAN device on top of an uplink without tag offload.
static __noinline int nk_to_uplink_tagged(struct __sk_buff *skb)
{
	__be16 *inner_protocol = nk_header(skb, ETH_HLEN + sizeof(__be16), sizeof(*inner_protocol));

	return inner_protocol ? nk_to_uplink_ip(skb, *inner_protocol, ETH_HLEN + NK_VLAN_HLEN, true) : TCX_NEXT;
}

static __always_inline int nk_to_uplink(struct __sk_buff *skb)
{
	bool tagged = skb->protocol == bpf_htons(ETH_P_8021Q) || skb->protocol == bpf_htons(ETH_P_8021AD);
	int verdict = tagged ? nk_to_uplink_tagged(skb) : nk_to_uplink_ip(skb, skb->protocol, ETH_HLEN, false);

	if (verdict == TCX_NEXT && nk_comes_from_container(skb))
		nk_note_sent_by_rule(skb);
	return verdict;
}
