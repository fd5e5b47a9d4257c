// What flows of published ports have in common whose client is on this host: a container (inside_client.h), or a
// program of the host's own (host_client.h).
//
// Such a flow is like one that comes from outside (arrival.h), but for NK_FLOW_INSIDE: nothing of it comes by an
// uplink, where anybody could write the client's address, and no fast path knows it. A container that has such clients
// is marked (NK_ENDPOINT_ASKED_INSIDE), so that of nobody else's packets it is asked whether they are answers. The
// daemon keeps the mark when it writes endpoints; one that is lost all the same, the client's next packet sets again.
#pragma once

#include "lib/base.h"
#include "lib/endpoint.h"
#include "lib/nat/arrival.h"
#include "lib/nat/flow.h"
#include "lib/nat/flow_create.h"
#include "lib/nat/frontend.h"
#include "lib/nat/icmp_error.h"
#include "lib/nat/masquerade.h"
#include "lib/node.h"
#include "lib/packet/fragment.h"
#include "lib/packet/parse.h"
#include "lib/sent_packet.h"

#define NK_HOST_CLIENT (NK_FLOW_INSIDE | NK_FLOW_OF_HOST)
// How long a container may answer after the program's last packet (RFC 4787, REQ-5).
#define NK_HOST_CLIENT_LIFE_NS 120000000000ULL

static __always_inline bool nk_may_be_inside(const struct nk_masquerade *m)
{
	return m->ip.ttl > 1 &&
	       (nk_is_later_fragment(m) || m->l4_result == NK_L4_OK || m->l4_result == NK_L4_ICMP_ERROR);
}

// Each time takes one off the TTL.
static __always_inline bool nk_may_be_written_twice(const struct nk_masquerade *m)
{
	return !m->ip.fragment && m->ip.ttl > 2;
}

// A client's packet, to where `to` says; with another source than it has, too, if the container is to know its client
// by that. NK_OK, or the reason to drop.
static __always_inline int nk_write_from_client(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m,
						const struct nk_delivery *to)
{
	int result;

	if (!nk_addr_equal(family, &to->key.saddr, &m->key.saddr)) {
		m->addr = to->key.saddr;
		m->port = m->key.sport;
		result = nk_write_sent_of(skb, family, NK_SOURCE);
		if (result != NK_OK)
			return result;
	}
	m->addr = to->addr;
	m->port = to->port;
	m->uplink = NK_FRAGMENT_TO_BACKEND;
	return nk_write_sent_of(skb, family, NK_DESTINATION);
}

static __always_inline void nk_mark_asked_inside(struct nk_endpoint *endpoint)
{
	if (!(endpoint->flags & NK_ENDPOINT_ASKED_INSIDE))
		__sync_fetch_and_or(&endpoint->flags, NK_ENDPOINT_ASKED_INSIDE);
}

// A later fragment goes where its first one went: fills m->addr, and m->port with the identification. False if that was
// not seen, or went another way.
static __noinline bool nk_fragment_follow_inside(struct nk_masquerade *m, __u32 id, __u32 way)
{
	const struct nk_fragment_key key = nk_fragment_key(&m->key, id);
	const struct nk_fragmented *known = nk_fragment_find(&key);

	if (!known || known->endpoint_id != m->endpoint_id || known->ifindex != way)
		return false;
	m->addr = known->addr;
	m->port = known->id;
	return true;
}

// Whether a container's packet of a flow that is known may go to m->addr, still: NK_OK, or the reason to drop.
static __always_inline int nk_check_isolation(const struct nk_masquerade *m, enum nk_family family)
{
	const volatile struct nk_network *network = nk_network_of(family, &m->addr);

	return !network || nk_isolated(family, network, &m->key.saddr) ? NK_DROP_ISOLATED : NK_OK;
}

// Whether the host's program has sent something lately.
static __noinline bool nk_goes_on_asking(enum nk_family family, const struct nk_flow6_key *key,
					 const struct nk_flow *flow)
{
	struct nk_flow6_key reverse_key = nk_flow_other_key(key, flow);
	const struct nk_flow *reverse = nk_flow_other_half(family, key, &reverse_key, flow->endpoint_id);

	return reverse && bpf_ktime_get_coarse_ns() - reverse->last_seen_ns < NK_HOST_CLIENT_LIFE_NS;
}

// The flow that a packet answers: NK_OK with m->addr and m->port filled, or NK_NO_FLOW.
static __always_inline int nk_find_to_client(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m,
					     __u32 origin)
{
	struct nk_flow *flow = nk_flow_find(family, &m->key);

	if (!flow || (flow->flags & NK_FLOW_ORIGIN) != origin || flow->endpoint_id != m->endpoint_id)
		return NK_NO_FLOW;
	if (origin == NK_HOST_CLIENT && !nk_goes_on_asking(family, &m->key, flow))
		return NK_NO_FLOW;
	m->addr = flow->addr;
	m->port = flow->port;
	nk_flow_goes_back(skb, m, flow);
	nk_flow_seen(family, &m->key, flow, m->now_ns, m->tcp_flags);
	return NK_OK;
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
						     __u32 origin)
{
	enum nk_side side = direction == NK_FLOW_REVERSE ? NK_DESTINATION : NK_SOURCE;
	struct nk_quote *quote = nk_quote_place();
	const struct nk_flow *flow;
	int result;

	if (!quote || m->ip.fragment || (direction == NK_FLOW_FORWARD && nk_is_about_size(skb, family, &m->ip)) ||
	    nk_read_quote(skb, family, m->ip.header_len, m->ip.len) != NK_OK)
		return NK_NO_FLOW;
	quote->key.direction = direction;
	flow = nk_flow_find(family, &quote->key);
	if (!flow || (flow->flags & NK_FLOW_ORIGIN) != origin)
		return NK_NO_FLOW;
	if (direction == NK_FLOW_FORWARD
		? flow->endpoint_id != m->endpoint_id
		: !nk_is_frontend_of(family, &quote->key.daddr, quote->key.dport, quote->key.proto, flow->endpoint_id))
		return NK_NO_FLOW;
	quote->addr = m->addr = flow->addr;
	quote->port = flow->port;
	result = direction == NK_FLOW_REVERSE && origin == NK_FLOW_INSIDE ? nk_check_isolation(m, family) : NK_OK;
	return result != NK_OK ? result : nk_translate_quote(skb, family, m->ip.header_len, m->ip.len, side);
}
