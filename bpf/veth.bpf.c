// What leaves a container through veth: the twin of netkit_peer, at tcx ingress of the host's end.
#include "lib/container.h"

SEC("tcx/ingress")
int veth_ingress(struct __sk_buff *skb)
{
	return nk_from_container(skb, true);
}
