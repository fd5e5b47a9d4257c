// An ICMP error, made of the packet that it is about: nobody is at its destination, or no way leads there. It quotes
// what whoever sent it needs to know the packet again (RFC 792; RFC 4443, 3.1). None is about a fragment behind the
// first one, about an error, or about what has no ports (RFC 1122, 3.2.2); nor where headers are between.
#pragma once

#include "lib/addr.h"
#include "lib/base.h"
#include "lib/packet/csum.h"
#include "lib/packet/parse.h"

#define NK_ICMP_NET_UNREACHABLE 0
#define NK_ICMP_HOST_UNREACHABLE 1
#define NK_ICMP6_NO_ROUTE 0
#define NK_ICMP6_ADDRESS_UNREACHABLE 3
#define NK_ERROR_TTL 64

// A whole TCP header without options, since the kernel keeps all that a checksum is still to be written into
// (__bpf_skb_min_len() in net/core/filter.c); of others, the first eight bytes will do.
#define NK_QUOTED_MOST 20
#define NK_QUOTED_LEAST 8

struct nk_unreachable4 {
	struct iphdr ip;
	struct nk_icmp_echo icmp; // id and sequence are unused: zero
};

struct nk_unreachable6 {
	struct ipv6hdr ip;
	struct nk_icmp_echo icmp;
};

// Of `proto`, whose first byte is `type` if it is ICMP.
static __always_inline bool nk_is_to_be_told(enum nk_family family, __u8 proto, __u8 type)
{
	if (proto == nk_icmp_proto(family))
		return type == (family == NK_IPV4 ? NK_ICMP_ECHO : NK_ICMP6_ECHO);
	return nk_has_ports(proto);
}

// Truncates the packet to the quotation, makes room for `headers` bytes before it, and reads all of it into `quote`,
// which has the IP header and NK_QUOTED_LEAST bytes already. Returns its length, or 0 on failure.
static __always_inline __u32 nk_quote(struct __sk_buff *skb, __u32 header_len, __u32 headers, void *quote)
{
	bool whole = skb->len >= ETH_HLEN + header_len + NK_QUOTED_MOST;
	__u32 len = header_len + (whole ? NK_QUOTED_MOST : NK_QUOTED_LEAST);

	if (bpf_skb_change_tail(skb, ETH_HLEN + len, 0) || bpf_skb_adjust_room(skb, headers, BPF_ADJ_ROOM_MAC, 0) ||
	    (whole && bpf_skb_load_bytes(skb, ETH_HLEN + headers, quote, header_len + NK_QUOTED_MOST)))
		return 0;
	return len;
}

static __always_inline int nk_put_first(struct __sk_buff *skb, const void *headers, __u32 len)
{
	return bpf_skb_store_bytes(skb, ETH_HLEN, headers, len, BPF_F_RECOMPUTE_CSUM) ? NK_DROP_REWRITE_FAILED : NK_OK;
}

static __noinline int nk_make_unreachable4(struct __sk_buff *skb, bool no_route, const struct nk_addr *from)
{
	struct nk_unreachable4 answer = {
	    .ip = {.version = 4, .ihl = 5, .ttl = NK_ERROR_TTL, .protocol = IPPROTO_ICMP},
	    .icmp = {.type = NK_ICMP_UNREACHABLE,
		     .code = no_route ? NK_ICMP_NET_UNREACHABLE : NK_ICMP_HOST_UNREACHABLE},
	};
	__u32 quote[(sizeof(struct iphdr) + NK_QUOTED_MOST) / 4] = {};
	const struct iphdr *asked = (const struct iphdr *)quote;
	__u32 len;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, quote, sizeof(*asked) + NK_QUOTED_LEAST) || asked->ihl != 5 ||
	    asked->frag_off & bpf_htons(NK_IP_OFFSET) ||
	    !nk_is_to_be_told(NK_IPV4, asked->protocol, *(const __u8 *)(asked + 1)))
		return NK_DROP_NO_CONTAINER;
	len = nk_quote(skb, sizeof(*asked), sizeof(answer), quote);
	if (!len)
		return NK_DROP_REWRITE_FAILED;
	answer.ip.saddr = from ? from->word[0] : asked->daddr;
	answer.ip.daddr = asked->saddr;
	answer.ip.tot_len = bpf_htons(sizeof(answer) + len);
	answer.ip.check = ~nk_csum_fold((__u32)bpf_csum_diff(NULL, 0, (__be32 *)&answer.ip, sizeof(answer.ip), 0));
	answer.icmp.checksum = ~nk_csum_fold((__u32)bpf_csum_diff(
	    NULL, 0, quote, sizeof(quote), bpf_csum_diff(NULL, 0, (__be32 *)&answer.icmp, sizeof(answer.icmp), 0)));
	return nk_put_first(skb, &answer, sizeof(answer));
}

static __noinline int nk_make_unreachable6(struct __sk_buff *skb, bool no_route, const struct nk_addr *from)
{
	struct nk_unreachable6 answer = {
	    .ip = {.version = 6, .hop_limit = NK_ERROR_TTL, .nexthdr = IPPROTO_ICMPV6},
	    .icmp = {.type = NK_ICMP6_UNREACHABLE, .code = no_route ? NK_ICMP6_NO_ROUTE : NK_ICMP6_ADDRESS_UNREACHABLE},
	};
	__u32 quote[(sizeof(struct ipv6hdr) + NK_QUOTED_MOST) / 4] = {};
	const struct ipv6hdr *asked = (const struct ipv6hdr *)quote;
	__u32 len;
	__s64 sum;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, quote, sizeof(*asked) + NK_QUOTED_LEAST) ||
	    !nk_is_to_be_told(NK_IPV6, asked->nexthdr, *(const __u8 *)(asked + 1)))
		return NK_DROP_NO_CONTAINER;
	len = nk_quote(skb, sizeof(*asked), sizeof(answer), quote);
	if (!len)
		return NK_DROP_REWRITE_FAILED;
	if (from)
		__builtin_memcpy(&answer.ip.saddr, from, sizeof(answer.ip.saddr));
	else
		answer.ip.saddr = asked->daddr;
	answer.ip.daddr = asked->saddr;
	answer.ip.payload_len = bpf_htons(sizeof(answer.icmp) + len);
	// The pseudo header (RFC 8200, 8.1): addresses, length, and type.
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&answer.ip.saddr, 2 * sizeof(answer.ip.saddr),
			    answer.ip.payload_len + bpf_htons(IPPROTO_ICMPV6));
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&answer.icmp, sizeof(answer.icmp), sum);
	answer.icmp.checksum = ~nk_csum_fold((__u32)bpf_csum_diff(NULL, 0, quote, sizeof(quote), sum));
	return nk_put_first(skb, &answer, sizeof(answer));
}

// `no_route`: nobody gets there from here; else only that address is not there. `from`: who says so; NULL: its
// destination. NK_OK, or why there is no answer; then the packet may be only a part of what it was.
NK_GLOBAL int nk_make_unreachable(struct __sk_buff *skb, int family, bool no_route, const struct nk_addr *from)
{
	return family == NK_IPV4 ? nk_make_unreachable4(skb, no_route, from)
				 : nk_make_unreachable6(skb, no_route, from);
}
