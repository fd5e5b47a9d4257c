// The short way of a packet whose flow is established, in either direction: one look-up, and it is written and gone.
//
// It is for what most packets are: TCP without SYN or RST, and UDP; without IP options or extension headers, no
// fragment, its headers in the linear part; and its flow is current. All else takes the long way (container.h,
// uplink.h), which judges from nothing and leaves the flow current for the packets that follow.
//
// A flow is current for about a second after the long way was taken, or until the daemon says that something changed
// (nk_stamp). For that time nothing that the long way found out is asked again: that the source address belongs to the
// device that the packet came from, that it is to be masqueraded, the route, the next hop. The time stamp by which a
// flow ages is of the last long way too.
#pragma once

#include "base.h"
#include "counters.h"
#include "flow.h"
#include "node.h"
#include "parse.h"
#include "rewrite.h"

// No verdict: the long way. (TCX_NEXT is -1.)
#define NK_LONG_WAY (-2)

// Version 4, header of 5 words (RFC 791, 3.1); a TCP header of 5 words or more (RFC 9293, 3.1).
#define NK_IP4_PLAIN 0x45
#define NK_TCP_WORDS_5 0x50

struct nk_plain {
	struct ethhdr *eth;
	void *ip;
	struct nk_l4_fields l4;
	__u32 headers; // network-layer bytes up to the payload
	__u8 proto;
	__u8 tcp_flags;
};

static __always_inline bool nk_is_plain4(const struct iphdr *ip)
{
	return *(const __u8 *)ip == NK_IP4_PLAIN && !(ip->frag_off & bpf_htons(NK_IP_MF | NK_IP_OFFSET)) && ip->ttl > 1;
}

static __always_inline bool nk_is_plain6(const struct ipv6hdr *ip)
{
	return ip->version == 6 && ip->hop_limit > 1;
}

// Network-layer bytes as the header says; 0 for BIG TCP.
static __always_inline __u32 nk_plain_len(const void *ip, enum nk_family family)
{
	const struct ipv6hdr *ip6 = ip;
	const struct iphdr *ip4 = ip;

	if (family == NK_IPV4)
		return bpf_ntohs(ip4->tot_len);
	return ip6->payload_len ? sizeof(*ip6) + bpf_ntohs(ip6->payload_len) : 0;
}

// What the headers say must be in the packet, with a transport header of that size.
static __always_inline bool nk_plain_len_is_right(const struct __sk_buff *skb, const void *ip, enum nk_family family,
						  __u32 headers)
{
	__u32 len = nk_plain_len(ip, family);

	if (!len)
		return skb->gso_size;
	return len >= headers && len <= skb->len - ETH_HLEN;
}

// Whether the largest frame that it becomes on the wire is within the route's MTU.
static __always_inline bool nk_plain_fits(const struct __sk_buff *skb, const struct nk_plain *p, __u32 mtu)
{
	return skb->len - ETH_HLEN <= mtu || (skb->gso_size && p->headers + skb->gso_size <= mtu);
}

// Whether it is plain, with the headers found and the ports read.
static __always_inline bool nk_parse_plain(struct __sk_buff *skb, enum nk_family family, enum nk_side side,
					   struct nk_plain *p, __be16 *sport, __be16 *dport)
{
	const __u32 ip_len = family == NK_IPV4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct tcphdr *tcp = data + ETH_HLEN + ip_len;
	struct udphdr *udp = (void *)tcp;

	p->eth = data;
	p->ip = data + ETH_HLEN;
	if ((void *)(udp + 1) > end)
		return false;
	if (!(family == NK_IPV4 ? nk_is_plain4(p->ip) : nk_is_plain6(p->ip)))
		return false;
	p->proto = family == NK_IPV4 ? ((struct iphdr *)p->ip)->protocol : ((struct ipv6hdr *)p->ip)->nexthdr;
	*sport = udp->source;
	*dport = udp->dest;
	p->l4.port = side == NK_SOURCE ? &udp->source : &udp->dest;
	if (p->proto == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end || ((__u8 *)tcp)[12] < NK_TCP_WORDS_5)
			return false;
		p->tcp_flags = ((__u8 *)tcp)[13];
		p->l4.check = &tcp->check;
		p->headers = ip_len + (((__u8 *)tcp)[12] >> 4) * 4;
		return !(p->tcp_flags & (NK_TCP_SYN | NK_TCP_RST)) &&
		       nk_plain_len_is_right(skb, p->ip, family, ip_len + sizeof(*tcp));
	}
	if (p->proto != IPPROTO_UDP)
		return false;
	p->tcp_flags = 0;
	p->l4.check = &udp->check;
	p->headers = ip_len + sizeof(*udp);
	return nk_plain_len_is_right(skb, p->ip, family, ip_len + sizeof(*udp));
}

static __always_inline struct nk_flow *nk_find_plain(enum nk_family family, const struct nk_plain *p, __be16 sport,
						     __be16 dport, enum nk_flow_direction direction)
{
	const struct ipv6hdr *ip6 = p->ip;
	const struct iphdr *ip4 = p->ip;

	if (family == NK_IPV4) {
		struct nk_flow4_key key = {
		    .saddr = ip4->saddr,
		    .daddr = ip4->daddr,
		    .sport = sport,
		    .dport = dport,
		    .proto = p->proto,
		    .direction = direction,
		};

		return bpf_map_lookup_elem(&flows4, &key);
	}
	struct nk_flow6_key key = {.sport = sport, .dport = dport, .proto = p->proto, .direction = direction};

	__builtin_memcpy(&key.saddr, &ip6->saddr, sizeof(key.saddr));
	__builtin_memcpy(&key.daddr, &ip6->daddr, sizeof(key.daddr));
	return bpf_map_lookup_elem(&flows6, &key);
}

static __always_inline void nk_write_plain(struct __sk_buff *skb, enum nk_family family, enum nk_side side,
					   const struct nk_plain *p, struct nk_flow *flow)
{
	const __u32 l4_offset = ETH_HLEN + (family == NK_IPV4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));

	if (p->tcp_flags & NK_TCP_FIN)
		__sync_fetch_and_or(&flow->flags, NK_FLOW_FIN);
	nk_translate(skb, family, p->proto, nk_summed(skb, l4_offset), p->ip, &p->l4, side, &flow->addr, flow->port);
}

// To an address inside the node's own prefixes. Read where it is: mostly the first word says no.
static __always_inline bool nk_is_to_prefix(enum nk_family family, const void *ip)
{
	const struct ipv6hdr *ip6 = ip;
	const struct iphdr *ip4 = ip;

	return nk_network(family, family == NK_IPV4 ? (const void *)&ip4->daddr : &ip6->daddr);
}

// From a container. The type that the frame itself says is compared, like all else: what is not as usual takes the long
// way.
static __always_inline int nk_fast_out(struct __sk_buff *skb, enum nk_family family)
{
	struct nk_plain p;
	struct nk_flow *flow;
	__be16 sport, dport;

	if (!nk_parse_plain(skb, family, NK_SOURCE, &p, &sport, &dport) || skb->vlan_present ||
	    p.eth->h_proto != skb->protocol || nk_is_to_prefix(family, p.ip))
		return NK_LONG_WAY;
	flow = nk_find_plain(family, &p, sport, dport, NK_FLOW_FORWARD);
	if (!flow || flow->stamp != nk_stamp() || flow->container_ifindex != skb->ifindex ||
	    !nk_plain_fits(skb, &p, flow->mtu))
		return NK_LONG_WAY;
	nk_write_plain(skb, family, NK_SOURCE, &p, flow);
	nk_copy_mac(p.eth->h_dest, flow->next_hop_mac);
	nk_copy_mac(p.eth->h_source, flow->uplink_mac);
	return bpf_redirect(flow->ifindex, 0);
}

// Whether it is TCP or UDP, with its destination port where it is in a plain packet.
static __always_inline bool nk_read_dport(const struct __sk_buff *skb, enum nk_family family, __be16 *dport)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct ipv6hdr *ip6 = data + ETH_HLEN;
	const struct iphdr *ip4 = data + ETH_HLEN;
	const struct udphdr *ports = family == NK_IPV4 ? (void *)(ip4 + 1) : (void *)(ip6 + 1);
	__u8 proto;

	if ((void *)(ports + 1) > end || !(family == NK_IPV4 ? nk_is_plain4(ip4) : nk_is_plain6(ip6)))
		return false;
	proto = family == NK_IPV4 ? ip4->protocol : ip6->nexthdr;
	*dport = ports->dest;
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP;
}

// From an uplink.
static __always_inline int nk_fast_in(struct __sk_buff *skb, enum nk_family family)
{
	struct nk_plain p;
	struct nk_flow *flow;
	__be16 sport, dport;

	if (!nk_read_dport(skb, family, &dport))
		return NK_LONG_WAY;
	// The host's own traffic has the shortest way of all: nothing more is asked of it.
	if (!nk_in_pool(dport))
		return nk_is_to_prefix(family, (void *)(long)skb->data + ETH_HLEN) ? NK_LONG_WAY : TCX_NEXT;
	if (!nk_parse_plain(skb, family, NK_DESTINATION, &p, &sport, &dport))
		return NK_LONG_WAY;
	flow = nk_find_plain(family, &p, sport, dport, NK_FLOW_REVERSE);
	if (!flow || flow->stamp != nk_stamp())
		return NK_LONG_WAY;
	nk_write_plain(skb, family, NK_DESTINATION, &p, flow);
	return bpf_redirect_peer(flow->ifindex, 0);
}
