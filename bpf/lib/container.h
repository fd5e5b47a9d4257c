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
#include "lib/nat/inside_client.h"
#include "lib/packet/fragment.h"
#include "lib/nat/icmp_error.h"
#include "lib/route/neighbour.h"
#include "lib/route/neighbour_share.h"
#include "lib/node.h"
#include "lib/nat/non_masquerade.h"
#include "lib/packet/parse.h"
#include "lib/packet/rewrite.h"
#include "lib/packet/unreachable.h"
#include "lib/route/route.h"

// Where this packet is in its way through the functions below.
struct nk_out {
	struct nk_ip ip;
	struct nk_l4 l4;
	enum nk_l4_result l4_result;
	struct nk_flow6_key *key; // forward
	struct nk_route *route;
	const struct nk_endpoint *source;
	const volatile struct nk_network *network; // the source's
	bool masquerade;
};

// How the long way is taken.
enum nk_how {
	NK_BY_PEER = 1 << 0,	   // bpf_redirect_peer() works here
	NK_MAY_BE_INSIDE = 1 << 1, // it is not known yet that no flow of a client here has the packet (inside_client.h)
};

// No verdicts of the long way, as NK_LONG_WAY is none: what is to be asked first (inside_client.h).
#define NK_ASK_FRONTENDS (-3)
#define NK_ASK_CLIENTS (-4)

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

static __always_inline int nk_to_endpoint(struct __sk_buff *skb, __u32 how, const struct nk_out *out,
					  const struct nk_endpoint *target)
{
	__u32 ifindex = target->ifindex;

	if (out->ip.ttl <= 1)
		return nk_to_stack(skb, NK_EVENT_STACK_TTL);
	if (!nk_rewrite_ttl(skb, &out->ip) || !nk_write_macs(skb, target->peer_mac, target->host_mac))
		return nk_drop_sent(skb, NK_DROP_REWRITE_FAILED);
	return how & NK_BY_PEER ? bpf_redirect_peer(ifindex, 0) : bpf_redirect(ifindex, 0);
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

static __always_inline int nk_answer_no_uplink(struct __sk_buff *skb, const struct nk_out *out)
{
	nk_note_drop(skb->ifindex, NK_DROP_NO_UPLINK, out->route->fib.ifindex);
	return nk_answer(skb, out->ip.family, NK_DROP_NO_UPLINK, out->network);
}

// To an address inside the node's own prefixes. Nothing in there is ever masqueraded.
static __always_inline int nk_to_prefix(struct __sk_buff *skb, __u32 how, const struct nk_out *out,
					const volatile struct nk_network *network)
{
	const struct nk_endpoint *target;

	if (nk_isolated(out->ip.family, network, &out->key->saddr))
		return nk_drop_sent(skb, NK_DROP_ISOLATED);
	if (how & NK_MAY_BE_INSIDE && out->source->flags & NK_ENDPOINT_ASKED_INSIDE)
		return NK_ASK_CLIENTS;
	if (nk_is_gateway(out->ip.family, network, &out->key->daddr))
		return nk_to_stack(skb, NK_EVENT_STACK_HOST);
	target = nk_endpoint(out->ip.family, &out->key->daddr);
	if (!target)
		return nk_answer_no_container(skb, out->ip.family, network);
	return nk_to_endpoint(skb, how, out, target);
}

// NK_OK, or why this packet cannot be masqueraded.
static __always_inline int nk_check_masquerade(const struct nk_out *out)
{
	if (out->l4_result == NK_L4_MALFORMED)
		return out->ip.fragment ? NK_DROP_FRAGMENT : NK_DROP_MALFORMED;
	if (out->l4_result == NK_L4_ICMP_ERROR && out->ip.fragment)
		return NK_DROP_FRAGMENT;
	if (out->l4_result == NK_L4_UNSUPPORTED)
		return NK_DROP_PROTOCOL;
	if (out->l4.echo_reply)
		return NK_DROP_NO_FLOW;
	return NK_OK;
}

// The later ones will follow it.
static __always_inline bool nk_first_fragment(struct __sk_buff *skb, const struct nk_out *out,
					      const struct nk_masquerade *m)
{
	__be16 id = nk_fragment_remember_out(m, out->ip.id, out->route->fib.ifindex);

	return out->ip.family == NK_IPV6 || nk_write_id(skb, id);
}

// What follows a first fragment that is not translated must not follow one of the past with its identification.
static __always_inline int nk_refuse(struct __sk_buff *skb, const struct nk_out *out, enum nk_counter reason)
{
	if (out->ip.fragment == NK_FRAGMENT)
		nk_fragment_forget(out->key, out->ip.id);
	return nk_drop_sent(skb, reason);
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
static __always_inline int nk_masquerade(struct __sk_buff *skb, const struct nk_out *out, struct nk_masquerade *m)
{
	int result;

	if (out->ip.fragment & NK_FRAGMENT_LATER)
		return nk_later_fragment_outbound(skb, &out->ip, m, out->route);
	result = nk_check_masquerade(out);
	if (result != NK_OK)
		return result;
	if (out->l4_result == NK_L4_ICMP_ERROR)
		return nk_error_from_container(skb, &out->ip, m, out->route);
	result = nk_flow_outbound(skb, m, out->route);
	if (result != NK_OK)
		return result;
	if (out->route->result == BPF_FIB_LKUP_RET_NO_NEIGH)
		nk_copy_to_stack(skb);
	if (out->ip.fragment && !nk_first_fragment(skb, out, m))
		return NK_DROP_REWRITE_FAILED;
	return nk_rewrite(skb, &out->ip, out->key->proto, NK_SOURCE, &m->addr, m->port) ? NK_OK
											: NK_DROP_REWRITE_FAILED;
}

static __always_inline bool nk_may_have_next_hop(const struct nk_out *out)
{
	return out->route->result != BPF_FIB_LKUP_RET_NO_NEIGH ||
	       nk_may_ask_for_neighbour(out->ip.family, &out->key->daddr, out->route, out->source->id);
}

static __always_inline int nk_forward(struct __sk_buff *skb, const struct nk_out *out, struct nk_masquerade *m)
{
	int result;

	if (!out->route->to_uplink)
		return nk_answer_no_uplink(skb, out);
	if (out->ip.ttl <= 1)
		return nk_to_stack(skb, NK_EVENT_STACK_TTL);
	if (!nk_may_have_next_hop(out))
		return nk_refuse(skb, out, NK_DROP_NEIGHBOUR_SHARE);
	if (out->masquerade) {
		result = nk_masquerade(skb, out, m);
		nk_mark(skb, NK_TC_INDEX_TRANSLATED);
	} else {
		result = nk_rewrite_ttl(skb, &out->ip) ? NK_OK : NK_DROP_REWRITE_FAILED;
		out->route->routed = out->key->saddr;
	}
	if (result != NK_OK)
		return nk_refuse(skb, out, result);
	return nk_send(skb, out->route);
}

// Hands a packet that may be fragmented, and has to be, to the stack as it is, when it is known what its fragments
// are to be translated to; that is done where they leave (fragment.h). The segments of a large one have
// identifications of their own, which are not known yet.
static __always_inline int nk_let_fragment(struct __sk_buff *skb, const struct nk_out *out, struct nk_masquerade *m)
{
	int result;

	if (skb->gso_size || out->l4_result == NK_L4_ICMP_ERROR)
		return nk_drop_sent(skb, NK_DROP_TOO_BIG);
	if (out->ip.ttl <= 1)
		return nk_to_stack(skb, NK_EVENT_STACK_TTL);
	nk_mark(skb, NK_TC_INDEX_TOO_BIG);
	if (out->ip.fragment & NK_FRAGMENT_LATER)
		return nk_to_stack(skb, NK_EVENT_STACK_FRAGMENTS);
	if (!nk_has_next_hop(out->route))
		return nk_drop_sent(skb, NK_DROP_TOO_BIG);
	result = nk_check_masquerade(out);
	if (result == NK_OK)
		result = nk_flow_outbound(skb, m, out->route);
	if (result != NK_OK)
		return nk_refuse(skb, out, result);
	nk_fragment_remember_out(m, out->ip.id, out->route->fib.ifindex);
	return nk_to_stack(skb, NK_EVENT_STACK_FRAGMENTS);
}

// The stack answers a packet that must not be fragmented; one that may be, it fragments and sends on as it is: right
// for a routed network, but not for a masqueraded one.
static __always_inline int nk_too_big(struct __sk_buff *skb, const struct nk_out *out, struct nk_masquerade *m)
{
	if (out->ip.family != NK_IPV4 || out->ip.whole)
		return nk_to_stack(skb, NK_EVENT_STACK_TOO_BIG);
	// The way of what fits into the MTU that was found: where it does not fit, the answer has no device or address.
	nk_ask_fib(skb, &m->route_key, m->class, out->route->fib.mtu_result, out->route);
	if (nk_has_next_hop(out->route) && !out->route->to_uplink)
		return nk_answer_no_uplink(skb, out);
	if (!nk_may_have_next_hop(out))
		return nk_refuse(skb, out, NK_DROP_NEIGHBOUR_SHARE);
	return out->masquerade ? nk_let_fragment(skb, out, m) : nk_to_stack(skb, NK_EVENT_STACK_TOO_BIG);
}

static __always_inline int nk_by_route(struct __sk_buff *skb, struct nk_out *out, struct nk_masquerade *m)
{
	out->route = nk_route_of(skb, &m->route_key, out->ip.family, m->class, m->wire_len);
	if (!out->route)
		return nk_drop_sent(skb, NK_DROP_ROUTE);
	switch (out->route->result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return nk_forward(skb, out, m);
	case BPF_FIB_LKUP_RET_NOT_FWDED:
		return nk_to_stack(skb, NK_EVENT_STACK_HOST);
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return nk_to_stack(skb, NK_EVENT_STACK_NO_ROUTE);
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return nk_too_big(skb, out, m);
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return nk_drop_sent(skb, NK_DROP_FORWARDING_OFF);
	case NK_WAY_SUPPRESSED:
		nk_note_drop(skb->ifindex, NK_DROP_POLICY_RULE, 0);
		return nk_answer(skb, out->ip.family, NK_DROP_POLICY_RULE, out->network);
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		return nk_answer_no_uplink(skb, out);
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

static __always_inline int nk_to_outside(struct __sk_buff *skb, struct nk_out *out)
{
	struct nk_masquerade *m = nk_masquerade_place();

	if (!m)
		return nk_drop_sent(skb, NK_DROP_ROUTE);
	m->key = *out->key;
	m->now_ns = bpf_ktime_get_coarse_ns();
	m->family = out->ip.family;
	m->class = nk_class(&out->ip);
	m->wire_len = nk_wire_len(skb, &out->ip, &out->l4);
	m->endpoint_id = out->source->id;
	m->endpoint_ifindex = out->source->ifindex;
	m->home = out->source->home;
	m->endpoint_flags = out->source->flags;
	m->network_flags = out->network ? out->network->flags : 0;
	if (m->network_flags & NK_NETWORK_FIXED_SOURCE)
		m->network_source = nk_network_addr(&out->network->source);
	m->tcp_flags = out->l4.tcp_flags;
	m->route_key = m->key;
	if (m->endpoint_flags & NK_ENDPOINT_PUBLISHED)
		nk_route_as_node(skb, m);
	return nk_by_route(skb, out, m);
}

// A connection that was masqueraded before the configuration said otherwise stays so: its other end knows it by that
// address. As does who began one, to a published port.
static __always_inline bool nk_was_masqueraded(const struct nk_out *out)
{
	const struct nk_flow *flow;

	if (out->l4_result != NK_L4_OK)
		return false;
	flow = nk_flow_find(out->ip.family, out->key);
	return flow && (nk_flow_answered(flow) || nk_flow_is_inbound(flow)) && flow->endpoint_id == out->source->id;
}

// An endpoint outside every network is a configuration the programs have not seen yet: nothing leaves untranslated.
static __always_inline bool nk_must_masquerade(const struct nk_out *out)
{
	if (!out->network)
		return true;
	if (nk_masqueraded(out->network) && !nk_is_non_masquerade(out->ip.family, &out->key->daddr))
		return true;
	return nk_was_masqueraded(out);
}

// What an IPv6 stack says to its link by itself is no attempt at anything, and ends here.
static __always_inline bool nk_stays_on_link(enum nk_family family, const struct nk_flow6_key *key)
{
	return family == NK_IPV6 &&
	       (nk_link_scope6(&key->saddr) || nk_link_scope6(&key->daddr) || nk_addr_is_unset(NK_IPV6, &key->saddr));
}

// Whether this packet may be for a container, by a port of the host's that is published, or be an error about such a
// one. `by_address`: of a fragment or an error, only the host's address says so yet.
static __noinline bool nk_may_be_for_frontend(enum nk_family family, const struct nk_flow6_key *key, bool by_address)
{
	if (by_address)
		return nk_is_own_address(family, &key->daddr);
	return nk_is_published(key->proto, key->dport) && nk_may_be_published_at(&key->daddr, key->proto, key->dport);
}

// Whether this packet is masqueraded, and by which ports it is routed; false if it is a fragment that nobody can tell
// that of. A later fragment follows the first one. Where nothing is translated, no fragment's ports are looked at, so
// that all of one packet go one way.
static __always_inline bool nk_find_ports(struct nk_out *out)
{
	if (out->ip.fragment & NK_FRAGMENT_LATER) {
		out->masquerade = nk_must_masquerade(out);
		if (!nk_fragment_ports(out->key, out->ip.id, out->source->id))
			return !out->masquerade;
		out->masquerade = true;
		return true;
	}
	out->masquerade = nk_must_masquerade(out);
	if (out->ip.fragment && !out->masquerade)
		out->key->sport = out->key->dport = 0;
	return true;
}

static __always_inline int nk_from_container_ip(struct __sk_buff *skb, __u32 how, enum nk_family family)
{
	struct nk_flow6_key key;
	struct nk_out out = {.l4_result = NK_L4_UNSUPPORTED, .key = &key};
	const volatile struct nk_network *network;
	int result;

	nk_mark(skb, 0);
	if (!nk_parse_ip(skb, family, &out.ip, &key))
		return nk_drop_sent(skb, NK_DROP_MALFORMED);
	if (nk_stays_on_link(family, &key))
		return nk_drop_sent(skb, NK_DROP_LINK_SCOPE);
	// With net.ipv4.conf.all.route_localnet the host would take them for its own (CVE-2020-8558).
	if (nk_loopback(family, &key.saddr) || nk_loopback(family, &key.daddr))
		return nk_drop_sent(skb, NK_DROP_LOOPBACK);
	out.source = nk_endpoint(family, &key.saddr);
	if (!out.source || out.source->ifindex != skb->ifindex)
		return nk_drop_sent(skb, NK_DROP_SPOOFED_SOURCE);
	if (nk_sum_is_misplaced(skb, ETH_HLEN + out.ip.header_len, key.proto))
		return nk_drop_sent(skb, NK_DROP_MALFORMED);
	result = nk_check_icmp(skb, &out.ip, &key);
	if (result != NK_OK)
		return nk_refuse(skb, &out, result);
	network = nk_network_of(family, &key.daddr);
	if (network)
		return nk_to_prefix(skb, how, &out, network);
	if (nk_never_forwarded(family, &key.daddr))
		return nk_to_stack(skb, NK_EVENT_STACK_HOST);
	if (!(out.ip.fragment & NK_FRAGMENT_LATER))
		out.l4_result = nk_parse_l4(skb, &out.ip, &out.l4, &key);
	if (how & NK_MAY_BE_INSIDE && published.count &&
	    nk_may_be_for_frontend(family, &key,
				   out.ip.fragment & NK_FRAGMENT_LATER || out.l4_result == NK_L4_ICMP_ERROR))
		return NK_ASK_FRONTENDS;
	out.network = nk_network_of(family, &key.saddr);
	if (!nk_find_ports(&out))
		// To the host itself its first one went as it was.
		return nk_is_own_address(family, &key.daddr) ? nk_to_stack(skb, NK_EVENT_STACK_HOST)
							     : nk_drop_sent(skb, NK_DROP_FRAGMENT);
	return nk_to_outside(skb, &out);
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

NK_GLOBAL int nk_from_container4(struct __sk_buff *skb, __u32 how)
{
	return nk_from_container_ip(skb, how, NK_IPV4);
}

NK_GLOBAL int nk_from_container6(struct __sk_buff *skb, __u32 how)
{
	return nk_from_container_ip(skb, how, NK_IPV6);
}

// From here, since the stack has no room for one of these functions within the other.
static __always_inline int nk_take_long_way4(struct __sk_buff *skb, bool peer)
{
	__u32 how = peer ? NK_BY_PEER : 0;
	int verdict = nk_from_container4(skb, how | NK_MAY_BE_INSIDE);

	if (verdict == NK_ASK_FRONTENDS)
		verdict = nk_to_frontend4(skb, peer);
	else if (verdict == NK_ASK_CLIENTS)
		verdict = nk_to_client4(skb, peer);
	return verdict == NK_LONG_WAY ? nk_from_container4(skb, how) : verdict;
}

static __always_inline int nk_take_long_way6(struct __sk_buff *skb, bool peer)
{
	__u32 how = peer ? NK_BY_PEER : 0;
	int verdict = nk_from_container6(skb, how | NK_MAY_BE_INSIDE);

	if (verdict == NK_ASK_FRONTENDS)
		verdict = nk_to_frontend6(skb, peer);
	else if (verdict == NK_ASK_CLIENTS)
		verdict = nk_to_client6(skb, peer);
	return verdict == NK_LONG_WAY ? nk_from_container6(skb, how) : verdict;
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
