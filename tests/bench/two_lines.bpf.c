// The least that a container's network can cost: what leaves the container goes to the uplink, what comes in from the
// uplink goes to the container. No checks, no translation, one container.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

const volatile __u32 uplink;
const volatile __u32 container;

SEC("netkit/peer")
int from_container(struct __sk_buff* skb) {
    return bpf_redirect_neigh(uplink, NULL, 0, 0);
}

SEC("tcx/ingress")
int from_uplink(struct __sk_buff* skb) {
    return bpf_redirect_peer(container, 0);
}

// The least that a program on an uplink can cost the host's own packets: none of them is even looked at.
SEC("tcx/ingress")
int nothing_in(struct __sk_buff* skb) {
    return TCX_NEXT;
}

SEC("tcx/egress")
int nothing_out(struct __sk_buff* skb) {
    return TCX_NEXT;
}

char two_lines_license[] SEC("license") = "GPL";
