// What the host's stack sends to a container: at tcx egress of netkitd0.
#include "lib/to_container.h"

SEC("tcx/egress")
int host_egress(struct __sk_buff *skb)
{
	return nk_to_container(skb);
}
