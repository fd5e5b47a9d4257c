// How full the flow maps are: run by the daemon, attached to nothing. The kernel counts a hash map's entries anyway,
// and tells programs only; user space would have to walk the map.
#include "lib/nat/flow.h"

SEC("syscall")
int map_counts(struct nk_map_counts *counts)
{
	counts->flows4 = nk_flow_entries(NK_IPV4);
	counts->flows6 = nk_flow_entries(NK_IPV6);
	return 0;
}
