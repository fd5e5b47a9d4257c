// What comes in and goes out on an uplink. Host traffic passes here too, and pays no look-up outside the masquerade
// pool's ports; every pass is TCX_NEXT, so that others' programs run as well.
#include "lib/uplink.h"

SEC("tcx/ingress")
int uplink_ingress(struct __sk_buff *skb)
{
	return nk_uplink_in(skb);
}

SEC("tcx/egress")
int uplink_egress(struct __sk_buff *skb)
{
	return nk_to_uplink(skb);
}
