// What a rule of the host's sends on for a container, translated by the host: which connections those are, so that
// their answers are known from others'. Its own table of connections does not say who began one: anybody whose packet
// the host forwards can, in a container's name, and would be answered there.
//
// They are noted where they leave, by an uplink: there a packet's ingress device says that it came by netkitd0, which
// only containers' packets do. What is noted is the connection as it began, so that nothing else is taken for it. The
// oldest are forgotten, and noted again with the container's next packet.
//
// Where a rule led the container to another runtime's (at the port that this publishes) and left it its own address,
// the answer comes to that address: the host has to translate it back, so it must not go the short way. Of such a
// connection it is noted as well how its answers come.
#pragma once

#include "lib/addr.h"
#include "lib/base.h"
#include "lib/node.h"
#include "lib/packet/parse.h"
#include "lib/packet/skb.h"
#include "lib/uplink_set.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct nk_ct_tuple);
	__type(value, __u32); // says nothing
} sent_by_rule SEC(".maps");

static __noinline int nk_note_tuple(struct __sk_buff *skb, enum nk_ct_direction direction)
{
	struct nk_ct_tuple tuple;
	__u32 one = 1;

	if (nk_ct_tuple(skb, direction, &tuple) && !bpf_map_lookup_elem(&sent_by_rule, &tuple))
		bpf_map_update_elem(&sent_by_rule, &tuple, &one, BPF_ANY);
	return 0;
}

static __always_inline void nk_note_sent_by_rule(struct __sk_buff *skb)
{
	if (nk_ct_is_reply(skb))
		return;
	nk_note_tuple(skb, NK_CT_BEGINNING);
	if (nk_is_inner_bridge(skb->ifindex))
		nk_note_tuple(skb, NK_CT_ANSWERS);
}

static __always_inline bool nk_was_sent_by_rule(struct __sk_buff *skb)
{
	struct nk_ct_tuple tuple;

	return nk_ct_is_reply(skb) && nk_ct_tuple(skb, NK_CT_BEGINNING, &tuple) &&
	       bpf_map_lookup_elem(&sent_by_rule, &tuple);
}

// A tuple's parts, as struct nf_conntrack_tuple has them.
struct nk_ct_parts {
	struct nk_addr saddr;
	__be16 sport;
	__u16 family; // AF_INET or AF_INET6, which enum nk_family's are
	struct nk_addr daddr;
	__be16 dport;
	__u8 proto;
	__u8 direction;
};
_Static_assert(sizeof(struct nk_ct_parts) == sizeof(struct nk_ct_tuple), "no padding");

// Of a packet to a container's own address, whether it is such an answer. It reads the packet by itself, for the
// caller's stack.
static __noinline bool nk_is_answer_to_rule(struct __sk_buff *skb, enum nk_family family)
{
	struct nk_flow6_key key;
	struct nk_ct_parts answer;
	struct nk_l4 l4;
	struct nk_ip ip;

	if (!nk_is_inner_bridge(skb->ifindex) || !nk_parse_ip(skb, family, &ip, &key) ||
	    nk_parse_l4(skb, &ip, &l4, &key) != NK_L4_OK)
		return false;
	answer = (struct nk_ct_parts){
	    .saddr = key.saddr,
	    .sport = key.sport,
	    .family = family,
	    .daddr = key.daddr,
	    .dport = key.dport,
	    .proto = key.proto,
	    .direction = NK_CT_ANSWERS,
	};
	return bpf_map_lookup_elem(&sent_by_rule, &answer);
}
