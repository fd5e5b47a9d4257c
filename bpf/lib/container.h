// A packet that leaves a container: the same for every kind of device. `peer`: bpf_redirect_peer() works there (it is
// for tc ingress only).
//
// In order: is it IP (or a question to its link, neighbour.h), is it whole, is its source the container's own; then to
// the host, to another container, or out by the host's routing, masqueraded where its network says so. A packet of an
// established flow takes the way that the flow remembers (route.h). What the fast path cannot do is handed to the
// host's stack (host_device.h), which answers with the right ICMP error; a packet that was rewritten never is.
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/endpoint_drops.h"
#include "lib/endpoint.h"
#include "lib/host_device.h"
#include "lib/nat/fast.h"
#include "lib/nat/flow_create.h"
#include "lib/nat/host_client.h"
#include "lib/nat/icmp_error.h"
#include "lib/nat/inside_client.h"
#include "lib/nat/masquerade.h"
#include "lib/nat/non_masquerade.h"
#include "lib/node.h"
#include "lib/packet/fragment.h"
#include "lib/packet/rewrite.h"
#include "lib/packet/unreachable.h"
#include "lib/route/neighbour.h"
#include "lib/route/neighbour_share.h"
#include "lib/route/route.h"
#include "lib/sent_packet.h"

// What is in skb->tc_index (abi.h, base.h). A container writes there what it likes (tc-u32(8), classid), so that it is
// cleared first. A function of its own, or the compiler keeps a pointer to it, which the verifier refuses.
static __noinline int nk_mark(struct __sk_buff *skb, __u32 mark)
{
	skb->tc_index = mark;
	return 0;
}

static __noinline int nk_to_stack(struct __sk_buff *skb, enum nk_counter event)
{
	nk_count(skb, event);
	return nk_to_host(skb);
}

static __always_inline int nk_to_endpoint(struct __sk_buff *skb, enum nk_family family, bool peer,
					  const struct nk_masquerade *m, const struct nk_endpoint *target)
{
	struct nk_ip ip = m->ip;

	if (ip.ttl <= 1)
		return nk_to_stack(skb, NK_EVENT_STACK_TTL);
	ip.family = family; // a constant
	return nk_rewrite_ttl(skb, &ip) ? nk_send_to(skb, peer, target) : nk_drop_sent(skb, NK_DROP_REWRITE_FAILED);
}

// Back to who sent it, as an ICMP error of its gateway's.
static __noinline int nk_answer(struct __sk_buff *skb, enum nk_family family, enum nk_counter reason,
				const volatile struct nk_network *network)
{
	const struct nk_addr *gateway = network ? (const struct nk_addr *)&network->gateway : NULL;

	if (nk_make_unreachable(skb, family, reason != NK_DROP_NO_CONTAINER, gateway) != NK_OK || !nk_swap_macs(skb))
		return nk_drop(skb, reason);
	nk_count(skb, reason);
	return bpf_redirect(skb->ifindex, 0);
}

static __always_inline int nk_answer_no_container(struct __sk_buff *skb, enum nk_family family,
						  const volatile struct nk_network *network)
{
	nk_note_drop(skb->ifindex, NK_DROP_NO_CONTAINER, 0);
	return nk_answer(skb, family, NK_DROP_NO_CONTAINER, network);
}

static __always_inline int nk_answer_no_uplink(struct __sk_buff *skb, enum nk_family family,
					       const volatile struct nk_network *network, const struct nk_route *route)
{
	nk_note_drop(skb->ifindex, NK_DROP_NO_UPLINK, route->fib.ifindex);
	return nk_answer(skb, family, NK_DROP_NO_UPLINK, network);
}

// What answers a client of a published port, on this host. `network`: that the destination is in; NULL: it is the
// host's. NK_LONG_WAY: it answers none.
static __always_inline int nk_to_client_here(struct __sk_buff *skb, enum nk_family family, bool peer,
					     const struct nk_masquerade *m, const volatile struct nk_network *network)
{
	int verdict = NK_LONG_WAY;

	if (!network || nk_is_gateway(family, network, &m->key.daddr))
		verdict = family == NK_IPV4 ? nk_to_program4(skb, network) : nk_to_program6(skb, network);
	if (verdict != NK_LONG_WAY || !network)
		return verdict;
	return family == NK_IPV4 ? nk_to_client4(skb, peer) : nk_to_client6(skb, peer);
}

// To an address inside the node's own prefixes. Nothing in there is ever masqueraded.
static __always_inline int nk_to_prefix(struct __sk_buff *skb, enum nk_family family, bool peer,
					const struct nk_masquerade *m, const volatile struct nk_network *network)
{
	const struct nk_endpoint *target;
	int verdict;

	if (nk_isolated(family, network, &m->key.saddr))
		return nk_drop_sent(skb, NK_DROP_ISOLATED);
	if (m->endpoint_flags & NK_ENDPOINT_ASKED_INSIDE) {
		verdict = nk_to_client_here(skb, family, peer, m, network);
		if (verdict != NK_LONG_WAY)
			return verdict;
	}
	if (nk_is_gateway(family, network, &m->key.daddr))
		return nk_to_stack(skb, NK_EVENT_STACK_HOST);
	target = nk_endpoint(family, &m->key.daddr);
	if (!target)
		return nk_answer_no_container(skb, family, network);
	return nk_to_endpoint(skb, family, peer, m, target);
}

// NK_OK, or why this packet cannot be masqueraded.
static __always_inline int nk_check_masquerade(const struct nk_masquerade *m)
{
	if (m->l4_result == NK_L4_MALFORMED)
		return m->ip.fragment ? NK_DROP_FRAGMENT : NK_DROP_MALFORMED;
	if (m->l4_result == NK_L4_UNSUPPORTED)
		return NK_DROP_PROTOCOL;
	if (m->echo_reply)
		return NK_DROP_NO_FLOW;
	return NK_OK;
}

// The packet itself will wait for the next hop's address already translated; if there is no answer, the stack's error
// is about the host's own address, and no use to the container. So the stack gets a copy as it was, which waits too: it
// is answered with the right error, or ends at the uplink (uplink.h).
NK_GLOBAL int nk_copy_to_stack(struct __sk_buff *skb)
{
	long error;

	if (!nk_address_to_host(skb))
		return 0;
	skb->tc_index = NK_TC_INDEX_COPY;
	error = bpf_clone_redirect(skb, node.host_device, BPF_F_INGRESS);
	if (!error)
		nk_count(skb, NK_EVENT_STACK_NEIGHBOUR);
	skb->tc_index = 0;
	return error;
}

// NK_OK with the packet rewritten, or the reason to drop it.
static __always_inline int nk_masquerade(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m,
					 struct nk_route *route)
{
	int result;

	if (nk_is_later_fragment(m)) {
		if (!nk_fragment_follow_out(skb, m, m->ip.id, route))
			return NK_DROP_FRAGMENT;
		return nk_write_sent_of(skb, family, NK_SOURCE);
	}
	result = nk_check_masquerade(m);
	if (result != NK_OK)
		return result;
	if (m->l4_result == NK_L4_ICMP_ERROR)
		return nk_error_from_container(skb, m, route);
	result = nk_flow_outbound(skb, m, route);
	if (result != NK_OK)
		return result;
	if (route->result == BPF_FIB_LKUP_RET_NO_NEIGH)
		nk_copy_to_stack(skb);
	m->uplink = route->fib.ifindex;
	return nk_write_sent_of(skb, family, NK_SOURCE);
}

static __always_inline bool nk_may_have_next_hop(enum nk_family family, const struct nk_masquerade *m,
						 const struct nk_route *route)
{
	return route->result != BPF_FIB_LKUP_RET_NO_NEIGH ||
	       nk_may_ask_for_neighbour(family, &m->key.daddr, route, m->endpoint_id);
}

static __always_inline int nk_forward_as_it_is(struct __sk_buff *skb, enum nk_family family,
					       const struct nk_masquerade *m, struct nk_route *route)
{
	struct nk_ip ip = m->ip;

	ip.family = family; // a constant
	if (!nk_rewrite_ttl(skb, &ip))
		return NK_DROP_REWRITE_FAILED;
	route->routed = m->key.saddr;
	return NK_OK;
}

static __always_inline int nk_forward(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m,
				      const volatile struct nk_network *network, struct nk_route *route)
{
	int result;

	if (!route->to_uplink)
		return nk_answer_no_uplink(skb, family, network, route);
	if (m->ip.ttl <= 1)
		return nk_to_stack(skb, NK_EVENT_STACK_TTL);
	if (!nk_may_have_next_hop(family, m, route))
		return nk_refuse(skb, m, NK_DROP_NEIGHBOUR_SHARE);
	if (m->is_masqueraded) {
		result = nk_masquerade(skb, family, m, route);
		nk_mark(skb, NK_TC_INDEX_TRANSLATED);
	} else {
		result = nk_forward_as_it_is(skb, family, m, route);
	}
	return result == NK_OK ? nk_send(skb, route) : nk_refuse(skb, m, result);
}

// Hands a packet that may be fragmented, and has to be, to the stack as it is, when it is known what its fragments
// are to be translated to; that is done where they leave (fragment.h). The segments of a large one have
// identifications of their own, which are not known yet.
static __always_inline int nk_let_fragment(struct __sk_buff *skb, struct nk_masquerade *m, struct nk_route *route)
{
	int result;

	if (skb->gso_size || m->l4_result == NK_L4_ICMP_ERROR)
		return nk_drop_sent(skb, NK_DROP_TOO_BIG);
	if (m->ip.ttl <= 1)
		return nk_to_stack(skb, NK_EVENT_STACK_TTL);
	nk_mark(skb, NK_TC_INDEX_TOO_BIG);
	if (nk_is_later_fragment(m))
		return nk_to_stack(skb, NK_EVENT_STACK_FRAGMENTS);
	if (!nk_has_next_hop(route))
		return nk_drop_sent(skb, NK_DROP_TOO_BIG);
	result = nk_check_masquerade(m);
	if (result == NK_OK)
		result = nk_flow_outbound(skb, m, route);
	if (result != NK_OK)
		return nk_refuse(skb, m, result);
	nk_fragment_remember_out(m, m->ip.id, route->fib.ifindex);
	return nk_to_stack(skb, NK_EVENT_STACK_FRAGMENTS);
}

// The stack answers a packet that must not be fragmented; one that may be, it fragments and sends on as it is: right
// for a routed network, but not for a masqueraded one.
static __always_inline int nk_too_big(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m,
				      const volatile struct nk_network *network, struct nk_route *route)
{
	if (family != NK_IPV4 || m->ip.whole)
		return nk_to_stack(skb, NK_EVENT_STACK_TOO_BIG);
	// The way of what fits into the MTU that was found: where it does not fit, the answer has no device or address.
	nk_ask_fib(skb, &m->route_key, m->class, route->fib.mtu_result, route);
	if (nk_has_next_hop(route) && !route->to_uplink)
		return nk_answer_no_uplink(skb, family, network, route);
	if (!nk_may_have_next_hop(family, m, route))
		return nk_refuse(skb, m, NK_DROP_NEIGHBOUR_SHARE);
	return m->is_masqueraded ? nk_let_fragment(skb, m, route) : nk_to_stack(skb, NK_EVENT_STACK_TOO_BIG);
}

static __always_inline int nk_by_route(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m,
				       const volatile struct nk_network *network)
{
	struct nk_route *route = nk_route_of(skb, &m->route_key, family, m->class, m->wire_len);

	if (!route)
		return nk_drop_sent(skb, NK_DROP_ROUTE);
	switch (route->result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return nk_forward(skb, family, m, network, route);
	case BPF_FIB_LKUP_RET_NOT_FWDED:
		return nk_to_stack(skb, NK_EVENT_STACK_HOST);
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return nk_to_stack(skb, NK_EVENT_STACK_NO_ROUTE);
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return nk_too_big(skb, family, m, network, route);
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return nk_drop_sent(skb, NK_DROP_FORWARDING_OFF);
	case NK_WAY_SUPPRESSED:
		nk_note_drop(skb->ifindex, NK_DROP_POLICY_RULE, 0);
		return nk_answer(skb, family, NK_DROP_POLICY_RULE, network);
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		return nk_answer_no_uplink(skb, family, network, route);
	default:
		return nk_drop_sent(skb, NK_DROP_ROUTE);
	}
}

// What answers somebody who came to a published port is routed as from the node's address, by which he came, where the
// host's policy rules may ask for the source. Rules about containers are about what they begin.
NK_GLOBAL int nk_route_as_node(struct __sk_buff *skb, struct nk_masquerade *m)
{
	const struct nk_flow *flow;

	if (!m || nk_routes_by_address(skb, m->family))
		return 0;
	flow = nk_flow_find(m->family, &m->key);
	if (flow && nk_flow_is_inbound(flow) && flow->endpoint_id == m->endpoint_id) {
		m->route_key.saddr = flow->addr;
		m->route_key.sport = flow->port;
	}
	return 0;
}

// `network`: the container's own; NULL if that is none that the programs know.
static __always_inline int nk_to_outside(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m,
					 const volatile struct nk_network *network)
{
	m->network_flags = network ? network->flags : 0;
	if (m->network_flags & NK_NETWORK_FIXED_SOURCE)
		m->network_source = nk_network_addr(&network->source);
	m->route_key = m->key;
	if (m->endpoint_flags & NK_ENDPOINT_PUBLISHED)
		nk_route_as_node(skb, m);
	return nk_by_route(skb, family, m, network);
}

// A connection that was masqueraded before the configuration said otherwise stays so: its other end knows it by that
// address. As does who began one, to a published port.
static __always_inline bool nk_was_masqueraded(enum nk_family family, const struct nk_masquerade *m)
{
	const struct nk_flow *flow;

	if (m->l4_result != NK_L4_OK)
		return false;
	flow = nk_flow_find(family, &m->key);
	return flow && (nk_flow_answered(flow) || nk_flow_is_inbound(flow)) && flow->endpoint_id == m->endpoint_id;
}

// An endpoint outside every network is a configuration the programs have not seen yet: nothing leaves untranslated.
static __always_inline bool nk_must_masquerade(enum nk_family family, const struct nk_masquerade *m,
					       const volatile struct nk_network *network)
{
	if (!network)
		return true;
	if (nk_masqueraded(network) && !nk_is_non_masquerade(family, &m->key.daddr))
		return true;
	return nk_was_masqueraded(family, m);
}

// Whether this packet may be for a container, by a port of the host's that is published, or be an error about such a
// one. Of a fragment or an error, only the host's address says so yet.
static __noinline bool nk_may_be_for_frontend(enum nk_family family, const struct nk_masquerade *m)
{
	if (nk_is_later_fragment(m) || m->l4_result == NK_L4_ICMP_ERROR)
		return nk_is_own_address(family, &m->key.daddr);
	return nk_is_published(m->key.proto, m->key.dport) &&
	       nk_may_be_published_at(&m->key.daddr, m->key.proto, m->key.dport);
}

// Whether this packet is masqueraded, and by which ports it is routed; false if it is a fragment that nobody can tell
// that of. A later fragment follows the first one. Where nothing is translated, no fragment's ports are looked at, so
// that all of one packet go one way.
static __always_inline bool nk_find_ports(enum nk_family family, struct nk_masquerade *m,
					  const volatile struct nk_network *network)
{
	m->is_masqueraded = nk_must_masquerade(family, m, network);
	if (nk_is_later_fragment(m)) {
		if (!nk_fragment_ports(&m->key, m->ip.id, m->endpoint_id))
			return !m->is_masqueraded;
		m->is_masqueraded = true;
		return true;
	}
	if (m->ip.fragment && !m->is_masqueraded)
		m->key.sport = m->key.dport = 0;
	return true;
}

// Whether all headers before the transport's were read. What nobody has read may be anything: an ICMP error, too, that
// this one may not say. (RFC 7112, 5: they are all in the first fragment, or whoever wants may drop it.)
static __always_inline bool nk_is_readable(enum nk_family family, const struct nk_masquerade *m)
{
	return family == NK_IPV4 || nk_is_later_fragment(m) ||
	       (!nk_is_extension(m->key.proto) && ETH_HLEN + m->ip.header_len <= NK_L4_OFFSET_MASK);
}

// NK_OK, or the reason to drop.
static __always_inline int nk_check_said(struct __sk_buff *skb, enum nk_family family, const struct nk_masquerade *m)
{
	if (!nk_is_readable(family, m))
		return NK_DROP_PROTOCOL;
	return m->l4_result == NK_L4_ICMP_ERROR ? nk_error_check(skb, m) : NK_OK;
}

// Of a first fragment to somebody on this host, which may be translated (inside_flow.h) or go as it is: what follows it
// must not follow one of the past with its identification.
static __always_inline void nk_begin_fragments(enum nk_family family, const struct nk_masquerade *m,
					       const volatile struct nk_network *network)
{
	if (m->ip.fragment == NK_FRAGMENT && (network || nk_is_own_address(family, &m->key.daddr)))
		nk_fragment_forget(&m->key, m->ip.id);
}

static __always_inline int nk_from_container_ip(struct __sk_buff *skb, enum nk_family family, bool peer)
{
	struct nk_masquerade *m = nk_masquerade_place();
	const volatile struct nk_network *network;
	int result;

	if (!m)
		return nk_drop_sent(skb, NK_DROP_MALFORMED);
	result = nk_check_said(skb, family, m);
	if (result != NK_OK)
		return nk_refuse(skb, m, result);
	network = nk_network_of(family, &m->key.daddr);
	nk_begin_fragments(family, m, network);
	if (network)
		return nk_to_prefix(skb, family, peer, m, network);
	if (nk_never_forwarded(family, &m->key.daddr))
		return nk_to_stack(skb, NK_EVENT_STACK_HOST);
	if (m->endpoint_flags & NK_ENDPOINT_ASKED_INSIDE && nk_is_own_address(family, &m->key.daddr)) {
		result = nk_to_client_here(skb, family, peer, m, NULL);
		if (result != NK_LONG_WAY)
			return result;
	}
	if (published.count && nk_may_be_for_frontend(family, m)) {
		result = family == NK_IPV4 ? nk_to_frontend4(skb, peer) : nk_to_frontend6(skb, peer);
		if (result != NK_LONG_WAY)
			return result;
	}
	network = nk_network_of(family, &m->key.saddr);
	if (!nk_find_ports(family, m, network))
		// To the host itself its first one went as it was.
		return nk_is_own_address(family, &m->key.daddr) ? nk_to_stack(skb, NK_EVENT_STACK_HOST)
								: nk_drop_sent(skb, NK_DROP_FRAGMENT);
	return nk_to_outside(skb, family, m, network);
}

// Functions of their own, so that the variables of one don't count for the others' stack.
NK_GLOBAL int nk_fast_out4(struct __sk_buff *skb, bool peer)
{
	return nk_fast_out(skb, NK_IPV4, peer);
}

NK_GLOBAL int nk_fast_out6(struct __sk_buff *skb, bool peer)
{
	return nk_fast_out(skb, NK_IPV6, peer);
}

NK_GLOBAL int nk_from_container4(struct __sk_buff *skb, bool peer)
{
	return nk_from_container_ip(skb, NK_IPV4, peer);
}

NK_GLOBAL int nk_from_container6(struct __sk_buff *skb, bool peer)
{
	return nk_from_container_ip(skb, NK_IPV6, peer);
}

static __always_inline int nk_take_long_way4(struct __sk_buff *skb, bool peer)
{
	int result;

	nk_mark(skb, 0);
	result = nk_read_sent4(skb);
	return result == NK_OK ? nk_from_container4(skb, peer) : nk_drop_sent(skb, result);
}

static __always_inline int nk_take_long_way6(struct __sk_buff *skb, bool peer)
{
	int result;

	nk_mark(skb, 0);
	result = nk_read_sent6(skb);
	return result == NK_OK ? nk_from_container6(skb, peer) : nk_drop_sent(skb, result);
}

// A VLAN tag would go out on the uplink with the packet, into a VLAN that is not the container's.
static __always_inline bool nk_is_what_it_says(struct __sk_buff *skb)
{
	struct ethhdr *header = nk_header(skb, 0, sizeof(*header));

	return header && !skb->vlan_present && header->h_proto == skb->protocol;
}

static __always_inline int nk_from_container(struct __sk_buff *skb, bool peer)
{
	int verdict;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		verdict = nk_fast_out4(skb, peer);
		if (verdict != NK_LONG_WAY)
			return verdict;
		return nk_is_what_it_says(skb) ? nk_take_long_way4(skb, peer) : nk_drop_sent(skb, NK_DROP_NOT_IP);
	}
	if (skb->protocol != bpf_htons(ETH_P_IPV6))
		return skb->protocol == bpf_htons(ETH_P_ARP) && nk_is_what_it_says(skb)
			   ? nk_answer_arp(skb)
			   : nk_drop_sent(skb, NK_DROP_NOT_IP);
	if (!nk_is_what_it_says(skb))
		return nk_drop_sent(skb, NK_DROP_NOT_IP);
	if (!node.network6_count)
		return nk_drop_sent(skb, NK_DROP_IPV6_DISABLED);
	verdict = nk_fast_out6(skb, peer);
	if (verdict != NK_LONG_WAY)
		return verdict;
	return nk_is_solicitation(skb) ? nk_answer_solicitation(skb) : nk_take_long_way6(skb, peer);
}
