// Frontends: the ports of the host's where somebody outside reaches a container, and where each leads (abi.h).
//
// They are asked for a flow that begins, and never for its packets after that.
#pragma once

#include <linux/in.h>

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
	__uint(max_entries, NK_MAX_OWN_ADDRESSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_address_key);
	__type(value, __u32); // enum nk_own_flag
} own_addresses SEC(".maps");

// What stands at this address and port of the host's; NULL if nothing does. (One key after the other: the stack of the
// programs that ask has little room.)
static __noinline struct nk_frontend *nk_frontend(enum nk_family family, const struct nk_addr *addr, __be16 port,
						  __u8 proto)
{
	union {
		struct nk_address_key own;
		struct nk_service_key service;
	} key = {.own = {.addr = *addr, .family = family}};
	struct nk_frontend *frontend;
	const __u32 *own;
	__u32 flags;

	if (family == NK_IPV4 && nk_loopback(NK_IPV4, addr))
		key.own.addr = nk_addr4(bpf_htonl(INADDR_LOOPBACK));
	own = bpf_map_lookup_elem(&own_addresses, &key.own);
	if (!own)
		return NULL;
	flags = *own;
	key.service = (struct nk_service_key){.addr = *addr, .port = port, .proto = proto, .family = family};
	frontend = bpf_map_lookup_elem(&frontends, &key.service);
	if (frontend || !(flags & NK_OWN_FOR_ALL))
		return frontend;
	key.service.addr = (struct nk_addr){};
	return bpf_map_lookup_elem(&frontends, &key.service);
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

// Whether the host itself has this address.
static __noinline bool nk_is_own_address(enum nk_family family, const struct nk_addr *addr)
{
	const struct nk_address_key key = {.addr = *addr, .family = family};

	return bpf_map_lookup_elem(&own_addresses, &key);
}

static __always_inline bool nk_is_frontend_of(enum nk_family family, const struct nk_addr *addr, __be16 port,
					      __u8 proto, __u32 endpoint_id)
{
	const struct nk_frontend *frontend = nk_frontend(family, addr, port, proto);

	return frontend && frontend->endpoint_id == endpoint_id;
}
