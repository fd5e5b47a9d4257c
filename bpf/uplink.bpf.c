// What comes in and goes out on an uplink. Host traffic passes here too, and pays no look-up outside the masquerade
// pool's ports; every pass is TCX_NEXT, so that others' programs run as well.
#include "lib/uplink.h"

SEC("tcx/ingress")
int uplink_ingress(struct __sk_buff *skb)
{
	// To another machine, or to a macvlan or bridge on this device: the stack knows.
	if (skb->pkt_type == PACKET_OTHERHOST)
		return TCX_NEXT;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return nk_from_uplink4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return nk_from_uplink6(skb);
	return TCX_NEXT;
}

SEC("tcx/egress")
int uplink_egress(struct __sk_buff *skb)
{
	return nk_to_uplink(skb);
}
