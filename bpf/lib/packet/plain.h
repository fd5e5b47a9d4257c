// Plain packets, which the short ways (fast.h) are for: TCP or UDP, without IP options or extension headers, no
// fragment, a TTL that is not used up, the headers in the linear part and what they say of lengths right.
#pragma once

#include "lib/addr.h"
#include "lib/base.h"
#include "lib/packet/parse.h"
#include "lib/packet/rewrite.h"

// No verdict: the long way. (TCX_NEXT is -1.)
#define NK_LONG_WAY (-2)

// Version 4, header of 5 words (RFC 791, 3.1); a TCP header of 5 words or more (RFC 9293, 3.1).
#define NK_IP4_PLAIN 0x45
#define NK_TCP_WORDS_5 0x50

struct nk_plain {
	struct ethhdr *eth;
	void *ip;
	struct nk_l4_fields l4;
	__be16 sport;
	__be16 dport;
	__u32 headers; // network-layer bytes up to the payload
	__u32 least;   // the same, without options
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

static __always_inline __u32 nk_plain_ip_len(enum nk_family family)
{
	return family == NK_IPV4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

static __always_inline __u32 nk_plain_l4_offset(enum nk_family family)
{
	return ETH_HLEN + nk_plain_ip_len(family);
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

// What the headers say must be in the packet.
static __always_inline bool nk_plain_len_is_right(const struct __sk_buff *skb, enum nk_family family,
						  const struct nk_plain *p)
{
	__u32 len = nk_plain_len(p->ip, family);

	if (!len)
		return skb->gso_size;
	return len >= p->least && len <= skb->len - ETH_HLEN;
}

// Whether the largest frame that it becomes on the wire is within the route's MTU.
static __always_inline bool nk_plain_fits(const struct __sk_buff *skb, const struct nk_plain *p, __u32 mtu)
{
	return skb->len - ETH_HLEN <= mtu || (skb->gso_size && p->headers + skb->gso_size <= mtu);
}

// Whether it is TCP or UDP and as plain as the network header says, with that found and the ports read.
static __always_inline bool nk_parse_plain_ports(struct __sk_buff *skb, enum nk_family family, struct nk_plain *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct udphdr *udp = data + nk_plain_l4_offset(family);

	p->eth = data;
	p->ip = data + ETH_HLEN;
	if ((void *)(udp + 1) > end)
		return false;
	if (!(family == NK_IPV4 ? nk_is_plain4(p->ip) : nk_is_plain6(p->ip)))
		return false;
	p->proto = family == NK_IPV4 ? ((struct iphdr *)p->ip)->protocol : ((struct ipv6hdr *)p->ip)->nexthdr;
	p->sport = udp->source;
	p->dport = udp->dest;
	return p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP;
}

// The rest: whether it is plain but for its length.
static __always_inline bool nk_parse_plain_l4(struct __sk_buff *skb, enum nk_family family, enum nk_side side,
					      struct nk_plain *p)
{
	const __u32 ip_len = nk_plain_ip_len(family);
	void *end = (void *)(long)skb->data_end;
	struct tcphdr *tcp = p->ip + ip_len;
	struct udphdr *udp = (void *)tcp;

	p->l4.port = side == NK_SOURCE ? &udp->source : &udp->dest;
	if (p->proto == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end || ((__u8 *)tcp)[12] < NK_TCP_WORDS_5)
			return false;
		p->tcp_flags = ((__u8 *)tcp)[13];
		p->l4.check = &tcp->check;
		p->headers = ip_len + (((__u8 *)tcp)[12] >> 4) * 4;
		p->least = ip_len + sizeof(*tcp);
		return true;
	}
	p->tcp_flags = 0;
	p->l4.check = &udp->check;
	p->headers = p->least = ip_len + sizeof(*udp);
	return true;
}

static __always_inline bool nk_parse_plain(struct __sk_buff *skb, enum nk_family family, enum nk_side side,
					   struct nk_plain *p)
{
	return nk_parse_plain_ports(skb, family, p) && nk_parse_plain_l4(skb, family, side, p);
}

// The type that the frame itself says. (struct ethhdr is packed: its field would be read byte by byte.)
static __always_inline __be16 nk_plain_type(const struct nk_plain *p)
{
	return *(const __be16 *)((const void *)p->eth + offsetof(struct ethhdr, h_proto));
}

// What only a flow's own way knows what to do with.
static __always_inline bool nk_begins_or_ends(const struct nk_plain *p)
{
	return p->tcp_flags & (NK_TCP_SYN | NK_TCP_RST);
}

static __always_inline bool nk_answers_beginning(const struct nk_plain *p)
{
	return (p->tcp_flags & (NK_TCP_STATE | NK_TCP_ACK)) == (NK_TCP_SYN | NK_TCP_ACK);
}

// An address where it is in the packet: of IPv4, its first word alone may be read.
static __always_inline const struct nk_addr *nk_plain_addr(const void *ip, enum nk_family family, enum nk_side side)
{
	const struct ipv6hdr *ip6 = ip;
	const struct iphdr *ip4 = ip;

	if (family == NK_IPV4)
		return (const void *)(side == NK_SOURCE ? &ip4->saddr : &ip4->daddr);
	return (const void *)(side == NK_SOURCE ? &ip6->saddr : &ip6->daddr);
}

static __always_inline struct nk_addr nk_copy_plain_addr(const void *ip, enum nk_family family, enum nk_side side)
{
	const struct nk_addr *addr = nk_plain_addr(ip, family, side);

	return family == NK_IPV4 ? nk_addr4(addr->word[0]) : *addr;
}

static __always_inline void nk_write_plain_macs(const struct nk_plain *p, const __u8 *destination, const __u8 *source)
{
	nk_copy_mac(p->eth->h_dest, destination);
	nk_copy_mac(p->eth->h_source, source);
}
