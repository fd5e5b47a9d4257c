// The kernel's own view of the packet, for what __sk_buff does not show: how far its checksum is, and what the network
// namespace that it is in does with routes.
#pragma once

#include <bpf/bpf_core_read.h>
#include <linux/in.h>
#include <linux/udp.h>

#include "lib/base.h"
#include "lib/packet/csum.h"

// The members that are read; CO-RE finds them in the running kernel's struct (include/linux/skbuff.h).
struct netns_ipv4 {
	bool fib_has_custom_rules;
	__u8 sysctl_fib_multipath_hash_policy;
} __attribute__((preserve_access_index));

struct netns_sysctl_ipv6 {
	__u8 multipath_hash_policy;
} __attribute__((preserve_access_index));

struct netns_ipv6 {
	struct netns_sysctl_ipv6 sysctl;
	bool fib6_has_custom_rules;
} __attribute__((preserve_access_index));

struct net {
	__u64 net_cookie;
	struct netns_ipv4 ipv4;
	struct netns_ipv6 ipv6;
} __attribute__((preserve_access_index));

typedef struct {
	struct net *net;
} __attribute__((preserve_access_index)) possible_net_t;

struct net_device {
	possible_net_t nd_net;
} __attribute__((preserve_access_index));

struct sock_common {
	unsigned short skc_family;
	possible_net_t skc_net;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
} __attribute__((preserve_access_index));

struct dst_entry {
	struct net_device *dev;
} __attribute__((preserve_access_index));

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	__u8 ip_summed : 2;
	__u16 csum_start;  // from `head`
	__u16 csum_offset; // from there
	unsigned char *head;
	unsigned char *data;
	unsigned long _nfct;
	unsigned long _skb_refdst;
} __attribute__((preserve_access_index));

extern void *bpf_cast_to_kern_ctx(void *) __ksym;

// The same for what is reached by pointers. As long as the verifier trusts a pointer, it looks for each pointer behind
// it whether to trust that too, in all of the kernel's types, one by one: most of the programs' load.
static __always_inline const struct sk_buff *nk_untrusted(struct __sk_buff *skb)
{
	return bpf_core_cast(bpf_cast_to_kern_ctx(skb), struct sk_buff);
}

// PARTIAL is about the transport header at `l4_offset` only: of a tunnel that the container made, the kernel leaves the
// inner checksum to the device, and the outer one is complete.
static __always_inline enum nk_summed nk_summed(struct __sk_buff *skb, __u32 l4_offset)
{
	const struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);
	enum nk_summed summed = BPF_CORE_READ_BITFIELD(kernel, ip_summed);

	if (summed == NK_SUMMED_PARTIAL && kernel->head + kernel->csum_start != kernel->data + l4_offset)
		return NK_SUMMED_NONE;
	return summed;
}

// The same of what a container sends. It says itself where the device is to write the checksum (packet(7),
// PACKET_VNET_HDR), which is done after all has been judged: that must not be a port or an address. Behind the first
// eight bytes of the transport header there is nothing that anybody else minds.
static __always_inline enum nk_summed nk_summed_by_container(struct __sk_buff *skb, __u32 l4_offset, __u8 proto)
{
	const struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);
	enum nk_summed summed = BPF_CORE_READ_BITFIELD(kernel, ip_summed);
	__s64 start, place;

	if (summed != NK_SUMMED_PARTIAL)
		return summed;
	start = (__s64)(kernel->head + kernel->csum_start) - (__s64)(kernel->data + l4_offset);
	place = start + kernel->csum_offset;
	if (place < (__s64)sizeof(struct udphdr) &&
	    !(place == offsetof(struct udphdr, check) && (proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE)))
		return NK_SUMMED_WRONG;
	return start ? NK_SUMMED_NONE : NK_SUMMED_PARTIAL;
}

// A function of its own, for the callers' stack.
static __noinline bool nk_sum_is_misplaced(struct __sk_buff *skb, __u32 l4_offset, __u8 proto)
{
	return nk_summed_by_container(skb, l4_offset, proto) == NK_SUMMED_WRONG;
}

// include/linux/netfilter/nf_conntrack_common.h: enum ip_conntrack_info, the bits of _nfct that hold it
// (include/linux/skbuff.h, SKB_NFCT_PTRMASK), and IPS_NAT_MASK of what nf_conn.status says.
#define NK_CT_ESTABLISHED_REPLY 3
#define NK_CT_RELATED_REPLY 4
#define NK_CT_INFO 7UL
#define NK_CT_SRC_NAT (1UL << 4)
#define NK_CT_DST_NAT (1UL << 5)
#define NK_CT_NAT (NK_CT_SRC_NAT | NK_CT_DST_NAT)

// One direction of a connection, as struct nf_conntrack_tuple has it (include/net/netfilter/nf_conntrack_tuple.h).
struct nk_ct_tuple {
	struct nk_addr saddr;
	__be16 sport;
	__u16 family; // AF_INET or AF_INET6, which enum nk_family's are
	struct nk_addr daddr;
	__be16 dport;
	__u8 proto;
	__u8 direction;
};
_Static_assert(sizeof(struct nk_ct_tuple) == 40, "no padding");

enum nk_ct_direction { // enum ip_conntrack_dir
	NK_CT_BEGINNING,
	NK_CT_ANSWERS,
};

struct nf_conntrack_tuple_hash {
	struct nk_ct_tuple tuple;
} __attribute__((preserve_access_index));

struct nf_conn {
	unsigned long status;
	struct nf_conntrack_tuple_hash tuplehash[2]; // by direction
} __attribute__((preserve_access_index));

static __always_inline unsigned long nk_ct(const struct sk_buff *kernel)
{
	return bpf_core_field_exists(kernel->_nfct) ? kernel->_nfct : 0;
}

// Whether the host's table of connections, where it has one, knows the packet's.
static __always_inline bool nk_ct_knows(struct __sk_buff *skb)
{
	return nk_ct(bpf_cast_to_kern_ctx(skb)) & ~NK_CT_INFO;
}

// What the host translates of the packet's connection: of NK_CT_NAT. All of it where the programs can't tell: where the
// table came after them.
static __always_inline unsigned long nk_ct_translated(struct __sk_buff *skb)
{
	const struct nf_conn *connection = (const void *)(nk_ct(bpf_cast_to_kern_ctx(skb)) & ~NK_CT_INFO);

	if (!connection)
		return 0;
	return bpf_core_field_exists(connection->status) ? BPF_CORE_READ(connection, status) & NK_CT_NAT : NK_CT_NAT;
}

static __always_inline bool nk_ct_is_reply(struct __sk_buff *skb)
{
	unsigned long info = nk_ct(bpf_cast_to_kern_ctx(skb)) & NK_CT_INFO;

	return info == NK_CT_ESTABLISHED_REPLY || info == NK_CT_RELATED_REPLY;
}

// Whether the packet's source is another now: that of whoever began, or where a rule led him.
static __always_inline bool nk_ct_translates_source(struct __sk_buff *skb)
{
	return nk_ct_translated(skb) & (nk_ct_is_reply(skb) ? NK_CT_DST_NAT : NK_CT_SRC_NAT);
}

// How the packets of this one's connection come from either end, where a rule of the host's translates it. False where
// none does, or the programs can't tell. (CO-RE finds an element of an array by a constant index alone.)
static __always_inline bool nk_ct_tuple(struct __sk_buff *skb, enum nk_ct_direction direction,
					struct nk_ct_tuple *tuple)
{
	const struct nf_conn *connection = (const void *)(nk_ct(bpf_cast_to_kern_ctx(skb)) & ~NK_CT_INFO);

	if (!nk_ct_translated(skb) || !bpf_core_field_exists(connection->tuplehash))
		return false;
	return direction == NK_CT_BEGINNING
		   ? !bpf_core_read(tuple, sizeof(*tuple), &connection->tuplehash[NK_CT_BEGINNING].tuple)
		   : !bpf_core_read(tuple, sizeof(*tuple), &connection->tuplehash[NK_CT_ANSWERS].tuple);
}

// include/linux/skbuff.h, SKB_DST_PTRMASK
#define NK_DST_MASK (~1UL)

// The stack's: what a program redirects from a container has none.
static __always_inline bool nk_has_route(struct __sk_buff *skb)
{
	const struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);

	return kernel->_skb_refdst & NK_DST_MASK;
}

// What the host itself has made or forwarded has a route, and one of its own. A device on top of another one may have
// dropped that of its namespace; what has neither a route nor a socket was not routed here.
static __always_inline bool nk_has_no_route_here(const struct sk_buff *kernel)
{
	const struct dst_entry *dst = (const struct dst_entry *)(kernel->_skb_refdst & NK_DST_MASK);

	return dst ? BPF_CORE_READ(dst, dev, nd_net.net) != kernel->dev->nd_net.net : !kernel->sk;
}

// A device that is moved to another network namespace keeps its programs: then they have nothing to do with the host.
static __always_inline bool nk_has_left_host(struct __sk_buff *skb, __u64 host_netns_cookie)
{
	const struct sk_buff *kernel = nk_untrusted(skb);

	return kernel->dev->nd_net.net->net_cookie != host_netns_cookie;
}

// Whether the host's stack did not make or route it: its device is elsewhere, it comes of a socket of another
// namespace, was routed in one (whose devices have other numbers, so that skb->ingress_ifindex says nothing), or a tap
// that is no device of its own sent it (macvtap: drivers/net/tap.c makes sockets of no family).
static __always_inline bool nk_is_of_another_stack(struct __sk_buff *skb, __u64 host_netns_cookie)
{
	const struct sk_buff *kernel = nk_untrusted(skb);
	const struct sock *socket = kernel->sk;

	if (nk_has_left_host(skb, host_netns_cookie) || nk_has_no_route_here(kernel))
		return true;
	return socket && (socket->__sk_common.skc_net.net != kernel->dev->nd_net.net ||
			  (!socket->__sk_common.skc_family && socket->sk_type));
}

// Whether the host routes by addresses alone: no policy rule was ever made beside the kernel's own, and the ports
// choose nothing of a multipath route. A kernel without such a setting has nothing that it would change.
static __always_inline bool nk_routes_by_address(struct __sk_buff *skb, enum nk_family family)
{
	const struct sk_buff *kernel = nk_untrusted(skb);
	const struct net *net = kernel->dev->nd_net.net;
	bool rules = false;
	__u8 hash_policy = 0;

	if (family == NK_IPV4) {
		if (bpf_core_field_exists(net->ipv4.fib_has_custom_rules))
			rules = net->ipv4.fib_has_custom_rules;
		if (bpf_core_field_exists(net->ipv4.sysctl_fib_multipath_hash_policy))
			hash_policy = net->ipv4.sysctl_fib_multipath_hash_policy;
	} else {
		if (bpf_core_field_exists(net->ipv6.fib6_has_custom_rules))
			rules = net->ipv6.fib6_has_custom_rules;
		if (bpf_core_field_exists(net->ipv6.sysctl.multipath_hash_policy))
			hash_policy = net->ipv6.sysctl.multipath_hash_policy;
	}
	return !rules && !hash_policy;
}
