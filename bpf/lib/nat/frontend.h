// Frontends: the ports of the host's where somebody outside reaches a container, and where each leads (abi.h).
//
// They are asked for a flow that begins, and never for its packets after that.
#pragma once

#include "lib/addr.h"
#include "lib/base.h"

// Written by the daemon as the node's configuration is (node.h).
volatile struct nk_published published SEC(".data.published");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NK_MAX_FRONTENDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_service_key);
	__type(value, struct nk_frontend);
} frontends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NK_MAX_FRONTENDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_service_key);
	__type(value, struct nk_service_key);
} published_as SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, NK_MAX_ALLOWED_SOURCES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_source_key);
	__type(value, __u32); // says nothing
} allowed_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NK_MAX_PUBLISHED_ADDRESSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_address_key);
	__type(value, __u32); // says nothing
} published_addresses SEC(".maps");

// What stands at this address and port; at the port alone, if the address is `own`: one where those stand that are
// published without one. NULL if nothing does.
static __always_inline const struct nk_frontend *nk_find_frontend(struct nk_service_key *key, bool own)
{
	const struct nk_frontend *frontend = bpf_map_lookup_elem(&frontends, key);

	if (frontend || !own)
		return frontend;
	key->addr = (struct nk_addr){};
	return bpf_map_lookup_elem(&frontends, key);
}

// What stands at this address and port of the host's; NULL if nothing does.
static __noinline const struct nk_frontend *nk_frontend(enum nk_family family, const struct nk_addr *addr, __be16 port,
							__u8 proto)
{
	struct nk_service_key key = {.addr = *addr, .port = port, .proto = proto, .family = family};
	struct nk_address_key address = {.addr = *addr, .family = family};

	return nk_find_frontend(&key, bpf_map_lookup_elem(&published_addresses, &address));
}

// The same, of an address that is known to be the host's: a loopback one, or what a program of the host's binds.
static __noinline const struct nk_frontend *nk_frontend_of_host(enum nk_family family, const struct nk_addr *addr,
								__be16 port, __u8 proto)
{
	struct nk_service_key key = {.addr = *addr, .port = port, .proto = proto, .family = family};

	return nk_find_frontend(&key, true);
}

// Whether this one may come there.
static __noinline bool nk_is_allowed(const struct nk_frontend *frontend, const struct nk_addr *source)
{
	struct nk_source_key key = {.length = 8 * (sizeof(key) - sizeof(key.length)), .addr = *source};

	if (!frontend->sources)
		return true;
	key.list = frontend->sources;
	return bpf_map_lookup_elem(&allowed_sources, &key);
}

static __always_inline bool nk_is_frontend_of(enum nk_family family, const struct nk_addr *addr, __be16 port,
					      __u8 proto, __u32 endpoint_id)
{
	const struct nk_frontend *frontend = nk_frontend(family, addr, port, proto);

	return frontend && frontend->endpoint_id == endpoint_id;
}
