// Published ports, for connections of who is on this host: the host itself and its containers. (Who is outside:
// arrival.h.)
//
// What they send to a frontend never comes by an uplink, so its socket is led to the container when it connects, and
// nothing of it is translated after that: packets go straight from there to the container, as all between the host and
// containers do, and its program judges them. What the socket asked for is kept with it, for what it is told of its
// peer.
//
// The host asks by any of its addresses, and by its loopback; a container by the host's addresses. Of TCP alone:
// datagrams are translated on their way (inside_client.h, host_client.h), so that a socket outlives the container that
// it speaks to. In other network namespaces an address like a container's or the host's may be somebody else's, so
// nothing is done there.
//
// Not led are sockets that are bound to a device or a loopback address: from there no route leads to a container.
#pragma once

#include "lib/addr.h"
#include "lib/base.h"
#include "lib/nat/frontend.h"
#include "lib/nat/ports.h"
#include "lib/node.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NK_MAX_NAMESPACES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64); // SO_NETNS_COOKIE
	__type(value, struct nk_namespace);
} namespaces SEC(".maps");

struct nk_socket_peer {
	struct nk_addr addr;
	__be16 port;
	__u16 family; // enum nk_family: of an IPv6 socket that speaks IPv4 (RFC 4038, 4.2), NK_IPV4
};

struct nk_origin {
	struct nk_socket_peer asked;
	struct nk_socket_peer led_to;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct nk_origin);
} origins SEC(".maps");

// Whether an IPv6 socket's address says that it speaks IPv4 (RFC 4291, 2.5.5.2).
static __always_inline bool nk_is_mapped(struct bpf_sock_addr *ctx)
{
	return !ctx->user_ip6[0] && !ctx->user_ip6[1] && ctx->user_ip6[2] == bpf_htonl(0xffff);
}

static __always_inline struct nk_socket_peer nk_socket_peer(struct bpf_sock_addr *ctx, enum nk_family family)
{
	struct nk_socket_peer peer = {.port = ctx->user_port, .family = family};

	if (family == NK_IPV4) {
		peer.addr = nk_addr4(ctx->user_ip4);
	} else if (nk_is_mapped(ctx)) {
		peer.addr = nk_addr4(ctx->user_ip6[3]);
		peer.family = NK_IPV4;
	} else {
		peer.addr.word[0] = ctx->user_ip6[0];
		peer.addr.word[1] = ctx->user_ip6[1];
		peer.addr.word[2] = ctx->user_ip6[2];
		peer.addr.word[3] = ctx->user_ip6[3];
	}
	return peer;
}

// `family`: of the socket. A peer of IPv4 is written into an IPv6 socket's address as it was: mapped.
static __always_inline void nk_write_socket_peer(struct bpf_sock_addr *ctx, enum nk_family family,
						 const struct nk_socket_peer *peer)
{
	if (family == NK_IPV4) {
		ctx->user_ip4 = peer->addr.word[0];
	} else if (peer->family == NK_IPV4) {
		ctx->user_ip6[3] = peer->addr.word[0];
	} else {
		ctx->user_ip6[0] = peer->addr.word[0];
		ctx->user_ip6[1] = peer->addr.word[1];
		ctx->user_ip6[2] = peer->addr.word[2];
		ctx->user_ip6[3] = peer->addr.word[3];
	}
	ctx->user_port = peer->port;
}

static __always_inline bool nk_is_hosts_socket(struct bpf_sock_addr *ctx)
{
	return bpf_get_netns_cookie(ctx) == node.host_netns_cookie;
}

static __always_inline bool nk_means_loopback(const struct nk_socket_peer *peer)
{
	enum nk_family family = peer->family == NK_IPV4 ? NK_IPV4 : NK_IPV6;

	return nk_addr_is_unset(family, &peer->addr) || nk_loopback(family, &peer->addr);
}

static __always_inline bool nk_may_be_led(struct bpf_sock *socket, enum nk_family family)
{
	struct nk_addr bound;

	if (!socket || socket->bound_dev_if)
		return false;
	if (family == NK_IPV4)
		return bpf_ntohl(socket->src_ip4) >> 24 != 127;
	bound.word[0] = socket->src_ip6[0];
	bound.word[1] = socket->src_ip6[1];
	bound.word[2] = socket->src_ip6[2];
	bound.word[3] = socket->src_ip6[3];
	return !nk_loopback(NK_IPV6, &bound);
}

// What is held for a container (hold.h) leads nowhere yet.
static __always_inline const struct nk_frontend *nk_frontend_of_container(enum nk_family family,
									  const struct nk_addr *addr, __be16 port)
{
	const struct nk_frontend *frontend = nk_frontend(family, addr, port, IPPROTO_TCP);

	return frontend && frontend->endpoint_id != NK_NO_CONTAINER ? frontend : NULL;
}

// To no address at all, the host itself is meant (as by connect(2)).
static __always_inline const struct nk_frontend *nk_frontend_for_host(const struct nk_socket_peer *peer)
{
	enum nk_family family = peer->family == NK_IPV4 ? NK_IPV4 : NK_IPV6;
	struct nk_addr addr = peer->addr;

	if (nk_addr_is_unset(family, &addr))
		addr = nk_loopback_addr(family);
	return nk_frontend_of_container(family, &addr, peer->port);
}

// Its loopback is its own.
static __always_inline const struct nk_frontend *nk_frontend_for_container(struct bpf_sock_addr *ctx,
									   const struct nk_socket_peer *peer)
{
	enum nk_family family = peer->family == NK_IPV4 ? NK_IPV4 : NK_IPV6;
	__u64 cookie = bpf_get_netns_cookie(ctx);
	const struct nk_namespace *netns = bpf_map_lookup_elem(&namespaces, &cookie);
	const struct nk_frontend *frontend;

	if (!netns || nk_means_loopback(peer))
		return NULL;
	frontend = nk_frontend_of_container(family, &peer->addr, peer->port);
	return frontend && nk_is_allowed(frontend, family == NK_IPV4 ? &netns->addr4 : &netns->addr6) ? frontend : NULL;
}

static __always_inline bool nk_is_peer(const struct nk_socket_peer *one, const struct nk_socket_peer *other)
{
	return one->port == other->port && one->family == other->family &&
	       nk_addr_equal(NK_IPV6, &one->addr, &other->addr);
}

static __always_inline void nk_note_origin(struct bpf_sock *socket, const struct nk_socket_peer *asked,
					   const struct nk_socket_peer *led_to)
{
	struct nk_origin *origin = bpf_sk_storage_get(&origins, socket, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!origin)
		return;
	origin->asked = *asked;
	origin->led_to = *led_to;
}

// A socket connects.
static __always_inline void nk_lead_socket(struct bpf_sock_addr *ctx, enum nk_family family)
{
	const struct nk_socket_peer peer = nk_socket_peer(ctx, family);
	const struct nk_frontend *frontend;
	struct nk_socket_peer led_to;

	if (ctx->protocol != IPPROTO_TCP || !nk_is_published(IPPROTO_TCP, peer.port) || !nk_may_be_led(ctx->sk, family))
		return;
	frontend = nk_is_hosts_socket(ctx) ? nk_frontend_for_host(&peer) : nk_frontend_for_container(ctx, &peer);
	if (!frontend)
		return;
	led_to = (struct nk_socket_peer){.addr = frontend->addr, .port = frontend->port, .family = peer.family};
	nk_note_origin(ctx->sk, &peer, &led_to);
	nk_write_socket_peer(ctx, family, &led_to);
}

// Who a socket is told its peer is: the one that it asked for.
static __always_inline void nk_show_origin(struct bpf_sock_addr *ctx, enum nk_family family)
{
	const struct nk_origin *origin = ctx->sk ? bpf_sk_storage_get(&origins, ctx->sk, NULL, 0) : NULL;
	const struct nk_socket_peer peer = nk_socket_peer(ctx, family);

	if (origin && nk_is_peer(&origin->led_to, &peer))
		nk_write_socket_peer(ctx, family, &origin->asked);
}

// Whether a program of the host's binds a port that is published: at that address, or at all where either of both is
// for any. (Whether an IPv6 socket for any address takes IPv4 as well, cannot be seen here: by default it does.)
static __always_inline bool nk_is_published_to_bind(struct bpf_sock_addr *ctx, enum nk_family family)
{
	const struct nk_socket_peer own = nk_socket_peer(ctx, family);
	enum nk_family meant = own.family == NK_IPV4 ? NK_IPV4 : NK_IPV6;

	if (!nk_is_published(ctx->protocol, own.port) || !nk_is_hosts_socket(ctx))
		return false;
	return nk_addr_is_unset(meant, &own.addr) || nk_frontend(meant, &own.addr, own.port, ctx->protocol);
}
