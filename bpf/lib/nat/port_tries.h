// How many ports had to be tried for a new flow, as a histogram: a pool that gets full shows there before it is.
#pragma once

#include "lib/base.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NK_PORT_TRIES_BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} port_tries SEC(".maps");

// The first try is the rule, and costs nothing here.
static __always_inline void nk_count_port_tries(__u32 tries)
{
	__u32 bucket = tries <= 4    ? NK_PORT_TRIES_4
		       : tries <= 8  ? NK_PORT_TRIES_8
		       : tries <= 16 ? NK_PORT_TRIES_16
				     : NK_PORT_TRIES_32;
	__u64 *count = tries > 1 ? bpf_map_lookup_elem(&port_tries, &bucket) : NULL;

	if (count)
		(*count)++;
}
