// What a rule of the host's sends on for a container, translated by the host: which connections those are, so that
// their answers are known from others'. Its own table of connections does not say who began one: anybody whose packet
// the host forwards can, in a container's name, and would be answered there.
//
// They are noted where they leave, by an uplink: there a packet's ingress device says that it came by netkitd0, which
// only containers' packets do. An entry's key is the connection as it began, so that nothing else passes for it. Its
// value says which endpoint sent it, and when last: the host may remember the connection for days, by then another
// container may have the address, or somebody else may begin it again in the container's name. The LRU forgets the
// oldest; the container's next packet makes such an entry again.
//
// Where a rule led the container to another runtime's (at a port which that one publishes) and left it its own address,
// the answer comes to that address. The host has to translate it back, so it must not take the fast path: such a
// connection has a second entry, under the tuple of its answers.
#pragma once

#include "lib/addr.h"
#include "lib/base.h"
#include "lib/endpoint.h"
#include "lib/node.h"
#include "lib/packet/parse.h"
#include "lib/packet/skb.h"
#include "lib/uplink_set.h"

struct nk_sent {
	__u64 seen_ns;
	__u32 endpoint_id;
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct nk_ct_tuple);
	__type(value, struct nk_sent);
} sent_by_rule SEC(".maps");

// How long an answer may take: what a silent flow of a container's lives (RFC 5382, REQ-5; RFC 4787, REQ-5).
#define NK_SENT_TCP_NS 7440000000000ULL
#define NK_SENT_NS 300000000000ULL

static __noinline int nk_note_tuple(const struct nk_ct_tuple *tuple, __u32 endpoint_id)
{
	struct nk_sent *known = bpf_map_lookup_elem(&sent_by_rule, tuple);
	struct nk_sent sent = {.seen_ns = bpf_ktime_get_coarse_ns(), .endpoint_id = endpoint_id};

	if (known && known->endpoint_id == endpoint_id)
		known->seen_ns = sent.seen_ns;
	else
		bpf_map_update_elem(&sent_by_rule, tuple, &sent, BPF_ANY);
	return 0;
}

static __always_inline bool nk_was_sent(const struct nk_ct_tuple *tuple, __u32 endpoint_id)
{
	const struct nk_sent *sent = bpf_map_lookup_elem(&sent_by_rule, tuple);

	return sent && sent->endpoint_id == endpoint_id &&
	       bpf_ktime_get_coarse_ns() - sent->seen_ns < (tuple->proto == IPPROTO_TCP ? NK_SENT_TCP_NS : NK_SENT_NS);
}

static __noinline int nk_note_sent_by_rule(struct __sk_buff *skb)
{
	const struct nk_endpoint *sender;
	struct nk_ct_tuple tuple;
	__u32 id;

	if (nk_ct_is_reply(skb) || !nk_ct_tuple(skb, NK_CT_BEGINNING, &tuple))
		return 0;
	sender = nk_endpoint(tuple.family, &tuple.saddr);
	if (!sender)
		return 0;
	id = sender->id;
	nk_note_tuple(&tuple, id);
	if (nk_is_inner_bridge(skb->ifindex) && nk_ct_tuple(skb, NK_CT_ANSWERS, &tuple))
		nk_note_tuple(&tuple, id);
	return 0;
}

// `target`: whose address it has.
static __always_inline bool nk_was_sent_by_rule(struct __sk_buff *skb, const struct nk_endpoint *target)
{
	struct nk_ct_tuple tuple;

	return nk_ct_is_reply(skb) && nk_ct_tuple(skb, NK_CT_BEGINNING, &tuple) && nk_was_sent(&tuple, target->id);
}

// Of a packet to the address of this endpoint, whether it is such an answer, or the host's rules have a hand in it
// already (net.bridge.bridge-nf-call-iptables): what they began the stack has to finish. It reads the packet by itself,
// for the caller's stack.
static __noinline bool nk_is_answer_to_rule(struct __sk_buff *skb, enum nk_family family, __u32 endpoint_id)
{
	struct nk_flow6_key key;
	struct nk_ct_tuple answer;
	struct nk_l4 l4;
	struct nk_ip ip;

	if (!nk_is_inner_bridge(skb->ifindex))
		return false;
	if (nk_ct_translated(skb))
		return true;
	if (!nk_parse_ip(skb, family, &ip, &key) || nk_parse_l4(skb, &ip, &l4, &key) != NK_L4_OK)
		return false;
	answer = (struct nk_ct_tuple){
	    .saddr = key.saddr,
	    .sport = key.sport,
	    .family = family,
	    .daddr = key.daddr,
	    .dport = key.dport,
	    .proto = key.proto,
	    .direction = NK_CT_ANSWERS,
	};
	return nk_was_sent(&answer, endpoint_id);
}
