// Endpoints: which address belongs to which container, and where that container is.
#pragma once

#include "base.h"

// Not preallocated: entries come and go with containers, not with packets.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_endpoint4_key);
	__type(value, struct nk_endpoint);
} endpoints4 __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_endpoint6_key);
	__type(value, struct nk_endpoint);
} endpoints6 __weak SEC(".maps");

static __always_inline struct nk_endpoint *nk_endpoint4(__be32 addr)
{
	struct nk_endpoint4_key key = {.addr = addr};

	return bpf_map_lookup_elem(&endpoints4, &key);
}
