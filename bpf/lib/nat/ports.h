// The node's ports that flows of containers may have. All others are the host's alone.
//
// The daemon asks the same questions in netd/nat/ports.h, and both must give the same answers
// (tests/bpf/ports_test.cpp).
#pragma once

#include "lib/base.h"
#include "lib/node.h"

// Whether the masquerade pool holds this port or echo id. A pool that was never configured (0..0) holds nothing.
static __always_inline bool nk_in_pool(__be16 port)
{
	__u16 value = bpf_ntohs(port);

	return value && value >= node.port_first && value <= node.port_last;
}

// Whether a flow may have this port or echo id of the node's, so that a packet to it has to be looked for among the
// flows. If not, the packet is the host's.
static __always_inline bool nk_port_may_be_ours(__be16 port)
{
	return nk_in_pool(port);
}
