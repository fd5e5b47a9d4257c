// Reading headers. Nothing in a packet is believed before it was compared with what is really there.
#pragma once

#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "base.h"

// RFC 791, 3.1: flags and fragment offset.
#define NK_IP_DF 0x4000
#define NK_IP_MF 0x2000
#define NK_IP_OFFSET 0x1fff

// Ethernet plus the longest IPv4 header is 74: this mask keeps the verifier's bound on a transport offset.
#define NK_L4_OFFSET_MASK 0x7f

// RFC 792, echo and echo reply. (linux/icmp.h draws in libc.)
struct nk_icmp_echo {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id;
	__be16 sequence;
};

enum nk_icmp_type {
	NK_ICMP_ECHOREPLY = 0,
	NK_ICMP_ECHO = 8,
};

struct nk_ipv4 {
	__be32 saddr;
	__be32 daddr;
	__u32 header_len;
	__u32 len;	// header and payload, as the header says (BIG TCP: as the buffer says)
	__u16 fragment; // flags and offset, host order
	__u8 ttl;
	__u8 tos;
	__u8 proto;
};

// Ports as a flow key has them (abi.h): for ICMP echo, the id is the port of the side that asked, the other is 0.
struct nk_l4 {
	__be16 sport;
	__be16 dport;
	__u32 header_len;
	__u8 tcp_flags; // enum nk_tcp_flag
	__u8 icmp_type;
};

// The bits of TCP's flag byte (RFC 9293, 3.1) that mean something to a flow.
enum nk_tcp_flag {
	NK_TCP_FIN = 1 << 0,
	NK_TCP_SYN = 1 << 1,
	NK_TCP_RST = 1 << 2,
	NK_TCP_ACK = 1 << 4,
};

enum nk_l4_result {
	NK_L4_OK,
	NK_L4_MALFORMED,
	NK_L4_UNSUPPORTED, // no ports: a protocol, or an ICMP message, that cannot be masqueraded
};

// `size` bytes (a constant) at `offset`, or NULL if the linear part is shorter.
static __always_inline void *nk_linear(const struct __sk_buff *skb, __u32 offset, __u32 size)
{
	void *header = (void *)(long)skb->data + offset;

	// The verifier knows the bounds of the very register that was compared: keep the compiler from computing it
	// twice.
	asm volatile("" : "+r"(header));
	return header + size <= (void *)(long)skb->data_end ? header : NULL;
}

// The same, pulled into the linear part if it is not there; NULL if the packet is shorter.
static __always_inline void *nk_header(struct __sk_buff *skb, __u32 offset, __u32 size)
{
	void *header = nk_linear(skb, offset, size);

	if (header)
		return header;
	if (offset + size > skb->len || bpf_skb_pull_data(skb, offset + size))
		return NULL;
	return nk_linear(skb, offset, size);
}

static __always_inline bool nk_parse_ipv4(struct __sk_buff *skb, struct nk_ipv4 *ip)
{
	struct iphdr *header = nk_header(skb, ETH_HLEN, sizeof(*header));

	if (!header)
		return false;
	ip->saddr = header->saddr;
	ip->daddr = header->daddr;
	ip->header_len = header->ihl * 4;
	ip->len = bpf_ntohs(header->tot_len);
	ip->fragment = bpf_ntohs(header->frag_off);
	ip->ttl = header->ttl;
	ip->tos = header->tos;
	ip->proto = header->protocol;
	// BIG TCP: more than the field can say is written as 0 (include/linux/ip.h, iph_totlen).
	if (!ip->len && skb->gso_size)
		ip->len = skb->len - ETH_HLEN;
	return header->version == 4 && ip->header_len >= sizeof(*header) && ip->len >= ip->header_len &&
	       ip->len <= skb->len - ETH_HLEN;
}

static __always_inline bool nk_is_fragment(const struct nk_ipv4 *ip)
{
	return ip->fragment & (NK_IP_MF | NK_IP_OFFSET);
}

static __always_inline __u32 nk_l4_offset(const struct nk_ipv4 *ip)
{
	return (ETH_HLEN + ip->header_len) & NK_L4_OFFSET_MASK;
}

// A transport header of `size` bytes (a constant), if the packet says and has as much.
static __always_inline void *nk_l4_header(struct __sk_buff *skb, const struct nk_ipv4 *ip, __u32 size)
{
	if (ip->len - ip->header_len < size)
		return NULL;
	return nk_header(skb, nk_l4_offset(ip), size);
}

static __always_inline enum nk_l4_result nk_parse_tcp(struct __sk_buff *skb, const struct nk_ipv4 *ip, struct nk_l4 *l4)
{
	struct tcphdr *header = nk_l4_header(skb, ip, sizeof(*header));

	if (!header)
		return NK_L4_MALFORMED;
	l4->sport = header->source;
	l4->dport = header->dest;
	l4->header_len = header->doff * 4;
	l4->tcp_flags = ((__u8 *)header)[13];
	if (l4->header_len < sizeof(*header) || l4->header_len > ip->len - ip->header_len)
		return NK_L4_MALFORMED;
	return NK_L4_OK;
}

static __always_inline enum nk_l4_result nk_parse_udp(struct __sk_buff *skb, const struct nk_ipv4 *ip, struct nk_l4 *l4)
{
	struct udphdr *header = nk_l4_header(skb, ip, sizeof(*header));

	if (!header)
		return NK_L4_MALFORMED;
	l4->sport = header->source;
	l4->dport = header->dest;
	l4->header_len = sizeof(*header);
	return NK_L4_OK;
}

static __always_inline enum nk_l4_result nk_parse_icmp(struct __sk_buff *skb, const struct nk_ipv4 *ip,
						       struct nk_l4 *l4)
{
	struct nk_icmp_echo *header = nk_l4_header(skb, ip, sizeof(*header));

	if (!header)
		return NK_L4_MALFORMED;
	l4->header_len = sizeof(*header);
	l4->icmp_type = header->type;
	if (header->code || (header->type != NK_ICMP_ECHO && header->type != NK_ICMP_ECHOREPLY))
		return NK_L4_UNSUPPORTED;
	if (header->type == NK_ICMP_ECHO)
		l4->sport = header->id;
	else
		l4->dport = header->id;
	return NK_L4_OK;
}

// Not for fragments that are not the first: they have no transport header.
static __always_inline enum nk_l4_result nk_parse_l4(struct __sk_buff *skb, const struct nk_ipv4 *ip, struct nk_l4 *l4)
{
	switch (ip->proto) {
	case IPPROTO_TCP:
		return nk_parse_tcp(skb, ip, l4);
	case IPPROTO_UDP:
		return nk_parse_udp(skb, ip, l4);
	case IPPROTO_ICMP:
		return nk_parse_icmp(skb, ip, l4);
	default:
		return NK_L4_UNSUPPORTED;
	}
}
