// The fast paths of plain packets that are not translated: between two containers of one network, or to the host; out
// of a container whose network is routed, or to where it is not masqueraded; and to a container of a routed network.
//
// What is found out for one packet out is good for the next ones between the same two addresses, until the clock ticks
// or the daemon says that something changed (route.h): that it is not masqueraded, whose its source is, the next hop.
#pragma once

#include "lib/base.h"
#include "lib/endpoint.h"
#include "lib/host_device.h"
#include "lib/nat/plain_flow.h"
#include "lib/node.h"
#include "lib/packet/plain.h"
#include "lib/route/route.h"
#include "lib/uplink_set.h"

static __always_inline int nk_send_plain(const struct nk_plain *p, const __u8 *next_hop_mac, const __u8 *uplink_mac,
					 __u32 uplink)
{
	nk_write_plain_macs(p, next_hop_mac, uplink_mac);
	return bpf_redirect(uplink, 0);
}

// Out of a container, where no masqueraded flow has this packet.
static __always_inline int nk_fast_routed(struct __sk_buff *skb, enum nk_family family, const struct nk_plain *p)
{
	const struct iphdr *ip4 = p->ip;
	struct nk_route_key key = {
	    .daddr = nk_copy_plain_addr(p->ip, family, NK_DESTINATION),
	    .container_ifindex = skb->ifindex,
	    .family = family,
	    .proto = p->proto,
	    .tos = family == NK_IPV4 ? ip4->tos : 0,
	};
	struct nk_route *route = nk_route_slot(family, &key.daddr);

	if (!route || !nk_route_is_known(family, route, &key, nk_stamp(), 0) ||
	    !nk_addr_equal(family, &route->routed, nk_plain_addr(p->ip, family, NK_SOURCE)) ||
	    !nk_plain_fits(skb, p, route->fib.mtu_result))
		return NK_LONG_WAY;
	nk_decrement_ttl(skb, family, p->ip, nk_plain_l4_offset(family));
	return nk_send_plain(p, route->fib.dmac, route->fib.smac, route->fib.ifindex);
}

// From one container to another of the same network, `network`, or to the host by that's gateway. `peer`:
// bpf_redirect_peer() works here.
static __always_inline int nk_fast_between(struct __sk_buff *skb, enum nk_family family, const struct nk_plain *p,
					   const volatile struct nk_network *network, bool peer)
{
	const struct nk_addr saddr = nk_copy_plain_addr(p->ip, family, NK_SOURCE);
	const struct nk_addr daddr = nk_copy_plain_addr(p->ip, family, NK_DESTINATION);
	const struct nk_endpoint *source = nk_endpoint(family, &saddr), *target;

	if (nk_has_host_prefixes(family) || !source || source->ifindex != skb->ifindex ||
	    !nk_network_holds(family, network, &saddr))
		return NK_LONG_WAY;
	if (source->flags & NK_ENDPOINT_ASKED_INSIDE && nk_find_plain(family, p, NK_FLOW_FORWARD))
		return NK_LONG_WAY;
	if (nk_is_gateway(family, network, &daddr)) {
		skb->tc_index = 0;
		nk_count(skb, NK_EVENT_STACK_HOST);
		return nk_to_host(skb);
	}
	target = nk_endpoint(family, &daddr);
	if (!target)
		return NK_LONG_WAY;
	nk_decrement_ttl(skb, family, p->ip, nk_plain_l4_offset(family));
	nk_write_plain_macs(p, target->peer_mac, target->host_mac);
	return peer ? bpf_redirect_peer(target->ifindex, 0) : bpf_redirect(target->ifindex, 0);
}

// From an uplink, to an address of `network`. `p`: as nk_parse_plain_ports() left it.
static __always_inline int nk_fast_to_network(struct __sk_buff *skb, enum nk_family family, struct nk_plain *p,
					      const volatile struct nk_network *network)
{
	const struct nk_endpoint *target;
	struct nk_addr saddr, daddr;

	if (nk_has_host_prefixes(family) || nk_masqueraded(network) || nk_is_inner_bridge(skb->ifindex) ||
	    !nk_parse_plain_l4(skb, family, NK_DESTINATION, p) || !nk_plain_len_is_right(skb, family, p))
		return NK_LONG_WAY;
	saddr = nk_copy_plain_addr(p->ip, family, NK_SOURCE);
	daddr = nk_copy_plain_addr(p->ip, family, NK_DESTINATION);
	if (nk_is_inside_source(family, &saddr))
		return NK_LONG_WAY;
	target = nk_endpoint(family, &daddr);
	if (!target)
		return NK_LONG_WAY;
	nk_decrement_ttl(skb, family, p->ip, nk_plain_l4_offset(family));
	return bpf_redirect_peer(target->ifindex, 0);
}
