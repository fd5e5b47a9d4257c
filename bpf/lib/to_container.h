// What the host's stack sends to a container, its own and what it forwards: the one way there, whichever device or
// tunnel a packet came by, and whether the daemon runs or not. (Replies of flows and what a routed network's uplinks
// bring do not come by here: uplink.h.)
//
// What the host itself sends gets in: it has a socket of the host's, a program's or the kernel's own, but for what TCP
// says without one. What it forwards came in by a device (skb->ingress_ifindex, which the kernel keeps with a packet
// through all of the stack), or by one that routes here for somebody else (ipvlan), and gets in only where nobody has
// to have asked for it: to a routed network, from where the containers' own addresses are known, where the network says
// so (`accept_forwarded`), or as a reply to what the container sent by one of the host's own NAT rules
// (sent_by_rule.h).
#pragma once

#include "lib/addr.h"
#include "lib/base.h"
#include "lib/counters.h"
#include "lib/endpoint.h"
#include "lib/host_device.h"
#include "lib/nat/non_masquerade.h"
#include "lib/nat/sent_by_rule.h"
#include "lib/node.h"
#include "lib/packet/plain.h"
#include "lib/packet/skb.h"
#include "lib/packet/unreachable.h"

// What a container sends to another one does not come by the stack, unless a rule of the host's leads it here.
static __always_inline bool nk_may_be_forwarded(struct __sk_buff *skb, enum nk_family family,
						const struct nk_addr *saddr, const struct nk_addr *daddr)
{
	const volatile struct nk_network *network = nk_network_of(family, daddr);

	if (!network || skb->ingress_ifindex == node.host_device || nk_is_inside_source(family, saddr))
		return false;
	return !nk_masqueraded(network) || network->flags & NK_NETWORK_ACCEPT_FORWARDED ||
	       nk_is_non_masquerade(family, saddr);
}

// What TCP says of a connection that has no socket of its own (any more, or yet): a firewall's reset, an
// acknowledgement for one that ended (before Linux 6.13, tcp_v6_timewait_ack()), and a SYN-ACK by a SYN cookie, the
// stack's or a firewall's (SYNPROXY, net/netfilter/nf_synproxy_core.c). It carries nothing, so whoever could have it
// sent, as by an ipvlan, says nothing by it.
static __always_inline bool nk_is_without_socket(struct __sk_buff *skb, enum nk_family family, const void *ip)
{
	__u8 proto = family == NK_IPV4 ? ((const struct iphdr *)ip)->protocol : ((const struct ipv6hdr *)ip)->nexthdr;
	__u32 tcp = ETH_HLEN + nk_plain_ip_len(family);
	__u8 offset_and_flags[2];

	if (proto != IPPROTO_TCP || (family == NK_IPV4 && *(const __u8 *)ip != NK_IP4_PLAIN) ||
	    bpf_skb_load_bytes(skb, tcp + NK_TCP_FLAGS - 1, offset_and_flags, sizeof(offset_and_flags)))
		return false;
	if (offset_and_flags[1] & NK_TCP_RST)
		return true;
	// RFC 9293, 3.1: the data offset is in the byte's upper half, in words.
	return offset_and_flags[1] & NK_TCP_ACK && !(offset_and_flags[1] & NK_TCP_FIN) &&
	       skb->len == tcp + (offset_and_flags[0] >> 4) * sizeof(__u32);
}

static __always_inline bool nk_is_of_host(struct __sk_buff *skb, enum nk_family family, const void *ip)
{
	return !skb->ingress_ifindex && !nk_is_of_another_stack(skb, node.host_netns_cookie) &&
	       (skb->sk || nk_is_without_socket(skb, family, ip));
}

static __always_inline bool nk_may_enter(struct __sk_buff *skb, enum nk_family family, const void *ip,
					 const struct nk_addr *saddr, const struct nk_addr *daddr,
					 const struct nk_endpoint *target)
{
	return nk_is_of_host(skb, family, ip) || (target && nk_was_sent_by_rule(skb, target)) ||
	       nk_may_be_forwarded(skb, family, saddr, daddr);
}

// When the last outsider was told, of each CPU its own.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} told_at_ns SEC(".maps");

// One for each tick of the clock (some hundreds a second), as the kernel bounds its own (icmp_msgs_per_sec, ip-sysctl):
// who asks may have forged whom to tell.
static __always_inline bool nk_may_tell(struct __sk_buff *skb)
{
	__u64 now_ns = bpf_ktime_get_coarse_ns(), *last;
	__u32 index = 0;

	if (!skb->ingress_ifindex)
		return true;
	last = bpf_map_lookup_elem(&told_at_ns, &index);
	if (!last || *last == now_ns)
		return false;
	*last = now_ns;
	return true;
}

// Whoever asked is told at once. The error comes in where the route to its source leads.
static __always_inline int nk_no_container(struct __sk_buff *skb, enum nk_family family)
{
	nk_count(skb, NK_DROP_NO_CONTAINER);
	if (!nk_may_tell(skb) || nk_make_unreachable(skb, family, false, NULL) != NK_OK || !nk_address_to_host(skb))
		return TCX_DROP;
	return bpf_redirect(node.host_device, BPF_F_INGRESS);
}

static __always_inline int nk_to_container_ip(struct __sk_buff *skb, enum nk_family family, const void *ip)
{
	const struct nk_addr saddr = nk_copy_plain_addr(ip, family, NK_SOURCE);
	const struct nk_addr daddr = nk_copy_plain_addr(ip, family, NK_DESTINATION);
	const struct nk_endpoint *target;

	// Multicast: what the stack says to its link.
	if (nk_never_forwarded(family, &daddr) || (family == NK_IPV6 && nk_link_scope6(&daddr)))
		return nk_drop(skb, NK_DROP_LINK_SCOPE);
	target = nk_endpoint(family, &daddr);
	if (!nk_may_enter(skb, family, ip, &saddr, &daddr, target))
		return nk_drop(skb, NK_DROP_UNSOLICITED);
	if (!target)
		return nk_no_container(skb, family);
	if (target->device_mode != NK_DEVICE_NETKIT &&
	    bpf_skb_store_bytes(skb, 0, target->peer_mac, sizeof(target->peer_mac) + sizeof(target->host_mac), 0))
		return nk_drop(skb, NK_DROP_REWRITE_FAILED);
	return bpf_redirect(target->ifindex, 0);
}

// Functions of their own, so that the variables of one don't count for the others' stack.
NK_GLOBAL int nk_to_container4(struct __sk_buff *skb)
{
	const struct iphdr *ip = nk_header(skb, ETH_HLEN, sizeof(*ip));

	return ip ? nk_to_container_ip(skb, NK_IPV4, ip) : nk_drop(skb, NK_DROP_MALFORMED);
}

NK_GLOBAL int nk_to_container6(struct __sk_buff *skb)
{
	const struct ipv6hdr *ip = nk_header(skb, ETH_HLEN, sizeof(*ip));

	return ip ? nk_to_container_ip(skb, NK_IPV6, ip) : nk_drop(skb, NK_DROP_MALFORMED);
}

// Nothing gets past it to the other end of the pair, which leads nowhere.
static __always_inline int nk_to_container(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return nk_to_container4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return nk_to_container6(skb);
	return nk_drop(skb, NK_DROP_NOT_IP);
}
