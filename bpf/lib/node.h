// The node's configuration, written by the daemon at run time through the skeleton's mapping of `.data.node`.
//
// The daemon may change it under running programs: each look at it must be right by itself, and a count is only raised
// after the entry behind it was written.
#pragma once

#include "base.h"

volatile struct nk_node node __weak SEC(".data.node");

// The network whose prefix holds `addr`, or NULL.
static __always_inline const volatile struct nk_network *nk_network4(__be32 addr)
{
	for (__u32 i = 0; i < NK_MAX_NETWORKS && i < node.network4_count; i++) {
		const volatile struct nk_network *network = &node.network4[i];

		if ((addr & network->mask.word[0]) == network->prefix.word[0])
			return network;
	}
	return NULL;
}

static __always_inline bool nk_masqueraded(const volatile struct nk_network *network)
{
	return network->flags & NK_NETWORK_MASQUERADE;
}

static __always_inline bool nk_is_uplink(__u32 ifindex)
{
	for (__u32 i = 0; i < NK_MAX_UPLINKS && i < node.uplink_count; i++) {
		if (node.uplinks[i] == ifindex)
			return true;
	}
	return false;
}

// Whether the masquerade pool holds this port or echo id. A pool that was never configured (0..0) holds nothing.
static __always_inline bool nk_in_pool(__be16 port)
{
	__u16 value = bpf_ntohs(port);

	return value && value >= node.port_first && value <= node.port_last;
}
