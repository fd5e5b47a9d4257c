// A packet that leaves a container: the same for every kind of device, but for the few things in `struct nk_door`.
//
// In order: is it IPv4, is it whole, is its source the container's own; then to the host, to another container, or
// out by the host's routing, masqueraded where its network says so. What the fast path cannot do is handed to the
// host's stack (`door->pass`), which answers with the right ICMP error; a packet that was rewritten never is.
#pragma once

#include "base.h"
#include "counters.h"
#include "endpoint.h"
#include "fib.h"
#include "flow_create.h"
#include "node.h"
#include "parse.h"
#include "rewrite.h"

struct nk_door {
	int pass;  // the verdict that hands the packet to the host's stack
	bool peer; // bpf_redirect_peer() works here (it is for tc ingress only)
};

// Where this packet is in its way through the functions below.
struct nk_out {
	struct nk_ipv4 ip;
	struct nk_l4 l4;
	enum nk_l4_result l4_result;
	const struct nk_endpoint *source;
	bool masquerade;
};

static __always_inline int nk_to_stack(struct __sk_buff *skb, const struct nk_door *door, enum nk_counter event)
{
	nk_count(skb, event);
	return door->pass;
}

// RFC 1122 3.2.1.3 and RFC 1112: never forwarded. The FIB helper does not know (it would take the default route for a
// multicast group), the stack does.
static __always_inline bool nk_never_forwarded(__be32 daddr)
{
	__u32 addr = bpf_ntohl(daddr);

	return addr >> 24 == 0 || addr >> 24 == 127 || addr >> 28 == 0xe || addr == 0xffffffff;
}

static __always_inline int nk_to_endpoint(struct __sk_buff *skb, const struct nk_door *door, const struct nk_out *out,
					  const struct nk_endpoint *target)
{
	__u32 ifindex = target->ifindex;

	if (out->ip.ttl <= 1)
		return nk_to_stack(skb, door, NK_EVENT_STACK_TTL);
	if (!nk_decrement_ttl(skb) || !nk_write_macs(skb, target->peer_mac, target->host_mac))
		return nk_drop(skb, NK_DROP_REWRITE_FAILED);
	return door->peer ? bpf_redirect_peer(ifindex, 0) : bpf_redirect(ifindex, 0);
}

// To an address inside the node's own prefixes. Nothing in there is ever masqueraded.
static __always_inline int nk_to_prefix(struct __sk_buff *skb, const struct nk_door *door, const struct nk_out *out,
					const volatile struct nk_network *network)
{
	const struct nk_endpoint *target;

	if (out->ip.daddr == network->gateway.word[0])
		return nk_to_stack(skb, door, NK_EVENT_STACK_HOST);
	target = nk_endpoint4(out->ip.daddr);
	if (!target)
		return nk_to_stack(skb, door, NK_EVENT_STACK_NO_ROUTE);
	return nk_to_endpoint(skb, door, out, target);
}

// NK_OK, or why this packet cannot be masqueraded.
static __always_inline int nk_check_masquerade(const struct nk_out *out)
{
	if (nk_is_fragment(&out->ip))
		return NK_DROP_FRAGMENT;
	if (out->l4_result == NK_L4_MALFORMED)
		return NK_DROP_MALFORMED;
	if (out->l4_result == NK_L4_UNSUPPORTED)
		return NK_DROP_PROTOCOL;
	if (out->ip.proto == IPPROTO_ICMP && out->l4.icmp_type == NK_ICMP_ECHOREPLY)
		return NK_DROP_NO_FLOW;
	return NK_OK;
}

// NK_OK with the packet rewritten, or the reason to drop it.
static __always_inline int nk_masquerade(struct __sk_buff *skb, const struct nk_out *out,
					 const struct bpf_fib_lookup *fib)
{
	struct nk_masquerade4 m = {
	    .key = nk_flow4_key(&out->ip, &out->l4, NK_FLOW_FORWARD),
	    .endpoint_id = out->source->id,
	    .endpoint_ifindex = out->source->ifindex,
	    .uplink = fib->ifindex,
	    .node_addr = fib->ipv4_src,
	    .tcp_flags = out->l4.tcp_flags,
	};
	int result = nk_check_masquerade(out);

	if (result == NK_OK)
		result = nk_flow4_outbound(skb, &m);
	if (result != NK_OK)
		return result;
	struct nk_rewrite4 to = {.side = NK_SOURCE, .addr = m.addr, .port = m.port};

	return nk_rewrite4(skb, &out->ip, &out->l4, &to) ? NK_OK : NK_DROP_REWRITE_FAILED;
}

static __always_inline int nk_forward(struct __sk_buff *skb, const struct nk_door *door, const struct nk_out *out,
				      long fib_result, const struct bpf_fib_lookup *fib)
{
	int result;

	if (!nk_is_uplink(fib->ifindex))
		return nk_drop(skb, NK_DROP_NO_UPLINK);
	if (out->ip.ttl <= 1)
		return nk_to_stack(skb, door, NK_EVENT_STACK_TTL);
	if (out->masquerade)
		result = nk_masquerade(skb, out, fib);
	else
		result = nk_decrement_ttl(skb) ? NK_OK : NK_DROP_REWRITE_FAILED;
	if (result != NK_OK)
		return nk_drop(skb, result);
	return nk_send(skb, fib_result, fib);
}

// The stack answers a packet that must not be fragmented; one that may be, it would fragment and send on as it is:
// right for a routed network, untranslated for a masqueraded one.
static __always_inline int nk_too_big(struct __sk_buff *skb, const struct nk_door *door, const struct nk_out *out)
{
	if (out->masquerade && !(out->ip.fragment & NK_IP_DF))
		return nk_drop(skb, NK_DROP_TOO_BIG);
	return nk_to_stack(skb, door, NK_EVENT_STACK_TOO_BIG);
}

static __always_inline int nk_to_outside(struct __sk_buff *skb, const struct nk_door *door, const struct nk_out *out)
{
	struct bpf_fib_lookup fib = {};
	long result = nk_fib4(skb, &out->ip, &out->l4, &fib);

	switch (result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return nk_forward(skb, door, out, result, &fib);
	case BPF_FIB_LKUP_RET_NOT_FWDED:
		return nk_to_stack(skb, door, NK_EVENT_STACK_HOST);
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return nk_to_stack(skb, door, NK_EVENT_STACK_NO_ROUTE);
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return nk_too_big(skb, door, out);
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return nk_drop(skb, NK_DROP_FORWARDING_OFF);
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		return nk_drop(skb, NK_DROP_NO_UPLINK);
	default:
		return nk_drop(skb, NK_DROP_ROUTE);
	}
}

static __always_inline int nk_from_container4(struct __sk_buff *skb, const struct nk_door *door)
{
	struct nk_out out = {.l4_result = NK_L4_UNSUPPORTED};
	const volatile struct nk_network *network;

	if (!nk_parse_ipv4(skb, &out.ip))
		return nk_drop(skb, NK_DROP_MALFORMED);
	out.source = nk_endpoint4(out.ip.saddr);
	if (!out.source || out.source->ifindex != skb->ifindex)
		return nk_drop(skb, NK_DROP_SPOOFED_SOURCE);
	network = nk_network4(out.ip.daddr);
	if (network)
		return nk_to_prefix(skb, door, &out, network);
	if (nk_never_forwarded(out.ip.daddr))
		return nk_to_stack(skb, door, NK_EVENT_STACK_HOST);
	if (!nk_is_fragment(&out.ip))
		out.l4_result = nk_parse_l4(skb, &out.ip, &out.l4);
	network = nk_network4(out.ip.saddr);
	// An endpoint outside every network is a configuration the programs have not seen yet: nothing leaves
	// untranslated.
	out.masquerade = !network || nk_masqueraded(network);
	return nk_to_outside(skb, door, &out);
}

// A VLAN tag would go out on the uplink with the packet, into a VLAN that is not the container's.
static __always_inline int nk_from_container(struct __sk_buff *skb, const struct nk_door *door)
{
	struct ethhdr *header = nk_header(skb, 0, sizeof(*header));

	if (!header)
		return nk_drop(skb, NK_DROP_MALFORMED);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return nk_drop(skb, NK_DROP_IPV6_DISABLED);
	if (skb->protocol != bpf_htons(ETH_P_IP) || header->h_proto != bpf_htons(ETH_P_IP) || skb->vlan_present)
		return nk_drop(skb, NK_DROP_NOT_IP);
	return nk_from_container4(skb, door);
}
