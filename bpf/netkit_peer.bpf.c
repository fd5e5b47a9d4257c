// What leaves a container through netkit. Attached as netkit's peer program; it runs in the host's namespace, with the
// host's end (the primary) as its device.
#include "lib/container.h"

// bpf_redirect_peer() refuses to work here (net/core/filter.c: tc ingress only); the plain redirect to the primary
// of the target ends in its container all the same.
SEC("netkit/peer")
int netkit_peer(struct __sk_buff *skb)
{
	return nk_from_container(skb, false);
}
