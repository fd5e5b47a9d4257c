// Changing a packet word by word with helper calls: for packets that are rare, or where the program must not write into
// packets itself (uplink.h). What is common is written directly (rewrite.h).
#pragma once

#include "lib/base.h"
#include "lib/packet/csum.h"
#include "lib/packet/rewrite.h"

// The first failure is remembered; what follows it does nothing.
struct nk_edit {
	struct __sk_buff *skb;
	bool failed;
};

static __always_inline __u16 nk_edit_load(struct nk_edit *edit, __u32 offset)
{
	__u16 value = 0;

	edit->failed |= bpf_skb_load_bytes(edit->skb, offset, &value, sizeof(value)) != 0;
	return value;
}

static __always_inline void nk_edit_store(struct nk_edit *edit, __u32 offset, __u16 value)
{
	edit->failed |= edit->failed || bpf_skb_store_bytes(edit->skb, offset, &value, sizeof(value), 0);
}

// Each of these returns what it adds to a sum over the packet.

static __always_inline __u64 nk_edit_word(struct nk_edit *edit, __u32 offset, __u16 value)
{
	__u16 old = nk_edit_load(edit, offset);

	nk_edit_store(edit, offset, value);
	return nk_csum_change16(old, value);
}

// A checksum that covers `change`, and is not covered by itself.
static __always_inline __u64 nk_edit_check(struct nk_edit *edit, __u32 offset, __u64 change)
{
	__sum16 old = nk_edit_load(edit, offset), check = old;

	nk_csum_update(&check, change);
	nk_edit_store(edit, offset, check);
	return nk_csum_change16(old, check);
}

static __always_inline __u64 nk_edit_l4_check(struct nk_edit *edit, __u32 offset, __u8 proto, enum nk_summed summed,
					      __u64 addr_change, __u64 port_change)
{
	__sum16 old, check;

	// Its CRC covers no addresses, and its ports are kept.
	if (proto == IPPROTO_SCTP)
		return 0;
	old = check = nk_edit_load(edit, offset);
	nk_update_l4_check(proto, summed, &check, addr_change, port_change);
	nk_edit_store(edit, offset, check);
	return nk_csum_change16(old, check);
}

// Where the transport checksum is in its header.
static __always_inline __u32 nk_check_offset(__u8 proto)
{
	if (proto == IPPROTO_TCP)
		return offsetof(struct tcphdr, check);
	if (proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE)
		return offsetof(struct udphdr, check);
	return offsetof(struct nk_icmp_echo, checksum);
}

static __always_inline __u32 nk_port_offset(__u8 proto, enum nk_side side)
{
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
		return offsetof(struct nk_icmp_echo, id);
	return side == NK_SOURCE ? offsetof(struct udphdr, source) : offsetof(struct udphdr, dest);
}

// The offset of an address in an IP header that begins at `ip_offset`.
static __always_inline __u32 nk_addr_offset(enum nk_family family, __u32 ip_offset, enum nk_side side)
{
	if (family == NK_IPV4)
		return ip_offset + (side == NK_SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
	return ip_offset + (side == NK_SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
}

static __always_inline __u64 nk_addr_change(enum nk_family family, const struct nk_addr *from, const struct nk_addr *to)
{
	__u64 change = nk_csum_change(from->word[0], to->word[0]);

	if (family == NK_IPV6)
		change += nk_csum_change(from->word[1], to->word[1]) + nk_csum_change(from->word[2], to->word[2]) +
			  nk_csum_change(from->word[3], to->word[3]);
	return change;
}

static __always_inline __u64 nk_edit_addr(struct nk_edit *edit, enum nk_family family, __u32 offset,
					  const struct nk_addr *addr)
{
	struct __sk_buff *skb = edit->skb;
	struct nk_addr old = {};

	if (family == NK_IPV4)
		edit->failed |= bpf_skb_load_bytes(skb, offset, &old, sizeof(__be32)) ||
				bpf_skb_store_bytes(skb, offset, addr, sizeof(__be32), 0);
	else
		edit->failed |= bpf_skb_load_bytes(skb, offset, &old, sizeof(old)) ||
				bpf_skb_store_bytes(skb, offset, addr, sizeof(old), 0);
	return nk_addr_change(family, &old, addr);
}

// The address in an IP header, whose checksum (IPv4) makes up for it.
static __always_inline __u64 nk_edit_ip(struct nk_edit *edit, enum nk_family family, __u32 ip_offset, enum nk_side side,
					const struct nk_addr *addr)
{
	__u64 change = nk_edit_addr(edit, family, nk_addr_offset(family, ip_offset, side), addr);

	if (family == NK_IPV4)
		nk_edit_check(edit, ip_offset + offsetof(struct iphdr, check), change);
	return change;
}

// Where skb->csum is a sum over the packet, it follows.
static __always_inline void nk_edit_complete(struct nk_edit *edit, __u64 change)
{
	bpf_csum_update(edit->skb, nk_csum_fold32(change));
}
