// Endpoints: which address belongs to which container, and where that container is.
#pragma once

#include "lib/addr.h"
#include "lib/base.h"

// Not preallocated: entries come and go with containers, not with packets.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_endpoint4_key);
	__type(value, struct nk_endpoint);
} endpoints4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_endpoint6_key);
	__type(value, struct nk_endpoint);
} endpoints6 SEC(".maps");

static __always_inline struct nk_endpoint *nk_endpoint(enum nk_family family, const struct nk_addr *addr)
{
	struct nk_endpoint4_key key4 = {.addr = addr->word[0]};

	// The key of IPv6 is just the address: no copy.
	return family == NK_IPV4 ? bpf_map_lookup_elem(&endpoints4, &key4) : bpf_map_lookup_elem(&endpoints6, addr);
}
