// The node's ports that flows of containers may have. All others are the host's alone.
//
// The pool's first three quarters are the commons, where whoever comes first gets what he wants. The last quarter is
// homes: each endpoint has a block of 16, its own as long as there are no more endpoints than blocks, and again when
// its container starts again (netd/endpoint/homes.h). So nobody, alone or with others, can use up all ports to a remote
// (a resolver, say): everybody has some of his own. The containers' own local port range is the whole pool all the
// same, since a container that connects often needs many of them (TIME_WAIT); a port of another's home is changed.
//
// The daemon asks the same questions in netd/nat/ports.h, and both must give the same answers
// (tests/bpf/ports_test.cpp).
#pragma once

#include "lib/base.h"
#include "lib/nat/frontend.h"
#include "lib/node.h"

// Whether the masquerade pool holds this port or echo id. A pool that was never configured (0..0) holds nothing.
static __always_inline bool nk_in_pool(__be16 port)
{
	__u16 value = bpf_ntohs(port);

	return value && value >= node.port_first && value <= node.port_last;
}

// Whether that port of some address of the host's is published.
static __always_inline bool nk_is_published(__u8 proto, __be16 port)
{
	__u32 table = NK_PUBLISHED_SCTP, value = bpf_ntohs(port), word = value / NK_PORTS_IN_WORD;

	if (!published.count)
		return false;
	if (proto == IPPROTO_TCP)
		table = NK_PUBLISHED_TCP;
	else if (proto == IPPROTO_UDP)
		table = NK_PUBLISHED_UDP;
	else if (proto != IPPROTO_SCTP)
		return false;
	// Linux 6.12's verifier does not know that this is small, and the compiler does.
	barrier_var(word);
	word &= NK_PORT_WORDS - 1;
	return published.ports[table][word] >> value % NK_PORTS_IN_WORD & 1;
}

// Whether it may be published at that address, where it is at some: what the host itself serves by the same port at
// another one is told by as little as will do.
static __noinline bool nk_may_be_published_at(const struct nk_addr *addr, __u8 proto, __be16 port)
{
	__u64 folded = addr->word[0] ^ addr->word[1] ^ addr->word[2] ^ addr->word[3];
	__u32 place = (folded << 32 | proto << 16 | port) * NK_PLACE_MULTIPLIER >> (64 - NK_PLACE_BITS);
	__u32 word = place / NK_PORTS_IN_WORD;

	barrier_var(word); // as above
	word &= NK_PLACES / NK_PORTS_IN_WORD - 1;
	return published.places[word] >> place % NK_PORTS_IN_WORD & 1;
}

// Whether a flow may have this port or echo id of the node's, at this address, so that a packet to it has to be looked
// for among the flows. If not, the packet is the host's.
static __always_inline bool nk_port_may_be_ours(const struct nk_addr *addr, __u8 proto, __be16 port)
{
	return nk_in_pool(port) || (nk_is_published(proto, port) && nk_may_be_published_at(addr, proto, port));
}

// Whether another one than this endpoint publishes that port of the node's by now, in whatever flow it is.
static __always_inline bool nk_is_published_by_another(enum nk_family family, const struct nk_addr *addr, __be16 port,
						       __u8 proto, __u32 endpoint_id)
{
	const struct nk_frontend *frontend;

	if (!nk_is_published(proto, port))
		return false;
	frontend = nk_frontend(family, addr, port, proto);
	return frontend && frontend->endpoint_id != endpoint_id;
}

struct nk_pool {
	__u32 first;
	__u32 size;
	__u32 commons; // the first so many of them
	__u32 homes;   // blocks of NK_HOME_PORTS behind them
};

static __always_inline struct nk_pool nk_pool(void)
{
	struct nk_pool pool = {.first = node.port_first, .size = node.port_last - node.port_first + 1};

	pool.homes = NK_POOL_HOMES(pool.size);
	pool.commons = pool.size - pool.homes * NK_HOME_PORTS;
	return pool;
}

// The first port of that home (nk_endpoint.home); there are some.
static __always_inline __u32 nk_home(const struct nk_pool *pool, __u32 home)
{
	return pool->first + pool->commons + home % pool->homes * NK_HOME_PORTS;
}

// Whether the endpoint with that home may have the port, in host order, if it is free.
static __always_inline bool nk_may_have_port(const struct nk_pool *pool, __u32 port, __u32 home)
{
	if (port < pool->first || port >= pool->first + pool->size)
		return false;
	return port < pool->first + pool->commons || (pool->homes && port - nk_home(pool, home) < NK_HOME_PORTS);
}
