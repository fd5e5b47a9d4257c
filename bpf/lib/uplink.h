// The uplink's two directions.
//
// In: a packet to an address of a masqueraded network was never asked for (the outside knows the node's address only)
// and is dropped, whatever it is; a packet to a port of the masquerade pool may be a reply and goes straight to its
// container; all else is the host's. Out: the safety net behind netkit_peer, one comparison.
#pragma once

#include <linux/if_packet.h>

#include "base.h"
#include "counters.h"
#include "flow_promote.h"
#include "node.h"
#include "parse.h"
#include "rewrite.h"

// Whether this may be a reply to a masqueraded flow; the key has its port in the pool then.
static __always_inline bool nk_may_be_reply(struct __sk_buff *skb, const struct nk_ipv4 *ip, struct nk_l4 *l4)
{
	// Later fragments have no ports. The host's stack waits for the first one, which is dropped below, in vain.
	if (ip->fragment & NK_IP_OFFSET)
		return false;
	if (nk_parse_l4(skb, ip, l4) != NK_L4_OK)
		return false;
	return nk_in_pool(l4->dport);
}

static __always_inline int nk_deliver(struct __sk_buff *skb, const struct nk_ipv4 *ip, const struct nk_l4 *l4,
				      const struct nk_delivery4 *to)
{
	struct nk_rewrite4 rewrite = {.side = NK_DESTINATION, .addr = to->addr, .port = to->port};

	if (!nk_rewrite4(skb, ip, l4, &rewrite))
		return nk_drop(skb, NK_DROP_REWRITE_FAILED);
	return bpf_redirect_peer(to->ifindex, 0);
}

static __always_inline int nk_reply(struct __sk_buff *skb, const struct nk_ipv4 *ip, const struct nk_l4 *l4)
{
	struct nk_flow4_key key = nk_flow4_key(ip, l4, NK_FLOW_REVERSE);
	struct nk_delivery4 to = {};
	int result;

	if (nk_is_fragment(ip))
		return nk_flow4_exists(&key) ? nk_drop(skb, NK_DROP_FRAGMENT) : TCX_NEXT;
	if (ip->ttl <= 1)
		return nk_flow4_exists(&key) ? nk_drop(skb, NK_DROP_TTL) : TCX_NEXT;
	result = nk_flow4_inbound(skb, &key, &to, l4->tcp_flags);
	if (result == NK_NO_FLOW)
		return TCX_NEXT;
	if (result != NK_OK)
		return nk_drop(skb, result);
	return nk_deliver(skb, ip, l4, &to);
}

static __always_inline int nk_from_uplink4(struct __sk_buff *skb)
{
	const volatile struct nk_network *network;
	struct nk_ipv4 ip = {};
	struct nk_l4 l4 = {};

	if (!nk_parse_ipv4(skb, &ip))
		return TCX_NEXT;
	network = nk_network4(ip.daddr);
	if (network)
		return nk_masqueraded(network) ? nk_drop(skb, NK_DROP_UNSOLICITED) : TCX_NEXT;
	// A tag leads to a VLAN device of the host; flows live on the uplink itself.
	if (skb->vlan_present || skb->pkt_type != PACKET_HOST || !nk_may_be_reply(skb, &ip, &l4))
		return TCX_NEXT;
	return nk_reply(skb, &ip, &l4);
}

// IEEE 802.1Q, 9.3: two bytes of tag, then the inner type.
#define NK_VLAN_HLEN 4

// Where the network header is: behind a VLAN tag that is in the data (a VLAN device on top of an uplink without tag
// offload) as well. 0 if this is not IPv4.
static __always_inline __u32 nk_ipv4_offset(struct __sk_buff *skb)
{
	__be16 *inner_protocol;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		return ETH_HLEN;
	if (skb->protocol != bpf_htons(ETH_P_8021Q) && skb->protocol != bpf_htons(ETH_P_8021AD))
		return 0;
	inner_protocol = nk_header(skb, ETH_HLEN + sizeof(__be16), sizeof(*inner_protocol));
	return inner_protocol && *inner_protocol == bpf_htons(ETH_P_IP) ? ETH_HLEN + NK_VLAN_HLEN : 0;
}

static __always_inline int nk_to_uplink(struct __sk_buff *skb)
{
	__u32 offset = nk_ipv4_offset(skb);
	const volatile struct nk_network *network;
	struct iphdr *header;

	if (!offset)
		return TCX_NEXT;
	header = nk_header(skb, offset, sizeof(*header));
	if (!header)
		return TCX_NEXT;
	network = nk_network4(header->saddr);
	if (network && nk_masqueraded(network))
		return nk_drop(skb, NK_DROP_UNTRANSLATED);
	return TCX_NEXT;
}
