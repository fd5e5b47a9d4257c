// The same on an uplink without Ethernet (wireguard, tun), where a packet begins with its network header.
#include "lib/uplink_l3.h"

SEC("tcx/ingress")
int uplink_l3_ingress(struct __sk_buff *skb)
{
	return nk_l3_add_header(skb) ? nk_uplink_in(skb) : nk_l3_without_header(skb);
}

SEC("tcx/egress")
int uplink_l3_egress(struct __sk_buff *skb)
{
	return nk_to_uplink_ip(skb, skb->protocol, 0, false);
}
