// What comes in and goes out on an uplink. Host traffic passes here too, and pays no look-up outside the masquerade
// pool's ports; every pass is TCX_NEXT, so that others' programs run as well.
#include "lib/uplink.h"

SEC("tcx/ingress")
int uplink_ingress(struct __sk_buff *skb)
{
	bool fast = skb->pkt_type == PACKET_HOST && !skb->vlan_present;
	int verdict = NK_LONG_WAY;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (fast)
			verdict = nk_fast_in4(skb);
		return verdict == NK_LONG_WAY ? nk_from_uplink4(skb) : verdict;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (fast)
			verdict = nk_fast_in6(skb);
		return verdict == NK_LONG_WAY ? nk_from_uplink6(skb) : verdict;
	}
	return TCX_NEXT;
}

SEC("tcx/egress")
int uplink_egress(struct __sk_buff *skb)
{
	return nk_to_uplink(skb);
}
