// Published ports, for what containers of this host send there from sockets that were not led (published_socket.h):
// datagrams, and what has no socket of the container's own (of a network namespace in it, or of a virtual machine).
//
// Such a packet is translated as an uplink's program does with what comes from outside, and the container sees the
// client's own address; what it answers is translated back on its way to the client. So the flow is like one that comes
// from outside (arrival.h), but for NK_FLOW_INSIDE: nothing of it comes by an uplink, where anybody could write the
// client's address, and no short way knows it. A container that has such clients is marked (NK_ENDPOINT_ASKED_INSIDE),
// so that of nobody else's packets it is asked whether they are answers. The daemon keeps the mark when it writes
// endpoints; one that is lost all the same, the client's next packet sets again.
//
// A container that comes to a port of its own sees its gateway as the client: from its own address it takes nothing.
//
// What cannot be translated goes on as if nothing were published: the host's stack refuses it.
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/endpoint.h"
#include "lib/endpoint_drops.h"
#include "lib/nat/arrival.h"
#include "lib/nat/flow.h"
#include "lib/nat/flow_create.h"
#include "lib/nat/flow_reply.h"
#include "lib/nat/frontend.h"
#include "lib/nat/icmp_error.h"
#include "lib/nat/masquerade.h"
#include "lib/nat/ports.h"
#include "lib/node.h"
#include "lib/packet/fragment.h"
#include "lib/packet/parse.h"
#include "lib/packet/plain.h"
#include "lib/packet/rewrite.h"

// A container's packet is read anew, into nk_masquerade_place(): its program has no room on the stack for what follows.
// What reads and what writes are functions of their own, or the verifier would go through one for each outcome of the
// other.
static __always_inline int nk_read_inside(struct __sk_buff *skb, enum nk_family family)
{
	struct nk_masquerade *m = nk_masquerade_place();
	int result = NK_L4_OK;
	const struct nk_endpoint *source;
	struct nk_l4 l4 = {};
	struct nk_ip ip;

	if (!m || !nk_parse_ip(skb, family, &ip, &m->key) || ip.ttl <= 1)
		return NK_L4_UNSUPPORTED;
	source = nk_endpoint(family, &m->key.saddr);
	if (!source)
		return NK_L4_UNSUPPORTED;
	if (!(ip.fragment & NK_FRAGMENT_LATER))
		result = nk_parse_l4(skb, &ip, &l4, &m->key);
	m->ip = ip;
	m->family = family;
	m->now_ns = bpf_ktime_get_coarse_ns();
	m->endpoint_id = source->id;
	m->tcp_flags = l4.tcp_flags;
	return result;
}

NK_GLOBAL int nk_read_inside4(struct __sk_buff *skb)
{
	return nk_read_inside(skb, NK_IPV4);
}

NK_GLOBAL int nk_read_inside6(struct __sk_buff *skb)
{
	return nk_read_inside(skb, NK_IPV6);
}

// Writes m->addr and m->port, and what fragments are known by: NK_OK, or the reason to drop.
static __always_inline int nk_write_inside(struct __sk_buff *skb, enum nk_family family, enum nk_side side)
{
	struct nk_masquerade *m = nk_masquerade_place();
	struct nk_ip ip;
	bool written;
	__be16 id;

	if (!m)
		return NK_DROP_REWRITE_FAILED;
	ip = m->ip;
	ip.family = family; // a constant
	if (ip.fragment) {
		id = ip.fragment == NK_FRAGMENT ? nk_fragment_remember_out(m, ip.id, 0) : m->port;
		if (family == NK_IPV4 && !nk_write_id(skb, id))
			return NK_DROP_REWRITE_FAILED;
	}
	if (ip.fragment & NK_FRAGMENT_LATER)
		written = nk_rewrite_addr(skb, &ip, side, &m->addr);
	else
		written = nk_rewrite(skb, &ip, m->key.proto, side, &m->addr, m->port);
	return written ? NK_OK : NK_DROP_REWRITE_FAILED;
}

NK_GLOBAL int nk_write_inside4(struct __sk_buff *skb, int side)
{
	return nk_write_inside(skb, NK_IPV4, side == NK_SOURCE ? NK_SOURCE : NK_DESTINATION);
}

NK_GLOBAL int nk_write_inside6(struct __sk_buff *skb, int side)
{
	return nk_write_inside(skb, NK_IPV6, side == NK_SOURCE ? NK_SOURCE : NK_DESTINATION);
}

static __always_inline int nk_write_inside_of(struct __sk_buff *skb, enum nk_family family, enum nk_side side)
{
	return family == NK_IPV4 ? nk_write_inside4(skb, side) : nk_write_inside6(skb, side);
}

// `peer`: bpf_redirect_peer() works here.
static __always_inline int nk_send_inside(struct __sk_buff *skb, bool peer, const struct nk_endpoint *target)
{
	if (!nk_write_macs(skb, target->peer_mac, target->host_mac))
		return nk_drop_sent(skb, NK_DROP_REWRITE_FAILED);
	return peer ? bpf_redirect_peer(target->ifindex, 0) : bpf_redirect(target->ifindex, 0);
}

// A later fragment goes where its first one went: fills m->addr, and m->port with the identification. False if that was
// not seen.
static __noinline bool nk_fragment_follow_inside(struct nk_masquerade *m, __u32 id)
{
	const struct nk_fragment_key key = nk_fragment_key(&m->key, id);
	const struct nk_fragmented *known = nk_fragment_find(&key);

	if (!known || known->endpoint_id != m->endpoint_id)
		return false;
	m->addr = known->addr;
	m->port = known->id;
	return true;
}

// Whether a packet of a flow that is known may go to m->addr, still: NK_OK, or the reason to drop.
static __always_inline int nk_check_isolation(const struct nk_masquerade *m, enum nk_family family)
{
	const volatile struct nk_network *network = nk_network_of(family, &m->addr);

	return !network || nk_isolated(family, network, &m->key.saddr) ? NK_DROP_ISOLATED : NK_OK;
}

// The flow of a client's packet: NK_OK with `to` answered, NK_NO_FLOW, or the reason to drop.
static __always_inline int nk_find_from_client(struct __sk_buff *skb, struct nk_delivery *to)
{
	const volatile struct nk_network *network;
	const struct nk_frontend *frontend;
	int result = nk_flow_inbound(skb, to);

	if (result != NK_NO_FLOW)
		return result;
	frontend = nk_frontend(to->family, &to->key.daddr, to->key.dport, to->key.proto);
	network = frontend ? nk_network_of(to->family, &frontend->addr) : NULL;
	if (!network || !nk_is_allowed(frontend, &to->key.saddr))
		return NK_NO_FLOW;
	if (nk_isolated(to->family, network, &to->key.saddr))
		return NK_DROP_ISOLATED;
	if (nk_addr_equal(to->family, &frontend->addr, &to->key.saddr)) {
		to->key.saddr = nk_network_addr(&network->gateway);
		result = nk_flow_inbound(skb, to);
	}
	return result == NK_NO_FLOW ? nk_flow_arrive(skb, to) : result;
}

// A client's packet: NK_OK with it rewritten, NK_NO_FLOW, or the reason to drop. The client of a port of its own gets
// its gateway's address first; a fragment of its cannot.
static __always_inline int nk_translate_from_client(struct __sk_buff *skb, enum nk_family family,
						    struct nk_masquerade *m)
{
	struct nk_delivery to = {.key = m->key, .tcp_flags = m->tcp_flags, .inside = true, .family = family};
	int result;

	to.key.direction = NK_FLOW_REVERSE;
	result = nk_find_from_client(skb, &to);
	if (result != NK_OK)
		return result == NK_HOST_FLOW ? NK_NO_FLOW : result;
	m->addr = to.addr;
	result = nk_check_isolation(m, family);
	if (result != NK_OK)
		return result;
	if (!nk_addr_equal(family, &to.key.saddr, &m->key.saddr)) {
		if (m->ip.fragment)
			return NK_NO_FLOW;
		m->addr = to.key.saddr;
		m->port = m->key.sport;
		result = nk_write_inside_of(skb, family, NK_SOURCE);
		if (result != NK_OK)
			return result;
	}
	m->addr = to.addr;
	m->port = to.port;
	return nk_write_inside_of(skb, family, NK_DESTINATION);
}

// Whether an ICMP error says that a packet was too big. Translated, it would have the client believe in a smaller path
// to the host's address, where others are as well; nothing between two containers has to say it.
static __always_inline bool nk_is_about_size(struct __sk_buff *skb, enum nk_family family, const struct nk_ip *ip)
{
	struct nk_icmp_echo icmp;

	if (bpf_skb_load_bytes(skb, ETH_HLEN + ip->header_len, &icmp, sizeof(icmp)))
		return true;
	return family == NK_IPV6 ? icmp.type == NK_ICMP6_TOO_BIG
				 : icmp.type == NK_ICMP_UNREACHABLE && icmp.code == NK_ICMP_CODE_TOO_BIG;
}

// An error about a packet of such a flow, as its other half, of that direction, says: NK_OK with it rewritten,
// NK_NO_FLOW, or the reason to drop. Whether it may be said at all was asked before (nk_check_icmp).
static __always_inline int nk_translate_error_inside(struct __sk_buff *skb, enum nk_family family,
						     struct nk_masquerade *m, enum nk_flow_direction direction,
						     enum nk_side side)
{
	struct nk_quote *quote = nk_quote_place();
	const struct nk_flow *flow;
	int result;

	if (!quote || m->ip.fragment || (direction == NK_FLOW_FORWARD && nk_is_about_size(skb, family, &m->ip)) ||
	    nk_read_quote(skb, family, m->ip.header_len, m->ip.len) != NK_OK)
		return NK_NO_FLOW;
	quote->key.direction = direction;
	flow = nk_flow_find(family, &quote->key);
	if (!flow || !nk_flow_is_inside(flow))
		return NK_NO_FLOW;
	if (direction == NK_FLOW_FORWARD
		? flow->endpoint_id != m->endpoint_id
		: !nk_is_frontend_of(family, &quote->key.daddr, quote->key.dport, quote->key.proto, flow->endpoint_id))
		return NK_NO_FLOW;
	quote->addr = m->addr = flow->addr;
	quote->port = flow->port;
	result = direction == NK_FLOW_REVERSE ? nk_check_isolation(m, family) : NK_OK;
	return result != NK_OK ? result : nk_translate_quote(skb, family, m->ip.header_len, m->ip.len, side);
}

static __always_inline int nk_from_client(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m,
					  int parsed)
{
	int result;

	if (parsed == NK_L4_ICMP_ERROR)
		return nk_translate_error_inside(skb, family, m, NK_FLOW_REVERSE, NK_DESTINATION);
	if (!(m->ip.fragment & NK_FRAGMENT_LATER))
		return nk_translate_from_client(skb, family, m);
	if (!nk_fragment_follow_inside(m, m->ip.id))
		return NK_NO_FLOW;
	result = nk_check_isolation(m, family);
	return result == NK_OK ? nk_write_inside_of(skb, family, NK_DESTINATION) : result;
}

// What a container sends to an address and port of the host's that may be published, or in answer to what came from
// there. NK_LONG_WAY: it is not for a container.
static __always_inline int nk_to_frontend(struct __sk_buff *skb, enum nk_family family, bool peer)
{
	int parsed = family == NK_IPV4 ? nk_read_inside4(skb) : nk_read_inside6(skb);
	struct nk_masquerade *m = nk_masquerade_place();
	struct nk_endpoint *target;
	int result;

	if (!m || (parsed != NK_L4_OK && parsed != NK_L4_ICMP_ERROR))
		return NK_LONG_WAY;
	result = nk_from_client(skb, family, m, parsed);
	if (result >= 0)
		return nk_drop_sent(skb, result);
	if (result != NK_OK)
		return NK_LONG_WAY;
	target = nk_endpoint(family, &m->addr);
	if (!target)
		return nk_drop_sent(skb, NK_DROP_NO_CONTAINER);
	if (!(target->flags & NK_ENDPOINT_ASKED_INSIDE))
		__sync_fetch_and_or(&target->flags, NK_ENDPOINT_ASKED_INSIDE);
	return nk_send_inside(skb, peer, target);
}

// The flow that a packet answers: NK_OK with m->addr and m->port filled, or NK_NO_FLOW.
static __always_inline int nk_find_to_client(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m)
{
	struct nk_flow *flow = nk_flow_find(family, &m->key);

	if (!flow || !nk_flow_is_inside(flow) || flow->endpoint_id != m->endpoint_id)
		return NK_NO_FLOW;
	m->addr = flow->addr;
	m->port = flow->port;
	nk_flow_goes_back(skb, m, flow);
	nk_flow_seen(family, &m->key, flow, m->now_ns, m->tcp_flags);
	return NK_OK;
}

// `itself`: the container is its own client, whom it knows as its gateway.
static __always_inline int nk_answer_client(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m,
					    int parsed, bool itself)
{
	bool is_later = m->ip.fragment & NK_FRAGMENT_LATER;
	int result;

	if (itself && (m->ip.fragment || parsed == NK_L4_ICMP_ERROR))
		return NK_NO_FLOW;
	if (parsed == NK_L4_ICMP_ERROR)
		return nk_translate_error_inside(skb, family, m, NK_FLOW_FORWARD, NK_SOURCE);
	if (is_later ? !nk_fragment_follow_inside(m, m->ip.id) : nk_find_to_client(skb, family, m) != NK_OK)
		return NK_NO_FLOW;
	result = nk_write_inside_of(skb, family, NK_SOURCE);
	if (result != NK_OK || !itself)
		return result;
	m->addr = m->key.saddr;
	m->port = m->key.dport;
	return nk_write_inside_of(skb, family, NK_DESTINATION);
}

// What a container that has clients here sends into a network of the node's. NK_LONG_WAY: it answers none of them.
static __always_inline int nk_to_client(struct __sk_buff *skb, enum nk_family family, bool peer)
{
	int parsed = family == NK_IPV4 ? nk_read_inside4(skb) : nk_read_inside6(skb);
	struct nk_masquerade *m = nk_masquerade_place();
	const volatile struct nk_network *network;
	const struct nk_endpoint *target;
	bool itself;
	int result;

	if (!m || (parsed != NK_L4_OK && parsed != NK_L4_ICMP_ERROR))
		return NK_LONG_WAY;
	network = nk_network_of(family, &m->key.daddr);
	itself = network && nk_is_gateway(family, network, &m->key.daddr);
	target = nk_endpoint(family, itself ? &m->key.saddr : &m->key.daddr);
	if (!target)
		return NK_LONG_WAY;
	result = nk_answer_client(skb, family, m, parsed, itself);
	if (result >= 0)
		return nk_drop_sent(skb, result);
	return result == NK_OK ? nk_send_inside(skb, peer, target) : NK_LONG_WAY;
}

NK_GLOBAL int nk_to_frontend4(struct __sk_buff *skb, bool peer)
{
	return nk_to_frontend(skb, NK_IPV4, peer);
}

NK_GLOBAL int nk_to_frontend6(struct __sk_buff *skb, bool peer)
{
	return nk_to_frontend(skb, NK_IPV6, peer);
}

NK_GLOBAL int nk_to_client4(struct __sk_buff *skb, bool peer)
{
	return nk_to_client(skb, NK_IPV4, peer);
}

NK_GLOBAL int nk_to_client6(struct __sk_buff *skb, bool peer)
{
	return nk_to_client(skb, NK_IPV6, peer);
}
