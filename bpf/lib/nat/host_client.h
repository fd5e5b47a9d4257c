// Published ports, for what programs of this host send there and no socket is led for (published_socket.h): datagrams,
// and SCTP, by any of the host's addresses, loopback ones too.
//
// The stack sends that to its loopback device, whose egress program (loopback.bpf.c) translates the destination, and
// the container gets it. What it answers is translated back by its own program, and comes in by the loopback device,
// from whom the program has asked: with any socket, connected or not, and from the next container when that one starts
// again.
//
// The container sees the address of the host's that the program has; where that is a loopback address, which is
// nobody's in the container, its gateway's. In both directions a packet is written twice then. The container may
// answer for two minutes after somebody asked from that port last: it keeps no way to one that is silent.
//
// While nothing of that kind is published, the program is not there (netd/datapath/loopback_program.h).
#pragma once

#include <linux/in.h>

#include "lib/addr.h"
#include "lib/base.h"
#include "lib/counters.h"
#include "lib/endpoint.h"
#include "lib/endpoint_drops.h"
#include "lib/nat/inside_flow.h"
#include "lib/nat/ports.h"
#include "lib/node.h"
#include "lib/packet/parse.h"
#include "lib/packet/rewrite.h"
#include "lib/sent_packet.h"

// include/net/flow.h: LOOPBACK_IFINDEX, in every network namespace.
#define NK_LOOPBACK_IFINDEX 1

// A program's packet on its way: NK_OK with it rewritten, NK_NO_FLOW, or the reason to drop. A loopback address becomes
// the gateway's; of all of 127.0.0.0/8 that is 127.0.0.1 alone, as which it comes back.
static __always_inline int nk_find_from_host(struct __sk_buff *skb, struct nk_delivery *to)
{
	const struct nk_addr loopback = nk_loopback_addr(to->family);
	const volatile struct nk_network *network;
	const struct nk_frontend *frontend;
	int result;

	if (nk_loopback(to->family, &to->key.saddr)) {
		frontend = nk_frontend(to->family, &to->key.daddr, to->key.dport, to->key.proto);
		network = frontend ? nk_network_of(to->family, &frontend->addr) : NULL;
		if (!network || !nk_addr_equal(to->family, &to->key.saddr, &loopback))
			return NK_NO_FLOW;
		to->key.saddr = nk_network_addr(&network->gateway);
	} else if (!nk_is_own_address(to->family, &to->key.saddr)) {
		return NK_NO_FLOW; // somebody's whom it speaks for (IP_TRANSPARENT), or a gateway's
	}
	result = nk_flow_inbound(skb, to);
	return result == NK_NO_FLOW ? nk_flow_arrive(skb, to) : result;
}

// A device of veth's drops what is larger than its MTU, and nobody would be told.
static __always_inline bool nk_fits(struct __sk_buff *skb, const struct nk_endpoint *target)
{
	__u32 mtu = 0;

	return target->device_mode != NK_DEVICE_VETH || !bpf_check_mtu(skb, target->ifindex, &mtu, 0, 0);
}

// Who sends by SCTP believes in the loopback device's MTU, and would send what does not fit for ever: it is refused.
static __always_inline bool nk_takes_sctp(enum nk_family family, const struct nk_addr *container)
{
	const struct nk_endpoint *target = nk_endpoint(family, container);

	return !target || target->device_mode != NK_DEVICE_VETH;
}

static __always_inline int nk_translate_from_host(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m)
{
	struct nk_delivery to = {.key = m->key, .tcp_flags = m->tcp_flags, .origin = NK_HOST_CLIENT, .family = family};
	int result;

	// 127.0.0.1 stands for all of 127.0.0.0/8 (frontend.h).
	if (!nk_loopback(family, &m->key.daddr) && !nk_may_be_published_at(&m->key.daddr, m->key.proto, m->key.dport))
		return NK_NO_FLOW;
	to.key.direction = NK_FLOW_REVERSE;
	result = nk_find_from_host(skb, &to);
	if (result != NK_OK)
		return result == NK_HOST_FLOW ? NK_NO_FLOW : result;
	if (m->key.proto == IPPROTO_SCTP && !nk_takes_sctp(family, &to.addr))
		return NK_NO_FLOW;
	return nk_write_from_client(skb, family, m, &to);
}

static __always_inline int nk_from_host_ip(struct __sk_buff *skb, enum nk_family family)
{
	struct nk_masquerade *m = nk_masquerade_place();
	struct nk_endpoint *target;
	struct nk_ip ip;
	int result;

	if (!m || !nk_parse_ip(skb, family, &ip, &m->key))
		return TCX_NEXT;
	nk_read_transport(skb, &ip, m);
	if (!nk_may_be_written_twice(m))
		return TCX_NEXT;
	if (m->l4_result == NK_L4_ICMP_ERROR)
		result = nk_translate_error_inside(skb, family, m, NK_FLOW_REVERSE, NK_HOST_CLIENT);
	else if (m->l4_result == NK_L4_OK)
		result = nk_translate_from_host(skb, family, m);
	else
		result = NK_NO_FLOW;
	if (result >= 0)
		return nk_drop(skb, result);
	if (result != NK_OK)
		return TCX_NEXT;
	target = nk_endpoint(family, &m->addr);
	if (!target)
		return nk_drop(skb, NK_DROP_NO_CONTAINER);
	nk_mark_asked_inside(target);
	return nk_fits(skb, target) ? nk_send_to(skb, false, target) : nk_drop(skb, NK_DROP_TOO_BIG);
}

NK_GLOBAL int nk_from_host4(struct __sk_buff *skb)
{
	return nk_from_host_ip(skb, NK_IPV4);
}

NK_GLOBAL int nk_from_host6(struct __sk_buff *skb)
{
	return nk_from_host_ip(skb, NK_IPV6);
}

// Whether it may be for a container, or say something to one: told by as little as will do, for all of the host's
// loopback comes by here.
static __always_inline bool nk_may_be_of_client(struct __sk_buff *skb, __u32 l4_offset, __u8 proto)
{
	const struct udphdr *ports; // SCTP's are in the same place (RFC 9260, 3.1)

	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
		return published.count;
	if (proto != IPPROTO_UDP && proto != IPPROTO_SCTP)
		return false;
	ports = nk_header(skb, l4_offset, sizeof(*ports));
	return ports && nk_is_published(proto, ports->dest);
}

static __always_inline int nk_from_host(struct __sk_buff *skb)
{
	const struct ipv6hdr *ip6;
	const struct iphdr *ip4;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		ip4 = nk_header(skb, ETH_HLEN, sizeof(*ip4));
		if (!ip4 || *(const __u8 *)ip4 != NK_IP4_PLAIN ||
		    !nk_may_be_of_client(skb, ETH_HLEN + sizeof(*ip4), ip4->protocol))
			return TCX_NEXT;
		return nk_from_host4(skb);
	}
	if (skb->protocol != bpf_htons(ETH_P_IPV6))
		return TCX_NEXT;
	ip6 = nk_header(skb, ETH_HLEN, sizeof(*ip6));
	if (!ip6 || !nk_may_be_of_client(skb, ETH_HLEN + sizeof(*ip6), ip6->nexthdr))
		return TCX_NEXT;
	return nk_from_host6(skb);
}

// An error that a container says about a program's packet.
static __always_inline int nk_answer_host_error(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m,
						bool by_loopback)
{
	struct nk_quote *quote = nk_quote_place();
	int result = nk_translate_error_inside(skb, family, m, NK_FLOW_FORWARD, NK_HOST_CLIENT);

	if (result != NK_OK || !by_loopback)
		return result;
	if (!quote)
		return NK_DROP_REWRITE_FAILED;
	quote->addr = nk_loopback_addr(family);
	quote->port = quote->key.dport;
	return nk_translate_quote(skb, family, m->ip.header_len, m->ip.len, NK_DESTINATION);
}

// Once the source is written.
static __always_inline int nk_write_loopback(struct __sk_buff *skb, enum nk_family family,
					     const struct nk_masquerade *m)
{
	const struct nk_addr loopback = nk_loopback_addr(family);
	struct nk_ip ip = m->ip;
	bool written;

	ip.family = family; // a constant
	written = nk_is_later_fragment(m) ? nk_rewrite_addr(skb, &ip, NK_DESTINATION, &loopback)
					  : nk_rewrite(skb, &ip, m->key.proto, NK_DESTINATION, &loopback, m->key.dport);
	return written ? NK_OK : NK_DROP_REWRITE_FAILED;
}

static __always_inline int nk_answer_host(struct __sk_buff *skb, enum nk_family family, struct nk_masquerade *m,
					  bool by_loopback)
{
	int result;

	if (m->l4_result == NK_L4_ICMP_ERROR)
		return nk_answer_host_error(skb, family, m, by_loopback);
	if (nk_is_later_fragment(m) ? !nk_fragment_follow_inside(m, m->ip.id, NK_FRAGMENT_TO_PROGRAM)
				    : nk_find_to_client(skb, family, m, NK_HOST_CLIENT) != NK_OK)
		return NK_NO_FLOW;
	m->uplink = NK_FRAGMENT_TO_PROGRAM;
	result = nk_write_sent_of(skb, family, NK_SOURCE);
	return result == NK_OK && by_loopback ? nk_write_loopback(skb, family, m) : result;
}

// Finished but for the link: the loopback device's address is zero (net/ethernet/eth.c, eth_type_trans()).
static __always_inline int nk_send_to_loopback(struct __sk_buff *skb)
{
	const __u8 none[ETH_ALEN] = {};

	if (!nk_write_macs(skb, none, none))
		return nk_drop_sent(skb, NK_DROP_REWRITE_FAILED);
	return bpf_redirect(NK_LOOPBACK_IFINDEX, BPF_F_INGRESS);
}

// What a container that has clients here sends to an address of the host's, or to its gateway (`by_loopback`).
// NK_LONG_WAY: it answers no program there.
static __always_inline int nk_to_program(struct __sk_buff *skb, enum nk_family family, bool by_loopback)
{
	struct nk_masquerade *m = nk_masquerade_place();
	int result;

	if (!m || !nk_may_be_inside(m) || m->ip.ttl <= 2)
		return NK_LONG_WAY;
	result = nk_answer_host(skb, family, m, by_loopback);
	if (result >= 0)
		return nk_drop_sent(skb, result);
	return result == NK_OK ? nk_send_to_loopback(skb) : NK_LONG_WAY;
}

NK_GLOBAL int nk_to_program4(struct __sk_buff *skb, bool by_loopback)
{
	return nk_to_program(skb, NK_IPV4, by_loopback);
}

NK_GLOBAL int nk_to_program6(struct __sk_buff *skb, bool by_loopback)
{
	return nk_to_program(skb, NK_IPV6, by_loopback);
}
