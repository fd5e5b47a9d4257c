// What a rule of the host's sends on for a container, translated by the host: which connections those are, so that
// their answers are known from others'. Its own table of connections does not say who began one: anybody whose packet
// the host forwards can, in a container's name, and would be answered there.
//
// They are noted where they leave, by an uplink: there a packet's ingress device says that it came by netkitd0, which
// only containers' packets do. What is noted is the connection as it began, so that nothing else is taken for it. The
// oldest are forgotten, and noted again with the container's next packet.
#pragma once

#include "lib/base.h"
#include "lib/node.h"
#include "lib/packet/skb.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct nk_beginning);
	__type(value, __u32); // says nothing
} sent_by_rule SEC(".maps");

static __noinline int nk_note_sent_by_rule(struct __sk_buff *skb)
{
	struct nk_beginning beginning;
	__u32 one = 1;

	if (!nk_ct_is_reply(skb) && nk_ct_beginning(skb, &beginning) && !bpf_map_lookup_elem(&sent_by_rule, &beginning))
		bpf_map_update_elem(&sent_by_rule, &beginning, &one, BPF_ANY);
	return 0;
}

static __always_inline bool nk_was_sent_by_rule(struct __sk_buff *skb)
{
	struct nk_beginning beginning;

	return nk_ct_is_reply(skb) && nk_ct_beginning(skb, &beginning) &&
	       bpf_map_lookup_elem(&sent_by_rule, &beginning);
}
