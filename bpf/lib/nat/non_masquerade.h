// Destinations outside that know the containers' own addresses: packets to them are routed, not masqueraded.
//
// The daemon adds prefixes before it takes others away, and counts them after the first was added and before the last
// is taken away. Asked on the long way only, and where there are none, nothing is asked.
#pragma once

#include "lib/base.h"
#include "lib/node.h"

// Room for all the old prefixes and all the new ones.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 2 * NK_MAX_NON_MASQUERADE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_prefix4_key);
	__type(value, __u8);
} non_masquerade4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 2 * NK_MAX_NON_MASQUERADE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_prefix6_key);
	__type(value, __u8);
} non_masquerade6 SEC(".maps");

static __noinline bool nk_find_non_masquerade(enum nk_family family, const struct nk_addr *addr)
{
	struct nk_prefix4_key key4 = {.length = 32, .addr = addr->word[0]};
	struct nk_prefix6_key key6 = {.length = 128, .addr = *addr};

	return family == NK_IPV4 ? bpf_map_lookup_elem(&non_masquerade4, &key4)
				 : bpf_map_lookup_elem(&non_masquerade6, &key6);
}

static __always_inline bool nk_has_non_masquerade(enum nk_family family)
{
	return family == NK_IPV4 ? node.non_masquerade4_count : node.non_masquerade6_count;
}

static __always_inline bool nk_is_non_masquerade(enum nk_family family, const struct nk_addr *addr)
{
	return nk_has_non_masquerade(family) && nk_find_non_masquerade(family, addr);
}
