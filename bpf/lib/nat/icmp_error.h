// ICMP errors about masqueraded flows: a router's or the remote's about what a container sent, and a container's about
// what it received. Path-MTU discovery and traceroute stand on them.
//
// An error quotes the beginning of the packet that it is about (RFC 792; RFC 4443, 2.4 c). The flow is found by the
// quoted addresses and ports, turned round: that packet went one way, its error goes the other. Then the error's own
// address is translated, and in the quote the other side's: what the outside sees of it is the node's, what the
// container sees of it is its own. Checksums inside the quote follow as far as they are quoted.
//
// An error changes nothing about a flow: it may be forged more easily than a packet of the flow, so it must not keep
// one alive, nor establish it.
//
// Of a quoted fragment that is not the first one, the ports are not there. Its error is the stack's (from outside) or
// dropped by name (from a container): the error about the first fragment, or the next whole packet, says the same.
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/packet/edit.h"
#include "lib/nat/flow.h"
#include "lib/nat/flow_create.h"
#include "lib/nat/non_masquerade.h"
#include "lib/nat/ports.h"
#include "lib/packet/parse.h"
#include "lib/packet/rewrite.h"
#include "lib/route/route.h"

// Ports, or an echo's type and id: what every error quotes of the transport header (RFC 792).
#define NK_QUOTED_L4 8

struct nk_quote {
	struct nk_flow6_key key; // of the flow's half that the error itself would belong to; no direction yet
	struct nk_addr addr;	 // the other side of the translation
	__be16 port;
	__u32 ip_offset; // in the frame
	__u32 l4_offset;
	__u32 end; // of the error, as its IP header says
};

// Here because the stack has no room for it. A program runs to its end before another one begins on the same CPU.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nk_quote);
} quotes SEC(".maps");

enum nk_quote_result {
	NK_QUOTE_OK,
	NK_QUOTE_MALFORMED,
	NK_QUOTE_FRAGMENT,    // not the first
	NK_QUOTE_UNSUPPORTED, // of a protocol that is not masqueraded
};

// The transport header's offset, and addresses and protocol, turned round.
static __always_inline enum nk_quote_result nk_parse_quoted4(struct __sk_buff *skb, struct nk_quote *quote)
{
	struct iphdr ip;

	if (quote->ip_offset + sizeof(ip) > quote->end || bpf_skb_load_bytes(skb, quote->ip_offset, &ip, sizeof(ip)) ||
	    ip.version != 4 || ip.ihl * 4 < sizeof(ip))
		return NK_QUOTE_MALFORMED;
	quote->key.saddr = nk_addr4(ip.daddr);
	quote->key.daddr = nk_addr4(ip.saddr);
	quote->key.proto = ip.protocol;
	quote->l4_offset = quote->ip_offset + ip.ihl * 4;
	return ip.frag_off & bpf_htons(NK_IP_OFFSET) ? NK_QUOTE_FRAGMENT : NK_QUOTE_OK;
}

static __always_inline enum nk_quote_result nk_parse_quoted6(struct __sk_buff *skb, struct nk_quote *quote)
{
	struct nk_transport transport = {.header_len = quote->ip_offset - ETH_HLEN + sizeof(struct ipv6hdr)};
	struct ipv6hdr ip;

	if (quote->ip_offset + sizeof(ip) > quote->end || bpf_skb_load_bytes(skb, quote->ip_offset, &ip, sizeof(ip)) ||
	    ip.version != 6)
		return NK_QUOTE_MALFORMED;
	__builtin_memcpy(&quote->key.saddr, &ip.daddr, sizeof(quote->key.saddr));
	__builtin_memcpy(&quote->key.daddr, &ip.saddr, sizeof(quote->key.daddr));
	transport.proto = ip.nexthdr;
	if (nk_is_extension(transport.proto))
		nk_skip_extensions(skb, &transport);
	quote->key.proto = transport.proto;
	quote->l4_offset = ETH_HLEN + transport.header_len;
	return transport.fragment & NK_FRAGMENT_LATER ? NK_QUOTE_FRAGMENT : NK_QUOTE_OK;
}

// Ports as a flow's key has them (abi.h), turned round.
static __always_inline enum nk_quote_result nk_parse_quoted_l4(struct __sk_buff *skb, enum nk_family family,
							       struct nk_quote *quote)
{
	__u8 request = family == NK_IPV4 ? NK_ICMP_ECHO : NK_ICMP6_ECHO;
	__u8 reply = family == NK_IPV4 ? NK_ICMP_ECHOREPLY : NK_ICMP6_ECHOREPLY;
	union {
		struct {
			__be16 source, destination;
		} ports;
		struct nk_icmp_echo echo;
	} l4;

	if (quote->l4_offset + NK_QUOTED_L4 > quote->end || bpf_skb_load_bytes(skb, quote->l4_offset, &l4, sizeof(l4)))
		return NK_QUOTE_MALFORMED;
	if (quote->key.proto == IPPROTO_TCP || quote->key.proto == IPPROTO_UDP || quote->key.proto == IPPROTO_UDPLITE ||
	    quote->key.proto == IPPROTO_SCTP) {
		quote->key.sport = l4.ports.destination;
		quote->key.dport = l4.ports.source;
		return NK_QUOTE_OK;
	}
	if (quote->key.proto != nk_icmp_proto(family) || (l4.echo.type != request && l4.echo.type != reply))
		return NK_QUOTE_UNSUPPORTED;
	if (l4.echo.type == request)
		quote->key.dport = l4.echo.id;
	else
		quote->key.sport = l4.echo.id;
	return NK_QUOTE_OK;
}

static __always_inline struct nk_quote *nk_quote_place(void)
{
	__u32 index = 0;

	return bpf_map_lookup_elem(&quotes, &index);
}

static __noinline enum nk_quote_result nk_parse_quote(struct __sk_buff *skb, const struct nk_ip *ip,
						      struct nk_quote *quote)
{
	enum nk_quote_result result;

	__builtin_memset(quote, 0, sizeof(*quote));
	quote->ip_offset = ETH_HLEN + ip->header_len + sizeof(struct nk_icmp_echo);
	quote->end = ETH_HLEN + ip->len;
	result = ip->family == NK_IPV4 ? nk_parse_quoted4(skb, quote) : nk_parse_quoted6(skb, quote);
	return result == NK_QUOTE_OK ? nk_parse_quoted_l4(skb, ip->family, quote) : result;
}

// Writes address and port into the quoted packet; what that adds to the sum over the error.
static __always_inline __u64 nk_edit_quote(struct nk_edit *edit, enum nk_family family, const struct nk_quote *quote,
					   enum nk_side side)
{
	__u32 check_offset = quote->l4_offset + nk_check_offset(quote->key.proto);
	__u64 addr_change = nk_edit_ip(edit, family, quote->ip_offset, side, &quote->addr);
	__u64 port_change = nk_edit_word(edit, quote->l4_offset + nk_port_offset(quote->key.proto, side), quote->port);
	// IPv4's checksum has made up for the address.
	__u64 change = port_change + (family == NK_IPV6 ? addr_change : 0);

	if (check_offset + sizeof(__sum16) <= quote->end)
		change +=
		    nk_edit_l4_check(edit, check_offset, quote->key.proto, NK_SUMMED_NONE, addr_change, port_change);
	return change;
}

// `side`: of the error itself, that gets quote->addr; in the quote it is the other one. A sum over the whole packet
// stays what it is: the checksums make up for all that changes. False: half rewritten.
static __noinline bool nk_rewrite_error(struct __sk_buff *skb, const struct nk_ip *ip, const struct nk_quote *quote,
					enum nk_side side)
{
	struct nk_edit edit = {.skb = skb};
	__u32 l4_offset = nk_l4_offset(ip);
	enum nk_summed summed = nk_summed(skb, l4_offset);
	__u64 quote_change, addr_change;

	if (!nk_rewrite_ttl(skb, ip))
		return false;
	quote_change = nk_edit_quote(&edit, ip->family, quote, side == NK_SOURCE ? NK_DESTINATION : NK_SOURCE);
	addr_change = nk_edit_ip(&edit, ip->family, ETH_HLEN, side, &quote->addr);
	nk_edit_l4_check(&edit, l4_offset + offsetof(struct nk_icmp_echo, checksum), nk_icmp_proto(ip->family), summed,
			 addr_change, quote_change);
	return !edit.failed;
}

// An error from outside. All that is not about a masqueraded flow is the stack's: the host has errors of its own.
NK_GLOBAL int nk_error_inbound(struct __sk_buff *skb, const struct nk_ip *ip, const struct nk_flow6_key *outer)
{
	struct nk_quote *quote = nk_quote_place();
	struct nk_flow *flow;
	__u32 ifindex;

	if (!ip || !outer || !quote || nk_parse_quote(skb, ip, quote) != NK_QUOTE_OK ||
	    !nk_port_may_be_ours(&quote->key.daddr, quote->key.proto, quote->key.dport))
		return TCX_NEXT;
	// It goes to whoever sent the packet that it is about (RFC 792), or it is none.
	if (!nk_addr_equal(ip->family, &quote->key.daddr, &outer->daddr))
		return TCX_NEXT;
	quote->key.direction = NK_FLOW_REVERSE;
	flow = nk_flow_of_container(ip->family, &quote->key);
	if (!flow)
		return TCX_NEXT;
	if (ip->ttl <= 1)
		return nk_drop(skb, NK_DROP_TTL);
	if (nk_is_inside_source(ip->family, &outer->saddr) || nk_flow_is_inside(flow) ||
	    !nk_flow_comes_by(skb, ip->family, &quote->key, flow))
		return nk_drop(skb, NK_DROP_UNSOLICITED);
	quote->addr = flow->addr;
	quote->port = flow->port;
	ifindex = flow->ifindex;
	nk_count(skb, NK_EVENT_ICMP_ERROR);
	if (!nk_rewrite_error(skb, ip, quote, NK_DESTINATION))
		return nk_drop(skb, NK_DROP_REWRITE_FAILED);
	return bpf_redirect_peer(ifindex, 0);
}

// An error of a container, which it may say (nk_error_check), about a packet that it got through masquerade, is
// translated in three steps, each a function of its own for the others' stack; the quote stays in its place meanwhile.
// NK_OK, or the reason to drop.

NK_GLOBAL int nk_read_quote(struct __sk_buff *skb, int family, __u32 header_len, __u32 len)
{
	const struct nk_ip ip = {.family = family == NK_IPV6 ? NK_IPV6 : NK_IPV4, .header_len = header_len, .len = len};
	struct nk_quote *quote = nk_quote_place();

	switch (quote ? nk_parse_quote(skb, &ip, quote) : NK_QUOTE_MALFORMED) {
	case NK_QUOTE_MALFORMED:
		return NK_DROP_MALFORMED;
	case NK_QUOTE_FRAGMENT:
		return NK_DROP_FRAGMENT;
	case NK_QUOTE_UNSUPPORTED:
		return NK_DROP_PROTOCOL;
	case NK_QUOTE_OK:
		break;
	}
	return NK_OK;
}

NK_GLOBAL int nk_find_quoted_flow(struct __sk_buff *skb, struct nk_masquerade *m, struct nk_route *route)
{
	struct nk_quote *quote = nk_quote_place();
	struct nk_flow *flow;

	if (!quote || !m || !route)
		return NK_DROP_MALFORMED;
	quote->key.direction = NK_FLOW_FORWARD;
	flow = nk_flow_find(m->family, &quote->key);
	if (!flow || !nk_flow_valid(skb, m, route, flow))
		return NK_DROP_NO_FLOW;
	quote->addr = flow->addr;
	quote->port = flow->port;
	return NK_OK;
}

NK_GLOBAL int nk_translate_quote(struct __sk_buff *skb, int family, __u32 header_len, __u32 len, int side)
{
	const struct nk_ip ip = {.family = family == NK_IPV6 ? NK_IPV6 : NK_IPV4, .header_len = header_len, .len = len};
	const struct nk_quote *quote = nk_quote_place();

	nk_count(skb, NK_EVENT_ICMP_ERROR);
	return quote && nk_rewrite_error(skb, &ip, quote, side == NK_SOURCE ? NK_SOURCE : NK_DESTINATION)
		   ? NK_OK
		   : NK_DROP_REWRITE_FAILED;
}

// Whether a container may say this error, to anybody: NK_OK, or the reason to drop. It is about a packet that it got
// from the one whom it tells; with others it would have the host, or another container, believe in a smaller path to
// somebody else. What is in fragments cannot be judged.
NK_GLOBAL int nk_error_check(struct __sk_buff *skb, const struct nk_masquerade *m)
{
	struct nk_quote *quote = nk_quote_place();
	int result;

	if (!m || !quote)
		return NK_DROP_MALFORMED;
	if (m->ip.fragment)
		return NK_DROP_FRAGMENT;
	result = nk_read_quote(skb, m->family, m->ip.header_len, m->ip.len);
	if (result == NK_DROP_MALFORMED)
		return result;
	return nk_addr_equal(NK_IPV6, &quote->key.saddr, &m->key.saddr) &&
		       nk_addr_equal(NK_IPV6, &quote->key.daddr, &m->key.daddr)
		   ? NK_OK
		   : NK_DROP_NO_FLOW;
}

// Whether this is an error about a packet that the container sent to where it is not masqueraded. Routers on the way
// there have addresses of their own.
NK_GLOBAL bool nk_is_about_non_masquerade(struct __sk_buff *skb, const struct nk_ip *ip, struct nk_flow6_key *outer)
{
	struct nk_quote *quote = nk_quote_place();
	struct nk_l4 l4 = {};

	if (!ip || !outer || !quote || ip->fragment || nk_parse_l4(skb, ip, &l4, outer) != NK_L4_ICMP_ERROR ||
	    nk_parse_quote(skb, ip, quote) == NK_QUOTE_MALFORMED)
		return false;
	return nk_addr_equal(ip->family, &quote->key.daddr, &outer->daddr) &&
	       nk_is_non_masquerade(ip->family, &quote->key.saddr);
}

// What is passed on is a copy, so that the callers' own stay in registers, and the family a constant.

static __always_inline int nk_error_from_uplink(struct __sk_buff *skb, const struct nk_ip *ip,
						const struct nk_flow6_key *outer)
{
	struct nk_flow6_key key = *outer;
	struct nk_ip copy = *ip;

	return nk_error_inbound(skb, &copy, &key);
}

static __always_inline bool nk_error_is_about_non_masquerade(struct __sk_buff *skb, const struct nk_ip *ip,
							     const struct nk_flow6_key *outer)
{
	struct nk_flow6_key key = *outer;
	struct nk_ip copy = *ip;

	return nk_is_about_non_masquerade(skb, &copy, &key);
}

static __always_inline int nk_error_from_container(struct __sk_buff *skb, struct nk_masquerade *m,
						   struct nk_route *route)
{
	int result = nk_read_quote(skb, m->family, m->ip.header_len, m->ip.len);

	if (result == NK_OK)
		result = nk_find_quoted_flow(skb, m, route);
	return result == NK_OK ? nk_translate_quote(skb, m->family, m->ip.header_len, m->ip.len, NK_SOURCE) : result;
}
