// Whether a container itself has a connection: a socket in its network namespace. Not found are those that are bound to
// a device, and those of namespaces within the container.
#pragma once

#include "lib/base.h"
#include "lib/nat/host_socket.h"

// Neither a socket that listens (it would be found for any remote) nor one whose connection is over, and only its time
// is not.
static __always_inline bool nk_is_connected(const struct bpf_sock *socket)
{
	switch (socket->state) {
	case BPF_TCP_ESTABLISHED:
	case BPF_TCP_SYN_SENT:
	case BPF_TCP_SYN_RECV:
	case BPF_TCP_NEW_SYN_RECV:
	case BPF_TCP_FIN_WAIT1:
	case BPF_TCP_FIN_WAIT2:
	case BPF_TCP_CLOSE_WAIT:
	case BPF_TCP_LAST_ACK:
	case BPF_TCP_CLOSING:
		return true;
	default:
		return false;
	}
}

static __always_inline bool nk_container_has_datagrams(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 size,
						       __u32 netns_id)
{
	struct bpf_sock *socket = bpf_sk_lookup_udp(skb, tuple, size, netns_id, 0);

	if (!socket)
		return false;
	bpf_sk_release(socket);
	return true;
}

// Of UDP: a socket that would get what comes from there.
static __always_inline bool nk_container_has_connection(struct __sk_buff *skb, const struct nk_socket_question *asked)
{
	enum nk_family family = asked->family == NK_IPV6 ? NK_IPV6 : NK_IPV4;
	struct bpf_sock_tuple tuple;
	struct bpf_sock *socket;
	__u32 size;
	bool connected;

	if (asked->proto != IPPROTO_TCP && asked->proto != IPPROTO_UDP)
		return false;
	size = nk_inbound_tuple(family, &asked->remote, asked->remote_port, &asked->container, asked->container_port,
				&tuple);
	if (asked->proto == IPPROTO_UDP)
		return nk_container_has_datagrams(skb, &tuple, size, asked->netns_id);
	socket = bpf_skc_lookup_tcp(skb, &tuple, size, asked->netns_id, 0);
	if (!socket)
		return false;
	connected = nk_is_connected(socket);
	bpf_sk_release(socket);
	return connected;
}
