// How full the flow maps are: run by the daemon, attached to nothing. The kernel counts a hash map's entries anyway,
// and tells programs only; user space would have to walk the map.
#include "lib/nat/flow.h"

// kernel/bpf/map_iter.c; the type's name is all that matters here.
struct bpf_map {
	__u32 id;
} __attribute__((preserve_access_index));

extern __s64 bpf_map_sum_elem_count(const struct bpf_map *map) __ksym;

static __always_inline __u64 nk_count_entries(const void *map)
{
	__s64 count = bpf_map_sum_elem_count(map);

	return count < 0 ? 0 : count;
}

SEC("syscall")
int map_counts(struct nk_map_counts *counts)
{
	counts->flows4 = nk_count_entries(&flows4);
	counts->flows4_new = nk_count_entries(&flows4_new);
	counts->flows6 = nk_count_entries(&flows6);
	counts->flows6_new = nk_count_entries(&flows6_new);
	return 0;
}
