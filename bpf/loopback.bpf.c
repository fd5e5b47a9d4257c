// What programs of this host send to the host's own addresses: at tcx egress of the loopback device, while a port is
// published that no socket is led to (netd/datapath/loopback_program.h).
#include "lib/nat/host_client.h"

SEC("tcx/egress")
int loopback_egress(struct __sk_buff *skb)
{
	return nk_from_host(skb);
}
