// The slow path reads a container's packet once, into nk_masquerade_place(), and every later step finds it there. The
// verifier judges reading and each step of what follows by themselves, and not the steps once for every kind of packet.
//
// Judged here is what the packet alone says: is it whole, is its source the container's own. What is refused for its
// source changes nothing, not even what is known of fragments.
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/endpoint.h"
#include "lib/endpoint_drops.h"
#include "lib/nat/masquerade.h"
#include "lib/packet/fragment.h"
#include "lib/packet/parse.h"
#include "lib/packet/rewrite.h"
#include "lib/packet/skb.h"
#include "lib/route/route.h"

// What an IPv6 stack says to its link by itself is no attempt at anything, and ends here.
static __always_inline bool nk_stays_on_link(enum nk_family family, const struct nk_flow6_key *key)
{
	return family == NK_IPV6 &&
	       (nk_link_scope6(&key->saddr) || nk_link_scope6(&key->daddr) || nk_addr_is_unset(NK_IPV6, &key->saddr));
}

static __always_inline void nk_note_sender(struct nk_masquerade *m, const struct nk_endpoint *source)
{
	m->endpoint_id = source->id;
	m->endpoint_ifindex = source->ifindex;
	m->endpoint_flags = source->flags;
	m->home = source->home;
}

// Of a packet whose IP header is read: the rest of what it says.
static __always_inline void nk_read_transport(struct __sk_buff *skb, const struct nk_ip *ip, struct nk_masquerade *m)
{
	struct nk_l4 l4 = {};

	m->l4_result = ip->fragment & NK_FRAGMENT_LATER ? NK_L4_UNSUPPORTED : nk_parse_l4(skb, ip, &l4, &m->key);
	m->ip = *ip;
	m->tcp_flags = l4.tcp_flags;
	m->echo_reply = l4.echo_reply;
	m->wire_len = nk_wire_len(skb, ip, &l4);
	m->class = nk_class(ip);
	m->family = ip->family;
	m->now_ns = bpf_ktime_get_coarse_ns();
	m->uplink = 0;
}

// NK_OK, or the reason to drop.
static __always_inline int nk_read_sent(struct __sk_buff *skb, enum nk_family family)
{
	struct nk_masquerade *m = nk_masquerade_place();
	const struct nk_endpoint *source;
	struct nk_ip ip;

	if (!m || !nk_parse_ip(skb, family, &ip, &m->key))
		return NK_DROP_MALFORMED;
	if (nk_stays_on_link(family, &m->key))
		return NK_DROP_LINK_SCOPE;
	// With net.ipv4.conf.all.route_localnet the host would take them for its own (CVE-2020-8558).
	if (nk_loopback(family, &m->key.saddr) || nk_loopback(family, &m->key.daddr))
		return NK_DROP_LOOPBACK;
	source = nk_endpoint(family, &m->key.saddr);
	if (!source || source->ifindex != skb->ifindex)
		return NK_DROP_SPOOFED_SOURCE;
	if (nk_sum_is_misplaced(skb, ETH_HLEN + ip.header_len, m->key.proto))
		return NK_DROP_MALFORMED;
	nk_note_sender(m, source);
	nk_read_transport(skb, &ip, m);
	return NK_OK;
}

NK_GLOBAL int nk_read_sent4(struct __sk_buff *skb)
{
	return nk_read_sent(skb, NK_IPV4);
}

NK_GLOBAL int nk_read_sent6(struct __sk_buff *skb)
{
	return nk_read_sent(skb, NK_IPV6);
}

static __always_inline bool nk_is_later_fragment(const struct nk_masquerade *m)
{
	return m->ip.fragment & NK_FRAGMENT_LATER;
}

// What follows a first fragment that is not translated must not follow one of the past with its identification.
static __always_inline int nk_refuse(struct __sk_buff *skb, const struct nk_masquerade *m, enum nk_counter reason)
{
	if (m->ip.fragment == NK_FRAGMENT)
		nk_fragment_forget(&m->key, m->ip.id);
	return nk_drop_sent(skb, reason);
}

// Writes m->addr and m->port, and what fragments are known by; takes one off the TTL. A first fragment's later ones
// will follow it, where m->uplink leads. NK_OK, or the reason to drop.
static __always_inline int nk_write_sent(struct __sk_buff *skb, enum nk_family family, enum nk_side side)
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
		id = ip.fragment == NK_FRAGMENT ? nk_fragment_remember_out(m, ip.id, m->uplink) : m->port;
		if (family == NK_IPV4 && !nk_write_id(skb, id))
			return NK_DROP_REWRITE_FAILED;
	}
	if (ip.fragment & NK_FRAGMENT_LATER)
		written = nk_rewrite_addr(skb, &ip, side, &m->addr);
	else
		written = nk_rewrite(skb, &ip, m->key.proto, side, &m->addr, m->port);
	return written ? NK_OK : NK_DROP_REWRITE_FAILED;
}

NK_GLOBAL int nk_write_sent4(struct __sk_buff *skb, int side)
{
	return nk_write_sent(skb, NK_IPV4, side == NK_SOURCE ? NK_SOURCE : NK_DESTINATION);
}

NK_GLOBAL int nk_write_sent6(struct __sk_buff *skb, int side)
{
	return nk_write_sent(skb, NK_IPV6, side == NK_SOURCE ? NK_SOURCE : NK_DESTINATION);
}

static __always_inline int nk_write_sent_of(struct __sk_buff *skb, enum nk_family family, enum nk_side side)
{
	return family == NK_IPV4 ? nk_write_sent4(skb, side) : nk_write_sent6(skb, side);
}

// To another container of this host, finished but for the link. `peer`: bpf_redirect_peer() works here.
static __always_inline int nk_send_to(struct __sk_buff *skb, bool peer, const struct nk_endpoint *target)
{
	__u32 ifindex = target->ifindex;

	if (!nk_write_macs(skb, target->peer_mac, target->host_mac))
		return nk_drop_sent(skb, NK_DROP_REWRITE_FAILED);
	return peer ? bpf_redirect_peer(ifindex, 0) : bpf_redirect(ifindex, 0);
}
