// Fragments of masqueraded packets, in either direction.
//
// Only the first fragment has the ports. What it was translated to is remembered under what all fragments of its packet
// have in common (RFC 791, 3.2; RFC 8200, 4.5), and the later ones follow it; their checksum is in the first one too. A
// later fragment whose first one was not seen, or that comes before it, is dropped by name if it comes from a
// container, and is the host's if it comes from outside. A first fragment must hold the whole transport header (RFC
// 1858, 3): a container's that does not is dropped.
//
// An IPv4 packet gets an identification of the node's (fragment_id.h). That of IPv6 is 32 bits wide and begins at
// random for each pair of addresses and container (RFC 7739): it is left as it is.
//
// What the host's stack has to fragment (larger than the route's MTU, and without DF) is remembered likewise, and
// handed to it as the container sent it. Its fragments are translated where they leave (uplink.h), and by what is
// remembered here alone: what is not is dropped there.
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/endpoint.h"
#include "lib/host_device.h"
#include "lib/packet/edit.h"
#include "lib/packet/fragment_id.h"
#include "lib/nat/flow.h"
#include "lib/nat/flow_create.h"
#include "lib/nat/flow_reply.h"
#include "lib/packet/parse.h"
#include "lib/packet/rewrite.h"

struct nk_fragment_key {
	struct nk_addr saddr;
	struct nk_addr daddr;
	__u32 id;	 // nk_ip.id
	__u32 direction; // enum nk_flow_direction
};

struct nk_fragmented {
	__u64 seen_ns;	     // the first fragment
	struct nk_addr addr; // to write
	__u32 ifindex;	     // reverse: the container's host end; forward: the uplink that the address is of, or
			     // NK_FRAGMENT_TO_…
	__be16 port;	     // to write into the first fragment, if the stack makes it
	__be16 sport;	     // as the first fragment had them
	__be16 dport;
	__be16 id;	   // to write; IPv4, forward
	__u32 endpoint_id; // forward: whose packet it is
};

// Where the fragments of a container's packet go that leaves by no uplink (inside_flow.h), in place of the uplink: no
// device has such a number.
enum nk_fragment_way {
	NK_FRAGMENT_TO_BACKEND = 1U << 31, // the destination is written
	NK_FRAGMENT_TO_CONTAINER,	   // a client: the source is
	NK_FRAGMENT_TO_PROGRAM,		   // likewise, of the host's
};

// Fragments of one packet travel together: an entry is of use for milliseconds, and is believed for 15 seconds (what
// RFC 791, 3.2 gives a reassembly); then its identification may be another packet's. 8192 is what comes of fragmented
// packets in that time at 550 a second; beyond that, the least recently used are overwritten before they are that old,
// which hurts only where a packet's fragments are that far apart.
#define NK_FRAGMENT_LIFETIME_NS 15000000000ULL

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct nk_fragment_key);
	__type(value, struct nk_fragmented);
} fragments SEC(".maps");

static __always_inline struct nk_fragment_key nk_fragment_key(const struct nk_flow6_key *key, __u32 id)
{
	return (struct nk_fragment_key){
	    .saddr = key->saddr,
	    .daddr = key->daddr,
	    .id = id,
	    .direction = key->direction,
	};
}

// Of a packet from outside, with the first fragment's ports in `flow_key`: that it goes to `addr` by the host's end
// `ifindex`.
static __noinline int nk_fragment_remember_in(const struct nk_flow6_key *flow_key, __u32 id, const struct nk_addr *addr,
					      __u32 ifindex)
{
	struct nk_fragment_key key = nk_fragment_key(flow_key, id);
	struct nk_fragmented value = {
	    .seen_ns = bpf_ktime_get_coarse_ns(),
	    .addr = *addr,
	    .ifindex = ifindex,
	    .sport = flow_key->sport,
	    .dport = flow_key->dport,
	};

	bpf_map_update_elem(&fragments, &key, &value, BPF_ANY);
	return 0;
}

// Of a packet from a container, with the answer in `m`: that it leaves by `uplink`. Returns the identification to write
// (IPv4).
static __noinline __u16 nk_fragment_remember_out(const struct nk_masquerade *m, __u32 id, __u32 uplink)
{
	struct nk_fragment_key key = nk_fragment_key(&m->key, id);
	struct nk_fragmented value = {
	    .seen_ns = bpf_ktime_get_coarse_ns(),
	    .addr = m->addr,
	    .ifindex = uplink,
	    .port = m->port,
	    .sport = m->key.sport,
	    .dport = m->key.dport,
	    .endpoint_id = m->endpoint_id,
	    .id = m->family == NK_IPV4 ? nk_fragment_new_id(m->key.daddr.word[0], m->endpoint_id) : 0,
	};

	bpf_map_update_elem(&fragments, &key, &value, BPF_ANY);
	return value.id;
}

// Not by its key alone: it may be so old that its identification is another packet's.
static __always_inline struct nk_fragmented *nk_fragment_find(const struct nk_fragment_key *key)
{
	struct nk_fragmented *known = bpf_map_lookup_elem(&fragments, key);

	return known && bpf_ktime_get_coarse_ns() - known->seen_ns < NK_FRAGMENT_LIFETIME_NS ? known : NULL;
}

// A first fragment that is not translated: a later one must not follow one of the past with the same identification.
static __noinline void nk_fragment_forget(const struct nk_flow6_key *flow_key, __u32 id)
{
	struct nk_fragment_key key = nk_fragment_key(flow_key, id);

	bpf_map_delete_elem(&fragments, &key);
}

// A later fragment gets the ports of its first one, for the routing decision. False if that was not seen.
static __noinline bool nk_fragment_ports(struct nk_flow6_key *flow_key, __u32 id, __u32 endpoint_id)
{
	struct nk_fragment_key key = nk_fragment_key(flow_key, id);
	struct nk_fragmented *known = nk_fragment_find(&key);

	if (!known || known->endpoint_id != endpoint_id)
		return false;
	flow_key->sport = known->sport;
	flow_key->dport = known->dport;
	return true;
}

// Where a later fragment from outside goes: fills `to`. Copied, since an LRU map's entry may become another's at any
// time.
static __noinline bool nk_fragment_follow_in(struct nk_delivery *to, __u32 id)
{
	struct nk_fragment_key key = nk_fragment_key(&to->key, id);
	struct nk_fragmented *known = nk_fragment_find(&key);

	if (!known)
		return false;
	to->addr = known->addr;
	to->ifindex = known->ifindex;
	return true;
}

// From outside. What is not known may be the host's.
static __always_inline int nk_later_fragment_inbound(struct __sk_buff *skb, const struct nk_ip *ip,
						     const struct nk_flow6_key *key)
{
	struct nk_delivery to = {.key = *key};

	to.key.direction = NK_FLOW_REVERSE;
	if (!nk_fragment_follow_in(&to, ip->id))
		return TCX_NEXT;
	if (ip->ttl <= 1)
		return nk_drop(skb, NK_DROP_TTL);
	if (!nk_rewrite_addr(skb, ip, NK_DESTINATION, &to.addr))
		return nk_drop(skb, NK_DROP_REWRITE_FAILED);
	return bpf_redirect_peer(to.ifindex, 0);
}

// What a later fragment of a container is translated to: fills m->addr, and m->port with the identification. False if
// it cannot leave as the first one did.
static __noinline bool nk_fragment_follow_out(struct __sk_buff *skb, struct nk_masquerade *m, __u32 id,
					      struct nk_route *route)
{
	struct nk_fragment_key key = nk_fragment_key(&m->key, id);
	struct nk_fragmented *known = nk_fragment_find(&key);
	__u32 uplink;

	if (!known || known->endpoint_id != m->endpoint_id)
		return false;
	m->addr = known->addr;
	m->port = known->id;
	uplink = known->ifindex;
	return nk_goes_on(skb, m, route, uplink, &m->addr);
}

// Whether a first fragment is of the packet that was handed over. Another one of the container's with the same
// identification has other ports: it would leave from a port that is another's there, of another container perhaps.
static __always_inline bool nk_is_first_of(struct nk_edit *edit, const struct nk_fragmented *known, __u8 proto,
					   __u32 l4_offset)
{
	if (nk_edit_load(edit, l4_offset + nk_port_offset(proto, NK_SOURCE)) != known->sport)
		return false;
	if (proto == IPPROTO_ICMP)
		return (nk_edit_load(edit, l4_offset) & bpf_htons(0xff00)) == bpf_htons(NK_ICMP_ECHO << 8);
	return nk_edit_load(edit, l4_offset + nk_port_offset(proto, NK_DESTINATION)) == known->dport;
}

// Whether the packet came to the stack from the container that has its source, and that one's program handed it over:
// by netkitd0, where nobody else's packets come in. Anybody whose packets the host forwards can write that address and
// that identification.
static __always_inline bool nk_was_handed_over(struct __sk_buff *skb, const struct nk_fragment_key *key,
					       const struct nk_fragmented *known)
{
	const struct nk_endpoint *source = nk_endpoint(NK_IPV4, &key->saddr);

	return source && nk_comes_from_container(skb) && source->id == known->endpoint_id;
}

// An IPv4 packet or fragment that the host's stack sends with a container's address: if a container's program handed it
// over (and to this uplink), it is translated. Nothing is written directly: that would make the kernel copy the headers
// of every packet of the host's own. `ip_offset`: of its network header; 0 where the uplink has no other.
NK_GLOBAL int nk_fragment_of_stack(struct __sk_buff *skb, __u32 ip_offset)
{
	struct nk_edit edit = {.skb = skb};
	struct nk_fragment_key key = {.direction = NK_FLOW_FORWARD};
	struct nk_fragmented *known;
	struct nk_addr addr;
	__be16 port, id;
	__u32 l4_offset, port_offset;
	__u64 addr_change, port_change;
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, ip_offset, &ip, sizeof(ip)))
		return nk_drop(skb, NK_DROP_UNTRANSLATED);
	key.saddr = nk_addr4(ip.saddr);
	key.daddr = nk_addr4(ip.daddr);
	key.id = nk_fragment_id4(ip.id, ip.protocol);
	known = nk_fragment_find(&key);
	if (!known || known->ifindex != skb->ifindex || !nk_was_handed_over(skb, &key, known))
		return nk_drop(skb, NK_DROP_UNTRANSLATED);
	addr = known->addr;
	port = known->port;
	id = known->id;
	l4_offset = ip_offset + ip.ihl * 4;
	if (!(ip.frag_off & bpf_htons(NK_IP_OFFSET))) {
		if (!nk_is_first_of(&edit, known, ip.protocol, l4_offset))
			return nk_drop(skb, NK_DROP_UNTRANSLATED);
		port_offset = l4_offset + nk_port_offset(ip.protocol, NK_SOURCE);
		port_change = nk_edit_word(&edit, port_offset, port);
		addr_change = nk_csum_change(ip.saddr, addr.word[0]);
		port_change += nk_edit_l4_check(&edit, l4_offset + nk_check_offset(ip.protocol), ip.protocol,
						nk_summed(skb, l4_offset), addr_change, port_change);
		nk_edit_complete(&edit, port_change);
	}
	nk_edit_check(&edit, ip_offset + offsetof(struct iphdr, check),
		      nk_edit_word(&edit, ip_offset + offsetof(struct iphdr, id), id));
	nk_edit_ip(&edit, NK_IPV4, ip_offset, NK_SOURCE, &addr);
	skb->tc_index = NK_TC_INDEX_TRANSLATED; // for the device below this one, which may be an uplink
	return edit.failed ? nk_drop(skb, NK_DROP_UNTRANSLATED) : TCX_NEXT;
}
