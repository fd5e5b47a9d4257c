// Sockets of this host and its containers: attached to the root of the cgroups while ports are published that need
// them (netd/datapath/socket_hooks.h).
#include "lib/nat/published_socket.h"

// include/uapi/asm-generic/errno.h
#define NK_EADDRINUSE 98

// What a program of these says: go on, or not (kernel/bpf/cgroup.c).
#define NK_GO_ON 1
#define NK_REFUSE 0

static __always_inline int nk_bind(struct bpf_sock_addr *ctx, enum nk_family family)
{
	if (!nk_is_published_to_bind(ctx, family))
		return NK_GO_ON;
	bpf_set_retval(-NK_EADDRINUSE);
	return NK_REFUSE;
}

SEC("cgroup/connect4")
int socket_connect4(struct bpf_sock_addr *ctx)
{
	nk_lead_socket(ctx, NK_IPV4);
	return NK_GO_ON;
}

SEC("cgroup/connect6")
int socket_connect6(struct bpf_sock_addr *ctx)
{
	nk_lead_socket(ctx, NK_IPV6);
	return NK_GO_ON;
}

SEC("cgroup/getpeername4")
int socket_peer4(struct bpf_sock_addr *ctx)
{
	nk_show_origin(ctx, NK_IPV4);
	return NK_GO_ON;
}

SEC("cgroup/getpeername6")
int socket_peer6(struct bpf_sock_addr *ctx)
{
	nk_show_origin(ctx, NK_IPV6);
	return NK_GO_ON;
}

SEC("cgroup/bind4")
int socket_bind4(struct bpf_sock_addr *ctx)
{
	return nk_bind(ctx, NK_IPV4);
}

SEC("cgroup/bind6")
int socket_bind6(struct bpf_sock_addr *ctx)
{
	return nk_bind(ctx, NK_IPV6);
}
