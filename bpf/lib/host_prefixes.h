// What is the host's own although it lies in a network's prefix: addresses of the host, and prefixes that it has longer
// routes to. The host came first, or an administrator wants it so: such an address is no network's. Of a prefix,
// what a container has is the container's, as its own route is longer still; an address of the host is the host's.
//
// There are hardly ever any (the daemon starts with no prefix that overlaps the host's, and names what comes later),
// and then nothing is asked.
#pragma once

#include "lib/addr.h"
#include "lib/base.h"
#include "lib/endpoint.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 2 * NK_MAX_HOST_PREFIXES); // all the old ones and all the new ones
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_prefix4_key);
	__type(value, __u8); // the length once more
} host_prefixes4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 2 * NK_MAX_HOST_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nk_prefix6_key);
	__type(value, __u8); // the length once more
} host_prefixes6 SEC(".maps");

static __noinline bool nk_find_host_prefix(enum nk_family family, const struct nk_addr *addr)
{
	struct nk_prefix4_key key4 = {.length = 32, .addr = addr->word[0]};
	struct nk_prefix6_key key6 = {.length = 128};
	struct nk_addr copy = {};
	__u8 *length;

	if (family == NK_IPV4) {
		copy.word[0] = addr->word[0];
		length = bpf_map_lookup_elem(&host_prefixes4, &key4);
	} else {
		copy = key6.addr = *addr;
		length = bpf_map_lookup_elem(&host_prefixes6, &key6);
	}
	return length && (*length == (family == NK_IPV4 ? 32 : 128) || !nk_endpoint(family, &copy));
}
