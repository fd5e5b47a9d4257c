// What a container asks its link: which Ethernet address a neighbour has. Its link has one other end, the host's, and
// all that it can reach is behind that: so every question gets the host's end as its answer, made of the question in
// place and sent back. No daemon is needed for it, nor an entry that somebody may flush.
//
// Only where the link has Ethernet addresses (abi.h, enum nk_device_mode). What is no question of the container's own
// ends here too: the host asks nothing, its packets get their Ethernet addresses at netkitd0 (to_container.h). What a
// frame says of its own sender's Ethernet address is nobody's business: it is written anew before a packet gets
// anywhere.
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/endpoint_drops.h"
#include "lib/packet/csum.h"
#include "lib/endpoint.h"
#include "lib/packet/parse.h"
#include "lib/packet/rewrite.h"

// RFC 826, for Ethernet and IPv4.
struct nk_arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__be32 sender;
	__u8 target_mac[ETH_ALEN];
	__be32 target;
} __attribute__((packed));

#define NK_ARP_ETHERNET 1
#define NK_ARP_REQUEST 1
#define NK_ARP_REPLY 2

// RFC 4861, 4.3 and 4.4, with the option that says the sender's or the target's address (4.6.1).
struct nk_solicitation {
	struct ipv6hdr ip;
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags;
	struct nk_addr target;
	__u8 option;
	__u8 option_len; // in units of 8 bytes
	__u8 mac[ETH_ALEN];
};
NK_STATIC_ASSERT(sizeof(struct nk_solicitation) == 72, "nk_solicitation");

#define NK_ND_SOLICITATION 135
#define NK_ND_ADVERTISEMENT 136
#define NK_ND_SOURCE_ADDRESS 1
#define NK_ND_TARGET_ADDRESS 2
#define NK_ND_FLAGS 0x60000000 // solicited, override
#define NK_ND_HOP_LIMIT 255    // it has not crossed a router
#define NK_ND_WITHOUT_OPTION offsetof(struct nk_solicitation, option)

// Whose question it is; NULL if the device that it came from has another source, or no Ethernet addresses.
static __always_inline const struct nk_endpoint *nk_asker(struct __sk_buff *skb, enum nk_family family,
							  const struct nk_addr *source)
{
	const struct nk_endpoint *endpoint = nk_endpoint(family, source);

	return endpoint && endpoint->ifindex == skb->ifindex ? endpoint : NULL;
}

// Back to where it came from: the Ethernet addresses change places.
static __always_inline int nk_send_back(struct __sk_buff *skb, const struct nk_endpoint *asker)
{
	struct ethhdr *header = nk_header(skb, 0, sizeof(*header));

	if (!header)
		return nk_drop_sent(skb, NK_DROP_REWRITE_FAILED);
	nk_copy_mac(header->h_dest, header->h_source);
	nk_copy_mac(header->h_source, asker->host_mac);
	nk_count(skb, NK_EVENT_NEIGHBOUR_ANSWERED);
	return bpf_redirect(skb->ifindex, 0);
}

static __always_inline bool nk_arp_is_right(const struct nk_arp *arp)
{
	return arp->hardware == bpf_htons(NK_ARP_ETHERNET) && arp->protocol == bpf_htons(ETH_P_IP) &&
	       arp->hardware_len == ETH_ALEN && arp->protocol_len == sizeof(arp->sender) &&
	       (arp->operation == bpf_htons(NK_ARP_REQUEST) || arp->operation == bpf_htons(NK_ARP_REPLY));
}

// No question: an answer; a probe, which an answer would mean a conflict to; or the announcement of an own address
// (RFC 5227, 1.1).
static __always_inline bool nk_arp_asks(const struct nk_arp *arp)
{
	return arp->operation == bpf_htons(NK_ARP_REQUEST) && arp->sender && arp->sender != arp->target;
}

NK_GLOBAL int nk_answer_arp(struct __sk_buff *skb)
{
	const struct nk_endpoint *asker;
	struct nk_addr sender;
	struct nk_arp arp;
	__be32 asked;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)) || !nk_arp_is_right(&arp))
		return nk_drop_sent(skb, NK_DROP_MALFORMED);
	if (!nk_arp_asks(&arp))
		return nk_drop_sent(skb, NK_DROP_LINK_SCOPE);
	sender = nk_addr4(arp.sender);
	asker = nk_asker(skb, NK_IPV4, &sender);
	if (!asker)
		return nk_drop_sent(skb, NK_DROP_SPOOFED_SOURCE);
	if (asker->device_mode == NK_DEVICE_NETKIT)
		return nk_drop_sent(skb, NK_DROP_NOT_IP);
	asked = arp.target;
	arp.operation = bpf_htons(NK_ARP_REPLY);
	__builtin_memcpy(arp.target_mac, arp.sender_mac, ETH_ALEN);
	arp.target = arp.sender;
	__builtin_memcpy(arp.sender_mac, asker->host_mac, ETH_ALEN);
	arp.sender = asked;
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &arp, sizeof(arp), BPF_F_RECOMPUTE_CSUM))
		return nk_drop_sent(skb, NK_DROP_REWRITE_FAILED);
	return nk_send_back(skb, asker);
}

// Whether an IPv6 packet is a neighbour solicitation that a router has not forwarded. With an extension header it is
// none that any stack makes (RFC 6980 forbids fragments).
static __always_inline bool nk_is_solicitation(struct __sk_buff *skb)
{
	const struct nk_solicitation *message = nk_header(skb, ETH_HLEN, offsetof(struct nk_solicitation, flags));

	return message && message->ip.nexthdr == IPPROTO_ICMPV6 && message->ip.hop_limit == NK_ND_HOP_LIMIT &&
	       message->type == NK_ND_SOLICITATION;
}

// No question that anybody else could answer: duplicate detection, of an own address, or of one that ends at the link.
static __always_inline bool nk_solicitation_asks(const struct nk_solicitation *message)
{
	struct nk_addr source;

	__builtin_memcpy(&source, &message->ip.saddr, sizeof(source));
	return !nk_addr_is_unset(NK_IPV6, &source) && !nk_link_scope6(&source) && !nk_link_scope6(&message->target) &&
	       !nk_addr_equal(NK_IPV6, &source, &message->target);
}

// RFC 4861, 7.1.1, but for the checksum: from a wrong one comes a wrong one.
static __always_inline bool nk_solicitation_is_right(const struct __sk_buff *skb, const struct nk_solicitation *message)
{
	__u32 len = bpf_ntohs(message->ip.payload_len);

	return message->ip.version == 6 && !message->code && len >= sizeof(*message) - sizeof(message->ip) &&
	       len <= skb->len - ETH_HLEN - sizeof(message->ip) && message->option == NK_ND_SOURCE_ADDRESS &&
	       message->option_len == 1;
}

// The pseudo header has the same addresses, length and protocol as the IPv6 header: what changes there counts for both.
static __always_inline void nk_make_advertisement(const struct nk_endpoint *asker, struct nk_solicitation *asked,
						  struct nk_solicitation *answer)
{
	__sum16 checksum = asked->checksum;

	asked->checksum = 0;
	*answer = *asked;
	answer->ip.daddr = asked->ip.saddr;
	__builtin_memcpy(&answer->ip.saddr, &asked->target, sizeof(answer->ip.saddr));
	answer->type = NK_ND_ADVERTISEMENT;
	answer->flags = bpf_htonl(NK_ND_FLAGS);
	answer->option = NK_ND_TARGET_ADDRESS;
	__builtin_memcpy(answer->mac, asker->host_mac, ETH_ALEN);
	nk_csum_update(&checksum,
		       (__u32)bpf_csum_diff((__be32 *)asked, sizeof(*asked), (__be32 *)answer, sizeof(*answer), 0));
	answer->checksum = checksum;
}

NK_GLOBAL int nk_answer_solicitation(struct __sk_buff *skb)
{
	struct nk_solicitation asked = {}, answer;
	const struct nk_endpoint *asker;
	struct nk_addr source;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &asked, NK_ND_WITHOUT_OPTION))
		return nk_drop_sent(skb, NK_DROP_MALFORMED);
	if (!nk_solicitation_asks(&asked))
		return nk_drop_sent(skb, NK_DROP_LINK_SCOPE);
	if (bpf_skb_load_bytes(skb, ETH_HLEN, &asked, sizeof(asked)) || !nk_solicitation_is_right(skb, &asked))
		return nk_drop_sent(skb, NK_DROP_MALFORMED);
	__builtin_memcpy(&source, &asked.ip.saddr, sizeof(source));
	asker = nk_asker(skb, NK_IPV6, &source);
	if (!asker)
		return nk_drop_sent(skb, NK_DROP_SPOOFED_SOURCE);
	if (asker->device_mode == NK_DEVICE_NETKIT)
		return nk_drop_sent(skb, NK_DROP_LINK_SCOPE);
	nk_make_advertisement(asker, &asked, &answer);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &answer, sizeof(answer), BPF_F_RECOMPUTE_CSUM))
		return nk_drop_sent(skb, NK_DROP_REWRITE_FAILED);
	return nk_send_back(skb, asker);
}
