// Whether the host itself has a use for a packet: a socket of its own that would receive it. There is no look-up for
// sockets of SCTP and UDP-Lite: what a remote sends to such a one that has a port of the pool, a container gets if it
// uses the same port towards the same remote port.
#pragma once

#include "lib/base.h"

// The tuple of what comes from `remote` to `local`; its size.
static __always_inline __u32 nk_inbound_tuple(enum nk_family family, const struct nk_addr *remote, __be16 remote_port,
					      const struct nk_addr *local, __be16 local_port,
					      struct bpf_sock_tuple *tuple)
{
	if (family == NK_IPV4) {
		tuple->ipv4.saddr = remote->word[0];
		tuple->ipv4.daddr = local->word[0];
		tuple->ipv4.sport = remote_port;
		tuple->ipv4.dport = local_port;
		return sizeof(tuple->ipv4);
	}
	__builtin_memcpy(tuple->ipv6.saddr, remote, sizeof(tuple->ipv6.saddr));
	__builtin_memcpy(tuple->ipv6.daddr, local, sizeof(tuple->ipv6.daddr));
	tuple->ipv6.sport = remote_port;
	tuple->ipv6.dport = local_port;
	return sizeof(tuple->ipv6);
}

static __always_inline bool nk_host_has_socket(struct __sk_buff *skb, enum nk_family family, __u8 proto,
					       const struct nk_addr *remote, __be16 remote_port,
					       const struct nk_addr *local, __be16 local_port)
{
	struct bpf_sock_tuple tuple;
	__u32 size = nk_inbound_tuple(family, remote, remote_port, local, local_port, &tuple);
	struct bpf_sock *socket = NULL;

	if (proto == IPPROTO_TCP)
		socket = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else if (proto == IPPROTO_UDP)
		socket = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return false;
	bpf_sk_release(socket);
	return true;
}

// Whether the socket that sent it would be found by such a look-up, for the answer.
static __always_inline bool nk_has_findable_socket(struct __sk_buff *skb, __u8 proto)
{
	struct bpf_sock *socket = skb->sk;

	// That of a connection that is being made, or was over long ago, says this much.
	if (!socket || (proto != IPPROTO_TCP && proto != IPPROTO_UDP) || socket->bound_dev_if)
		return false;
	socket = bpf_sk_fullsock(socket);
	return !socket || socket->protocol == proto;
}
