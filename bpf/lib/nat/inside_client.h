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
#include "lib/sent_packet.h"

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

// Each time takes one off the TTL.
static __always_inline bool nk_may_be_written_twice(const struct nk_masquerade *m)
{
	return !m->ip.fragment && m->ip.ttl > 2;
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
		if (!nk_may_be_written_twice(m))
			return NK_NO_FLOW;
		m->addr = to.key.saddr;
		m->port = m->key.sport;
		result = nk_write_sent_of(skb, family, NK_SOURCE);
		if (result != NK_OK)
			return result;
	}
	m->addr = to.addr;
	m->port = to.port;
	return nk_write_sent_of(skb, family, NK_DESTINATION);
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
// NK_NO_FLOW, or the reason to drop. Whether it may be said at all was asked before (nk_error_check).
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

static __always_inline int nk_from_client(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m)
{
	int result;

	if (m->l4_result == NK_L4_ICMP_ERROR)
		return nk_translate_error_inside(skb, family, m, NK_FLOW_REVERSE, NK_DESTINATION);
	if (!nk_is_later_fragment(m))
		return nk_translate_from_client(skb, family, m);
	if (!nk_fragment_follow_inside(m, m->ip.id))
		return NK_NO_FLOW;
	result = nk_check_isolation(m, family);
	return result == NK_OK ? nk_write_sent_of(skb, family, NK_DESTINATION) : result;
}

static __always_inline bool nk_may_be_inside(const struct nk_masquerade *m)
{
	return m->ip.ttl > 1 &&
	       (nk_is_later_fragment(m) || m->l4_result == NK_L4_OK || m->l4_result == NK_L4_ICMP_ERROR);
}

// What a container sends to an address and port of the host's that may be published, or in answer to what came from
// there. NK_LONG_WAY: it is not for a container.
static __always_inline int nk_to_frontend(struct __sk_buff *skb, enum nk_family family, bool peer)
{
	struct nk_masquerade *m = nk_masquerade_place();
	struct nk_endpoint *target;
	int result;

	if (!m || !nk_may_be_inside(m))
		return NK_LONG_WAY;
	result = nk_from_client(skb, family, m);
	if (result >= 0)
		return nk_drop_sent(skb, result);
	if (result != NK_OK)
		return NK_LONG_WAY;
	target = nk_endpoint(family, &m->addr);
	if (!target)
		return nk_drop_sent(skb, NK_DROP_NO_CONTAINER);
	if (!(target->flags & NK_ENDPOINT_ASKED_INSIDE))
		__sync_fetch_and_or(&target->flags, NK_ENDPOINT_ASKED_INSIDE);
	return nk_send_to(skb, peer, target);
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
					    bool itself)
{
	bool is_error = m->l4_result == NK_L4_ICMP_ERROR;
	int result;

	if (itself && (is_error || !nk_may_be_written_twice(m)))
		return NK_NO_FLOW;
	if (is_error)
		return nk_translate_error_inside(skb, family, m, NK_FLOW_FORWARD, NK_SOURCE);
	if (nk_is_later_fragment(m) ? !nk_fragment_follow_inside(m, m->ip.id)
				    : nk_find_to_client(skb, family, m) != NK_OK)
		return NK_NO_FLOW;
	result = nk_write_sent_of(skb, family, NK_SOURCE);
	if (result != NK_OK || !itself)
		return result;
	m->addr = m->key.saddr;
	m->port = m->key.dport;
	return nk_write_sent_of(skb, family, NK_DESTINATION);
}

// What a container that has clients here sends into a network of the node's. NK_LONG_WAY: it answers none of them.
static __always_inline int nk_to_client(struct __sk_buff *skb, enum nk_family family, bool peer)
{
	struct nk_masquerade *m = nk_masquerade_place();
	const volatile struct nk_network *network;
	const struct nk_endpoint *target;
	bool itself;
	int result;

	if (!m || !nk_may_be_inside(m))
		return NK_LONG_WAY;
	network = nk_network_of(family, &m->key.daddr);
	itself = network && nk_is_gateway(family, network, &m->key.daddr);
	target = nk_endpoint(family, itself ? &m->key.saddr : &m->key.daddr);
	if (!target)
		return NK_LONG_WAY;
	result = nk_answer_client(skb, family, m, itself);
	if (result >= 0)
		return nk_drop_sent(skb, result);
	return result == NK_OK ? nk_send_to(skb, peer, target) : NK_LONG_WAY;
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
