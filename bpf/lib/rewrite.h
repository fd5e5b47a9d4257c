// Changing a packet: masquerade in either direction, TTL, Ethernet addresses.
//
// The transport checksum goes through the helpers, which know what CHECKSUM_PARTIAL and CHECKSUM_COMPLETE need; all
// else is written directly. A false answer means that the packet is half rewritten and must be dropped.
#pragma once

#include "base.h"
#include "csum.h"
#include "parse.h"

enum nk_side {
	NK_SOURCE,
	NK_DESTINATION,
};

// What to write where.
struct nk_rewrite4 {
	enum nk_side side;
	__be32 addr;
	__be16 port;
};

static __always_inline __u32 nk_l4_check_offset(__u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return offsetof(struct tcphdr, check);
	case IPPROTO_UDP:
		return offsetof(struct udphdr, check);
	default:
		return offsetof(struct nk_icmp_echo, checksum);
	}
}

// From the transport header's start.
static __always_inline __u32 nk_port_offset(__u8 proto, enum nk_side side)
{
	if (proto == IPPROTO_ICMP)
		return offsetof(struct nk_icmp_echo, id);
	return side == NK_SOURCE ? 0 : sizeof(__be16);
}

static __always_inline __be16 nk_old_port(const struct nk_l4 *l4, enum nk_side side)
{
	return side == NK_SOURCE ? l4->sport : l4->dport;
}

static __always_inline bool nk_rewrite_l4_check(struct __sk_buff *skb, const struct nk_ipv4 *ip, const struct nk_l4 *l4,
						const struct nk_rewrite4 *to)
{
	__u32 offset = nk_l4_offset(ip) + nk_l4_check_offset(ip->proto);
	__be32 old_addr = to->side == NK_SOURCE ? ip->saddr : ip->daddr;
	__be16 old_port = nk_old_port(l4, to->side);
	// UDP without a checksum (zero) stays without, and a sum that comes out as zero is sent as 0xffff (RFC 768).
	__u64 flags = ip->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	// ICMP has no pseudo header.
	if (ip->proto != IPPROTO_ICMP &&
	    bpf_l4_csum_replace(skb, offset, old_addr, to->addr, flags | BPF_F_PSEUDO_HDR | sizeof(old_addr)))
		return false;
	return old_port == to->port || !bpf_l4_csum_replace(skb, offset, old_port, to->port, flags | sizeof(old_port));
}

static __always_inline void nk_write_ttl(struct iphdr *header)
{
	__be16 *ttl_and_proto = (__be16 *)&header->ttl;
	__be16 old = *ttl_and_proto;

	header->ttl--;
	nk_csum_replace2(&header->check, old, *ttl_and_proto);
}

// Writes address and port, and takes one off the TTL.
static __always_inline bool nk_rewrite4(struct __sk_buff *skb, const struct nk_ipv4 *ip, const struct nk_l4 *l4,
					const struct nk_rewrite4 *to)
{
	__u32 port_offset = nk_l4_offset(ip) + nk_port_offset(ip->proto, to->side);
	struct iphdr *header;
	__be32 *addr;
	__be16 *port;

	if (!nk_rewrite_l4_check(skb, ip, l4, to))
		return false;
	port = nk_header(skb, port_offset, sizeof(*port));
	if (!port)
		return false;
	*port = to->port;
	header = nk_header(skb, ETH_HLEN, sizeof(*header));
	if (!header)
		return false;
	addr = to->side == NK_SOURCE ? &header->saddr : &header->daddr;
	nk_csum_replace4(&header->check, *addr, to->addr);
	*addr = to->addr;
	nk_write_ttl(header);
	return true;
}

static __always_inline bool nk_decrement_ttl(struct __sk_buff *skb)
{
	struct iphdr *header = nk_header(skb, ETH_HLEN, sizeof(*header));

	if (!header)
		return false;
	nk_write_ttl(header);
	return true;
}

static __always_inline bool nk_write_macs(struct __sk_buff *skb, const __u8 *destination, const __u8 *source)
{
	struct ethhdr *header = nk_header(skb, 0, sizeof(*header));

	if (!header)
		return false;
	__builtin_memcpy(header->h_dest, destination, ETH_ALEN);
	__builtin_memcpy(header->h_source, source, ETH_ALEN);
	return true;
}
