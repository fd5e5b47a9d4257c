// Changing a packet: masquerade in either direction, TTL, Ethernet addresses.
//
// All is written directly, checksums too: three helper calls a packet cost more than everything else here
// (tests/bench/README.md). What the sum in the transport header stands for is in skb->ip_summed (csum.h). A false
// answer means that the packet is half rewritten and must be dropped.
#pragma once

#include "lib/base.h"
#include "lib/packet/csum.h"
#include "lib/packet/parse.h"
#include "lib/packet/skb.h"

enum nk_side {
	NK_SOURCE,
	NK_DESTINATION,
};

// The transport's fields that a rewrite is about.
struct nk_l4_fields {
	__be16 *port; // or the echo id
	__sum16 *check;
};

static __always_inline bool nk_find_l4_fields(struct __sk_buff *skb, const struct nk_ip *ip, __u8 proto,
					      enum nk_side side, struct nk_l4_fields *fields)
{
	struct nk_icmp_echo *echo;
	struct tcphdr *tcp;
	struct udphdr *udp;

	if (proto == IPPROTO_TCP) {
		tcp = nk_header(skb, nk_l4_offset(ip), sizeof(*tcp));
		if (!tcp)
			return false;
		fields->port = side == NK_SOURCE ? &tcp->source : &tcp->dest;
		fields->check = &tcp->check;
		return true;
	}
	if (proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE) {
		udp = nk_header(skb, nk_l4_offset(ip), sizeof(*udp));
		if (!udp)
			return false;
		fields->port = side == NK_SOURCE ? &udp->source : &udp->dest;
		fields->check = &udp->check;
		return true;
	}
	echo = nk_header(skb, nk_l4_offset(ip), sizeof(*echo));
	if (!echo)
		return false;
	fields->port = &echo->id;
	fields->check = &echo->checksum;
	return true;
}

// The transport checksum, after `addr_change` in the pseudo header and `port_change` in the transport header.
static __always_inline void nk_update_l4_check(__u8 proto, enum nk_summed summed, __sum16 *check, __u64 addr_change,
					       __u64 port_change)
{
	// ICMP, unlike ICMPv6, has no pseudo header.
	bool pseudo = proto != IPPROTO_ICMP;

	if (summed == NK_SUMMED_PARTIAL) {
		*check = nk_csum_fold(*check + addr_change);
		return;
	}
	// UDP without a checksum (zero) stays without, and a sum that comes out as zero is sent as 0xffff (RFC 768).
	if (proto == IPPROTO_UDP && !*check)
		return;
	nk_csum_update(check, port_change + (pseudo ? addr_change : 0));
	if (!*check && (proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE))
		*check = 0xffff;
}

// Takes one off the TTL or hop limit, and is the only function that does. Returns what that adds to a sum over the
// header.
static __always_inline __u64 nk_write_ttl(void *header, enum nk_family family)
{
	struct ipv6hdr *ip6 = header;
	struct iphdr *ip4 = header;
	// The 16-bit word that it is a part of: with the protocol, or with the next header's number.
	__be16 *word = family == NK_IPV4 ? (__be16 *)&ip4->ttl : (__be16 *)&ip6->nexthdr;
	__be16 old = *word;

	if (family == NK_IPV4)
		ip4->ttl--;
	else
		ip6->hop_limit--;
	return nk_csum_change16(old, *word);
}

static __always_inline __u64 nk_write_word(__be32 *word, __be32 value)
{
	__u64 change = nk_csum_change(*word, value);

	*word = value;
	return change;
}

// Writes an address into the IP header; what it adds to a sum over the addresses.
static __always_inline __u64 nk_write_addr(void *header, enum nk_family family, enum nk_side side,
					   const struct nk_addr *addr)
{
	struct ipv6hdr *ip6 = header;
	struct iphdr *ip4 = header;
	__be32 *word = side == NK_SOURCE ? ip6->saddr.in6_u.u6_addr32 : ip6->daddr.in6_u.u6_addr32;

	if (family == NK_IPV4)
		return nk_write_word(side == NK_SOURCE ? &ip4->saddr : &ip4->daddr, addr->word[0]);
	return nk_write_word(&word[0], addr->word[0]) + nk_write_word(&word[1], addr->word[1]) +
	       nk_write_word(&word[2], addr->word[2]) + nk_write_word(&word[3], addr->word[3]);
}

static __always_inline void *nk_ip_header(struct __sk_buff *skb, enum nk_family family)
{
	return nk_header(skb, ETH_HLEN, family == NK_IPV4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
}

// After a change of the IP header: IPv4's checksum makes up for it, in IPv6 a sum over the whole packet is changed by
// it.
static __always_inline __u64 nk_update_ip_check(void *header, enum nk_family family, __u64 change)
{
	struct iphdr *ip4 = header;

	if (family == NK_IPV6)
		return change;
	nk_csum_update(&ip4->check, change);
	return 0;
}

static __always_inline void nk_update_complete(struct __sk_buff *skb, enum nk_summed summed, __u64 change)
{
	if (summed == NK_SUMMED_COMPLETE)
		bpf_csum_update(skb, nk_csum_fold32(change));
}

// Takes one off the TTL of the IP header `header`, behind which the transport header is at `l4_offset`. Nothing else of
// the packet changes.
static __always_inline void nk_decrement_ttl(struct __sk_buff *skb, enum nk_family family, void *header,
					     __u32 l4_offset)
{
	__u64 sum = nk_update_ip_check(header, family, nk_write_ttl(header, family));

	if (family == NK_IPV6)
		nk_update_complete(skb, nk_summed(skb, l4_offset), sum);
}

// Writes address and port, and takes one off the TTL.
static __always_inline void nk_translate(struct __sk_buff *skb, enum nk_family family, __u8 proto,
					 enum nk_summed summed, void *ip, const struct nk_l4_fields *l4,
					 enum nk_side side, const struct nk_addr *addr, __be16 port)
{
	__u64 addr_change = nk_write_addr(ip, family, side, addr);
	__u64 port_change = nk_csum_change16(*l4->port, port);
	__u64 sum = nk_update_ip_check(ip, family, addr_change + nk_write_ttl(ip, family));
	__sum16 old_check = *l4->check;

	*l4->port = port;
	nk_update_l4_check(proto, summed, l4->check, addr_change, port_change);
	nk_update_complete(skb, summed, sum + port_change + nk_csum_change16(old_check, *l4->check));
}

// Where there is no transport header, or its checksum does not cover addresses: writes the address, and takes one off
// the TTL.
static __always_inline bool nk_rewrite_addr(struct __sk_buff *skb, const struct nk_ip *ip, enum nk_side side,
					    const struct nk_addr *addr)
{
	void *header = nk_ip_header(skb, ip->family);
	__u64 sum;

	if (!header)
		return false;
	sum = nk_write_addr(header, ip->family, side, addr) + nk_write_ttl(header, ip->family);
	sum = nk_update_ip_check(header, ip->family, sum);
	if (ip->family == NK_IPV6)
		nk_update_complete(skb, nk_summed(skb, nk_l4_offset(ip)), sum);
	return true;
}

// The TTL of a packet that is forwarded as it is.
static __always_inline bool nk_rewrite_ttl(struct __sk_buff *skb, const struct nk_ip *ip)
{
	void *header = nk_ip_header(skb, ip->family);

	if (!header)
		return false;
	nk_decrement_ttl(skb, ip->family, header, nk_l4_offset(ip));
	return true;
}

// Address, port and TTL. SCTP's checksum, a CRC, can't be updated for another port: its ports are kept (flow_create.h),
// and addresses are not part of it, whoever is to compute it.
static __always_inline bool nk_rewrite(struct __sk_buff *skb, const struct nk_ip *ip, __u8 proto, enum nk_side side,
				       const struct nk_addr *addr, __be16 port)
{
	struct nk_l4_fields l4;
	void *header;

	if (proto == IPPROTO_SCTP)
		return nk_rewrite_addr(skb, ip, side, addr);
	if (!nk_find_l4_fields(skb, ip, proto, side, &l4))
		return false;
	// What the transport header is behind of is linear as well; nothing may be pulled from here on.
	header = nk_linear(skb, ETH_HLEN, ip->family == NK_IPV4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	if (!header)
		return false;
	nk_translate(skb, ip->family, proto, nk_summed(skb, nk_l4_offset(ip)), header, &l4, side, addr, port);
	return true;
}

// IPv4's identification.
static __always_inline bool nk_write_id(struct __sk_buff *skb, __be16 id)
{
	struct iphdr *header = nk_ip_header(skb, NK_IPV4);
	__u64 change;

	if (!header)
		return false;
	change = nk_csum_change16(header->id, id);
	header->id = id;
	nk_csum_update(&header->check, change);
	return true;
}

// In three steps: the header is packed, and the compiler would take six.
static __always_inline void nk_copy_mac(__u8 *to, const __u8 *from)
{
	__u16 *words = (__u16 *)to;
	const __u16 *values = (const __u16 *)from;

	words[0] = values[0];
	words[1] = values[1];
	words[2] = values[2];
}

static __always_inline bool nk_swap_macs(struct __sk_buff *skb)
{
	struct ethhdr *header = nk_header(skb, 0, sizeof(*header));
	__u8 source[ETH_ALEN];

	if (!header)
		return false;
	nk_copy_mac(source, header->h_source);
	nk_copy_mac(header->h_source, header->h_dest);
	nk_copy_mac(header->h_dest, source);
	return true;
}

static __always_inline bool nk_write_macs(struct __sk_buff *skb, const __u8 *destination, const __u8 *source)
{
	struct ethhdr *header = nk_header(skb, 0, sizeof(*header));

	if (!header)
		return false;
	nk_copy_mac(header->h_dest, destination);
	nk_copy_mac(header->h_source, source);
	return true;
}
