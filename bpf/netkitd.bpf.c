// All programs in one object, so that they share maps and configuration. The entry files are included, not linked:
// libbpf 1.5's linker fails on a kernel function that two objects use.
#include "flow_changes.bpf.c"
#include "host.bpf.c"
#include "loopback.bpf.c"
#include "map_counts.bpf.c"
#include "netkit_peer.bpf.c"
#include "owner_sockets.bpf.c"
#include "published_socket.bpf.c"
#include "uplink.bpf.c"
#include "uplink_l3.bpf.c"
#include "veth.bpf.c"

#ifdef NETKITD_NEXT_VERSION // of the upgrade tests
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} next_version SEC(".maps");
#endif

char nk_license[] SEC("license") = "GPL";
