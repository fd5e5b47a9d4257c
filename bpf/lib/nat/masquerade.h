// A container's packet as sent_packet.h reads it, and the source address that masquerade gives it.
#pragma once

#include "lib/base.h"
#include "lib/packet/parse.h"
#include "lib/route/route.h"

// Who asks for a translation, and the answer. It holds no pointers: global functions (base.h) take it.
struct nk_masquerade {
	struct nk_ip ip;
	enum nk_l4_result l4_result;
	bool echo_reply;
	bool is_masqueraded;	       // as nk_find_ports() decides (container.h)
	struct nk_flow6_key route_key; // what it is routed by: `key`, or as the node (container.h)
	struct nk_flow6_key key;       // forward
	struct nk_addr addr;	       // answer: to write as the source
	__u64 now_ns;
	enum nk_family family;
	__be32 class;	// type of service, or traffic class
	__u32 wire_len; // of the largest frame that the packet becomes
	__u32 endpoint_id;
	__u32 endpoint_ifindex;
	__u32 home;		       // nk_endpoint.home
	__u32 endpoint_flags;	       // enum nk_endpoint_flag
	__u32 network_flags;	       // enum nk_network_flag, of the container's network; 0 if it is not known
	struct nk_addr network_source; // the network's own address, if it has one
	__be16 port;		       // answer: to write as the source port, or the echo id
	__u8 tcp_flags;
	bool has_witness; // NK_FLOW_WITNESS
	// Of the frontend that leads to the container's port, if the flow has to leave from there (flow_create.h).
	struct nk_addr published_addr;
	__be16 published_port;
	__u32 flow_flags; // enum nk_flow_flag, of both halves if it is made
	// Of the search for a port (flow_create.h); here because the stack has no room for it.
	__u64 wish;
	__u32 uplink;	// by which it leaves; 0: by none
	__u32 removals; // flow_removals, before it began
	__u32 start;
	__u32 second; // try, after the first
	__u32 tries;
	bool is_refused; // `wish`, at this tick
};

// Here because the stack has no room for it. A program runs to its end before another one begins on the same CPU.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nk_masquerade);
} masquerades SEC(".maps");

static __always_inline struct nk_masquerade *nk_masquerade_place(void)
{
	__u32 index = 0;

	return bpf_map_lookup_elem(&masquerades, &index);
}

// Unset while the host does not have it, which is the daemon's to say.
static __always_inline struct nk_addr nk_fixed_source(const struct nk_masquerade *m)
{
	return m->network_flags & NK_NETWORK_SOURCE_MISSING ? (struct nk_addr){} : m->network_source;
}

static __always_inline bool nk_is_fixed_source(const struct nk_masquerade *m, const struct nk_addr *addr)
{
	struct nk_addr fixed = nk_fixed_source(m);

	return m->network_flags & NK_NETWORK_FIXED_SOURCE && nk_addr_equal(m->family, addr, &fixed);
}

// Unset if there is none.
static __always_inline struct nk_addr nk_masquerade_source(struct __sk_buff *skb, const struct nk_masquerade *m,
							   struct nk_route *route)
{
	return m->network_flags & NK_NETWORK_FIXED_SOURCE
		   ? nk_fixed_source(m)
		   : nk_route_source(skb, m->family, &m->key, m->class, m->wire_len, route);
}
