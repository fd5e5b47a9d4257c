// Published ports, for what containers of this host send there from sockets that were not led (published_socket.h):
// datagrams, and what has no socket of the container's own (of a network namespace in it, or of a virtual machine).
//
// Such a packet is translated as an uplink's program does with what comes from outside, and the container sees the
// client's own address; what it answers is translated back on its way to the client (inside_flow.h).
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
#include "lib/nat/inside_flow.h"
#include "lib/nat/masquerade.h"
#include "lib/nat/ports.h"
#include "lib/node.h"
#include "lib/packet/fragment.h"
#include "lib/packet/parse.h"
#include "lib/packet/plain.h"
#include "lib/packet/rewrite.h"
#include "lib/sent_packet.h"

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
	struct nk_delivery to = {.key = m->key, .tcp_flags = m->tcp_flags, .origin = NK_FLOW_INSIDE, .family = family};
	int result;

	to.key.direction = NK_FLOW_REVERSE;
	result = nk_find_from_client(skb, &to);
	if (result != NK_OK)
		return result == NK_HOST_FLOW ? NK_NO_FLOW : result;
	m->addr = to.addr;
	result = nk_check_isolation(m, family);
	if (result != NK_OK)
		return result;
	if (!nk_addr_equal(family, &to.key.saddr, &m->key.saddr) && !nk_may_be_written_twice(m))
		return NK_NO_FLOW;
	return nk_write_from_client(skb, family, m, &to);
}

static __always_inline int nk_from_client(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m)
{
	int result;

	if (m->l4_result == NK_L4_ICMP_ERROR)
		return nk_translate_error_inside(skb, family, m, NK_FLOW_REVERSE, NK_FLOW_INSIDE);
	if (!nk_is_later_fragment(m))
		return nk_translate_from_client(skb, family, m);
	if (!nk_fragment_follow_inside(m, m->ip.id, NK_FRAGMENT_TO_BACKEND))
		return NK_NO_FLOW;
	result = nk_check_isolation(m, family);
	return result == NK_OK ? nk_write_sent_of(skb, family, NK_DESTINATION) : result;
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
	nk_mark_asked_inside(target);
	return nk_send_to(skb, peer, target);
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
		return nk_translate_error_inside(skb, family, m, NK_FLOW_FORWARD, NK_FLOW_INSIDE);
	if (nk_is_later_fragment(m) ? !nk_fragment_follow_inside(m, m->ip.id, NK_FRAGMENT_TO_CONTAINER)
				    : nk_find_to_client(skb, family, m, NK_FLOW_INSIDE) != NK_OK)
		return NK_NO_FLOW;
	m->uplink = NK_FRAGMENT_TO_CONTAINER;
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
