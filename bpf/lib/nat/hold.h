// Who is kept waiting at a published port with `hold`: nobody listens there yet, or any more. His SYN is dropped, and
// he sends it again; so that a container which starts, or starts again, costs him a second and no error.
//
// Whether somebody listens, a look-up in the container's network namespace tells, for each SYN that would begin a flow.
// The first one that finds nobody begins the time of the hold, and one that finds somebody ends it; when it is over,
// the container answers again, which refuses as any host does. Where the container is gone, the daemon has begun the
// time, and after it the host answers. So nobody has to be told when a server is ready, nor the daemon to run.
//
// A server that is bound to a device is not found: who comes first waits in vain, until the time is over.
#pragma once

#include "lib/base.h"
#include "lib/nat/flow_reply.h"
#include "lib/nat/frontend.h"
#include "lib/nat/host_socket.h"

#define NK_SECOND_NS 1000000000ULL

// Not what is left of a connection that is over.
static __always_inline bool nk_container_listens(struct __sk_buff *skb, const struct nk_delivery *to,
						 const struct nk_frontend *frontend)
{
	enum nk_family family = to->family == NK_IPV6 ? NK_IPV6 : NK_IPV4;
	struct bpf_sock_tuple tuple;
	struct bpf_sock *socket;
	__u32 size;
	bool listens;

	size = nk_inbound_tuple(family, &to->key.saddr, to->key.sport, &frontend->addr, frontend->port, &tuple);
	socket = bpf_skc_lookup_tcp(skb, &tuple, size, frontend->netns_id, 0);
	if (!socket)
		return false;
	listens = socket->state != BPF_TCP_TIME_WAIT;
	bpf_sk_release(socket);
	return listens;
}

static __noinline bool nk_is_held(struct __sk_buff *skb, const struct nk_delivery *to, struct nk_frontend *frontend)
{
	__u64 now_ns = bpf_ktime_get_coarse_ns();
	bool has_container = frontend->endpoint_id != NK_NO_CONTAINER;

	if (has_container && nk_container_listens(skb, to, frontend)) {
		if (frontend->held_until_ns)
			frontend->held_until_ns = 0;
		return false;
	}
	if (has_container && !frontend->held_until_ns)
		frontend->held_until_ns = now_ns + frontend->hold_s * NK_SECOND_NS;
	return now_ns < frontend->held_until_ns;
}
