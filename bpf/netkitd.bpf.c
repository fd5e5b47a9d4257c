// All programs in one object, so that they share maps and configuration. The entry files are included, not linked:
// libbpf 1.5's linker fails on a kernel function that two objects use.
#include "map_counts.bpf.c"
#include "netkit_peer.bpf.c"
#include "uplink.bpf.c"
#include "uplink_l3.bpf.c"
#include "veth.bpf.c"

char nk_license[] SEC("license") = "GPL";
