// The host's own flows that leave with a port of the pool, and those of other NATs on it (nftables' masquerade).
//
// A program of the host may bind such a port by its number, and another NAT knows nothing of the pool. What comes back
// to that port must not go to a container that has the same port towards the same remote. So the first packet of such a
// flow that leaves an uplink puts an entry into the flow table, which no container can have then; a container's flow
// that was there is ended: the host comes first. What a socket of the host's has sent needs no entry as long as that is
// there, and would be found when a container's flow begins (host_socket.h). What a container's program has translated
// is told from the host's by a mark (NK_TC_INDEX_TRANSLATED); nothing is noted while a program may run that does not
// set it (nk_node.marking).
//
// The entry is a reverse half with nothing to write, of the endpoint NK_HOST_ID, which has a share of the table like
// any other. It lives as long as nftables' own memory of it would, by packets either way; what comes from outside does
// not change its flags. NK_FLOW_ANSWERED says here that the flow has gone on after its beginning. Or outsiders could
// fill the host's share, an answer to what anybody may send begins no flow (a reset, an ICMP error), or one of
// NK_HOST_ANSWERS_ID (of a service that is published, or bound to a device): of those there are so many, and the oldest
// gives way to the next. A SYN-ACK begins one of NK_HOST_ASKED_ID, of which there are as many; once the host sends
// more, it is one of the others, which nobody drives out by beginning connections.
//
// To a connection that somebody outside begins to a port of the pool where nobody listens, the host answers with a
// reset. That must not leave: such a port may be a container's towards others, and its remote may be trying to connect
// to the port that it sees (RFC 5382, REQ-4).
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/endpoint_drops.h"
#include "lib/nat/flow.h"
#include "lib/nat/flow_ring.h"
#include "lib/nat/flow_share.h"
#include "lib/nat/ports.h"
#include "lib/packet/edit.h"
#include "lib/packet/parse.h"
#include "lib/packet/plain.h"
#include "lib/packet/skb.h"
#include "lib/route/route.h"

// RFC 9293, 3.1
#define NK_TCP_SEQUENCE 4

// How much later than its beginning a packet shows that a flow goes on, of a protocol without connections: as nftables
// has it (net/netfilter/nf_conntrack_proto_udp.c).
#define NK_HOST_FLOW_GOES_ON_NS 2000000000ULL

struct nk_leaving {
	struct nk_flow6_key key; // of what comes back
	__u32 l4_offset;
	__u8 tcp_flags; // SCTP: what is like them
};

// These read with helpers: the host's packets must not become linear for it. False: it is no whole packet or first
// fragment of IP.

static __always_inline bool nk_read_leaving4(struct __sk_buff *skb, __u32 ip_offset, struct nk_leaving *leaving)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, ip_offset, &ip, sizeof(ip)) || ip.frag_off & bpf_htons(NK_IP_OFFSET))
		return false;
	leaving->key.saddr = nk_addr4(ip.daddr);
	leaving->key.daddr = nk_addr4(ip.saddr);
	leaving->key.proto = ip.protocol;
	leaving->l4_offset = ip_offset + ip.ihl * 4;
	return true;
}

// Of extension headers, a fragment's is gone through: no other is before what the host sends from a port.
static __always_inline bool nk_read_leaving6(struct __sk_buff *skb, __u32 ip_offset, struct nk_leaving *leaving)
{
	struct {
		__u8 next;
		__u8 reserved;
		__be16 offset;
		__be32 id;
	} fragment;
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, ip_offset, &ip, sizeof(ip)))
		return false;
	__builtin_memcpy(&leaving->key.saddr, &ip.daddr, sizeof(ip.daddr));
	__builtin_memcpy(&leaving->key.daddr, &ip.saddr, sizeof(ip.saddr));
	leaving->key.proto = ip.nexthdr;
	leaving->l4_offset = ip_offset + sizeof(ip);
	if (ip.nexthdr != IPPROTO_FRAGMENT)
		return true;
	if (bpf_skb_load_bytes(skb, leaving->l4_offset, &fragment, sizeof(fragment)) ||
	    fragment.offset & bpf_htons(NK_IP6_OFFSET))
		return false;
	leaving->key.proto = fragment.next;
	leaving->l4_offset += sizeof(fragment);
	return true;
}

static __always_inline bool nk_read_leaving_echo(struct __sk_buff *skb, enum nk_family family,
						 struct nk_leaving *leaving)
{
	struct nk_icmp_echo echo;

	if (bpf_skb_load_bytes(skb, leaving->l4_offset, &echo, sizeof(echo)) ||
	    echo.type != (family == NK_IPV4 ? NK_ICMP_ECHO : NK_ICMP6_ECHO))
		return false;
	leaving->key.dport = echo.id;
	return true;
}

// The ports, or the id of an echo request; and what the transport header says of a connection. False: there are none.
static __always_inline bool nk_read_leaving_ports(struct __sk_buff *skb, enum nk_family family,
						  struct nk_leaving *leaving)
{
	__u8 proto = leaving->key.proto, chunk;
	__be16 ports[2];

	if (proto == nk_icmp_proto(family))
		return nk_read_leaving_echo(skb, family, leaving);
	if (!nk_has_ports(proto) || bpf_skb_load_bytes(skb, leaving->l4_offset, ports, sizeof(ports)))
		return false;
	leaving->key.dport = ports[0];
	leaving->key.sport = ports[1];
	if (proto == IPPROTO_TCP)
		return !bpf_skb_load_bytes(skb, leaving->l4_offset + NK_TCP_FLAGS, &leaving->tcp_flags,
					   sizeof(leaving->tcp_flags));
	if (proto != IPPROTO_SCTP)
		return true;
	if (bpf_skb_load_bytes(skb, leaving->l4_offset + offsetof(struct nk_sctp, chunk_type), &chunk, sizeof(chunk)))
		return false;
	leaving->tcp_flags = nk_sctp_flags(chunk);
	return true;
}

static __noinline bool nk_read_leaving(struct __sk_buff *skb, enum nk_family family, __u32 ip_offset,
				       struct nk_leaving *leaving)
{
	bool is_read =
	    family == NK_IPV4 ? nk_read_leaving4(skb, ip_offset, leaving) : nk_read_leaving6(skb, ip_offset, leaving);

	leaving->key.direction = NK_FLOW_REVERSE;
	return is_read && nk_read_leaving_ports(skb, family, leaving) && nk_in_pool(leaving->key.dport);
}

static __always_inline bool nk_has_connections(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_SCTP;
}

// The stack's reset in answer to a SYN (RFC 9293, 3.10.7.1): its sequence number is zero.
static __always_inline bool nk_resets_a_beginning(struct __sk_buff *skb, const struct nk_leaving *leaving)
{
	const __u8 flags = NK_TCP_RST | NK_TCP_ACK;
	__be32 sequence;

	return leaving->key.proto == IPPROTO_TCP && (leaving->tcp_flags & flags) == flags &&
	       !bpf_skb_load_bytes(skb, leaving->l4_offset + NK_TCP_SEQUENCE, &sequence, sizeof(sequence)) && !sequence;
}

static __always_inline bool nk_host_flow_goes_on(const struct nk_leaving *leaving, const struct nk_flow *flow,
						 __u64 now_ns)
{
	if (nk_has_connections(leaving->key.proto))
		return !(leaving->tcp_flags & (NK_TCP_SYN | NK_TCP_RST));
	return now_ns - flow->created_ns > NK_HOST_FLOW_GOES_ON_NS;
}

static __always_inline void nk_host_flow_seen(const struct nk_leaving *leaving, struct nk_flow *flow)
{
	__u64 now_ns = bpf_ktime_get_coarse_ns();

	if (nk_is_beginning(leaving->tcp_flags))
		flow->flags = 0; // the ports are used anew
	flow->last_seen_ns = now_ns;
	flow->flags |= nk_flow_flags(leaving->tcp_flags) | (leaving->tcp_flags & NK_TCP_RST ? NK_FLOW_RST : 0) |
		       (nk_host_flow_goes_on(leaving, flow, now_ns) ? NK_FLOW_ANSWERED : 0);
}

// Who sends it.
enum nk_sender {
	NK_SENDER_HOST,
	NK_SENDER_FORWARDED, // by the host, translated perhaps
	NK_SENDER_CONTAINER, // the same, of a container of ours
	NK_SENDER_STRANGER,  // of another netns or a virtual machine, by a device on top of this one (macvlan)
};

static __always_inline enum nk_sender nk_sender(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ingress_ifindex;

	if (nk_is_of_another_stack(skb, node.host_netns_cookie))
		return NK_SENDER_STRANGER;
	// What the host itself sends has a socket, its kernel's or a program's. What has none, and came in by no
	// device, was routed here for a device on top of this one (ipvlan).
	if (!ifindex)
		return skb->sk ? NK_SENDER_HOST : NK_SENDER_STRANGER;
	return ifindex == node.host_device ? NK_SENDER_CONTAINER : NK_SENDER_FORWARDED;
}

// Whether something comes back to the host. Of what it only forwards, only if it has given that an address of its own:
// anybody may send with the host's.
static __always_inline bool nk_leaves_as_host(struct __sk_buff *skb, enum nk_family family, enum nk_sender sender,
					      const struct nk_leaving *leaving)
{
	if (sender == NK_SENDER_HOST || sender == NK_SENDER_STRANGER)
		return sender == NK_SENDER_HOST;
	if (!nk_ct_translates_source(skb))
		return false;
	return nk_ask_way(skb, family, &leaving->key, &leaving->key.daddr) == BPF_FIB_LKUP_RET_NOT_FWDED;
}

// Whether somebody outside began: so says the host's table of connections, a connection whose beginning was not seen to
// leave, and so it may be where a socket for datagrams has no one other end. (Where that is not bound to a device, no
// entry is needed.) What a container has another NAT of the host's send is bounded like that, too.
static __always_inline bool nk_answers_anybody(struct __sk_buff *skb, enum nk_sender sender,
					       const struct nk_leaving *leaving)
{
	struct bpf_sock *socket = skb->sk;

	if (sender == NK_SENDER_CONTAINER || nk_ct_knows(skb))
		return sender == NK_SENDER_CONTAINER || nk_ct_is_reply(skb);
	if (nk_has_connections(leaving->key.proto))
		return !nk_is_beginning(leaving->tcp_flags);
	if (!socket || !nk_has_ports(leaving->key.proto))
		return false;
	socket = bpf_sk_fullsock(socket);
	return socket && socket->protocol == leaving->key.proto && !socket->dst_port;
}

static __always_inline __u32 nk_answer_number(const struct nk_flow *flow)
{
	return flow->container_ifindex;
}

// Makes room for one more; its number, which its entry has in it.
static __noinline __u32 nk_host_answer_begins(enum nk_family family, const struct nk_flow6_key *key, __u32 owner)
{
	__u32 number = 0;
	struct nk_ring_place *place =
	    nk_ring_next(owner == NK_HOST_ASKED_ID ? NK_RING_HOST_ASKED : NK_RING_HOST_ANSWERS, &number);
	enum nk_family former;
	struct nk_flow *flow;

	if (!place)
		return 0;
	former = place->family == NK_IPV6 ? NK_IPV6 : NK_IPV4;
	flow = nk_flow_find(former, &place->key);
	if (flow && flow->endpoint_id == owner && nk_answer_number(flow) == number - NK_RING_SIZE)
		nk_flow_remove_reverse(former, &place->key, owner);
	place->key = *key;
	place->family = family;
	return number;
}

static __noinline int nk_host_flow_end_containers(struct __sk_buff *skb, enum nk_family family,
						  const struct nk_leaving *leaving)
{
	struct nk_flow *flow = nk_flow_of_container(family, &leaving->key);

	if (flow) {
		nk_note_drop(flow->ifindex, NK_DROP_PORT_TAKEN, 0);
		nk_flow_remove(family, &leaving->key, flow);
		nk_count(skb, NK_EVENT_HOST_TOOK_PORT);
	}
	return 0;
}

static __always_inline long nk_host_flow_insert(enum nk_family family, const struct nk_leaving *leaving, __u32 owner,
						__u32 answer_number)
{
	struct nk_flow *value = nk_half_place();

	if (!value)
		return -1;
	__builtin_memset(value, 0, sizeof(*value));
	value->created_ns = bpf_ktime_get_coarse_ns();
	value->endpoint_id = owner;
	value->container_ifindex = answer_number;
	nk_host_flow_seen(leaving, value);
	return nk_flow_insert(family, &leaving->key, value);
}

static __always_inline __u32 nk_host_flow_owner(struct __sk_buff *skb, enum nk_sender sender,
						const struct nk_leaving *leaving)
{
	if (nk_is_second_step(leaving->tcp_flags))
		return NK_HOST_ASKED_ID;
	return nk_answers_anybody(skb, sender, leaving) ? NK_HOST_ANSWERS_ID : NK_HOST_ID;
}

static __noinline int nk_host_flow_begin(struct __sk_buff *skb, enum nk_family family, const struct nk_leaving *leaving,
					 enum nk_sender sender)
{
	__u32 owner = nk_host_flow_owner(skb, sender, leaving);
	__u32 number = owner == NK_HOST_ID ? 0 : nk_host_answer_begins(family, &leaving->key, owner);
	struct nk_flow_counts *counts = nk_flow_counts_of(owner);
	long error = -1;

	if (owner != NK_HOST_ID || nk_flow_may_begin(family, counts, 1))
		error = nk_host_flow_insert(family, leaving, owner, number);
	// A container may have begun one on another CPU since that was looked at; or the host has.
	if (error == -NK_EEXIST) {
		nk_host_flow_end_containers(skb, family, leaving);
		error = nk_host_flow_insert(family, leaving, owner, number);
		if (error == -NK_EEXIST)
			return 0;
	}
	if (error) {
		nk_note_drop(NK_DROPS_OF_HOST, NK_DROP_FLOW_SHARE, 0);
		nk_count(skb, NK_EVENT_HOST_FLOW_REFUSED);
		return 0;
	}
	nk_flow_count_one(family, counts);
	nk_count(skb, NK_EVENT_HOST_FLOW);
	return 0;
}

static __always_inline bool nk_is_only_asked(__u8 tcp_flags, const struct nk_flow *flow)
{
	return flow->endpoint_id == NK_HOST_ASKED_ID && !(tcp_flags & (NK_TCP_SYN | NK_TCP_RST));
}

static __always_inline int nk_host_flow_goes_out(struct __sk_buff *skb, enum nk_family family,
						 const struct nk_leaving *leaving)
{
	struct nk_flow *flow = nk_flow_find(family, &leaving->key);
	bool is_noted = flow && nk_flow_is_hosts(flow);
	bool is_asked = is_noted && nk_is_only_asked(leaving->tcp_flags, flow);
	enum nk_sender sender;

	if (is_noted && !is_asked && !(leaving->tcp_flags & NK_TCP_STATE)) {
		nk_host_flow_seen(leaving, flow);
		return TCX_NEXT;
	}
	sender = nk_sender(skb);
	// (A container of this host's behind an inner bridge just asked the host.)
	if (!is_noted && sender == NK_SENDER_HOST && nk_resets_a_beginning(skb, leaving) &&
	    (flow || !nk_is_inner_bridge(skb->ifindex)))
		return nk_drop(skb, NK_DROP_NO_FLOW);
	if (!(is_noted || node.marking) || !nk_leaves_as_host(skb, family, sender, leaving))
		return TCX_NEXT;
	if (is_asked) {
		// Who began it has gone on, or the host would not: it is noted anew, to last.
		nk_flow_remove_reverse(family, &leaving->key, NK_HOST_ASKED_ID);
		flow = NULL;
	} else if (is_noted) {
		nk_host_flow_seen(leaving, flow);
		return TCX_NEXT;
	}
	// Another NAT's port for a container of ours is that one's problem.
	if (flow && sender == NK_SENDER_CONTAINER)
		return nk_drop(skb, NK_DROP_PORT_TAKEN);
	// To a port that the host serves a container's flow must not lead: whoever connects to it waits for the host.
	if (flow && !(leaving->tcp_flags & NK_TCP_RST))
		nk_host_flow_end_containers(skb, family, leaving);
	if (!(leaving->tcp_flags & NK_TCP_RST) && !nk_has_findable_socket(skb, leaving->key.proto))
		nk_host_flow_begin(skb, family, leaving, sender);
	return TCX_NEXT;
}

// Whether it is a plain packet of a flow of the host's that has been noted; that it went by is noted, too.
static __always_inline bool nk_is_of_noted_host_flow(struct __sk_buff *skb, enum nk_family family, __u32 ip_offset)
{
	const void *ip = (void *)(long)skb->data + ip_offset, *end = (void *)(long)skb->data_end;
	const void *l4 = ip + nk_plain_ip_len(family);
	const struct udphdr *ports = l4;
	struct nk_leaving leaving = {.key.direction = NK_FLOW_REVERSE};
	const struct ipv6hdr *ip6 = ip;
	const struct iphdr *ip4 = ip;
	struct nk_flow *flow;

	// The offset is small; the verifier has to see it.
	if (ip_offset > 2 * ETH_HLEN || (const void *)(ports + 1) > end ||
	    !(family == NK_IPV4 ? nk_is_plain4(ip4) : nk_is_plain6(ip6)))
		return false;
	leaving.key.proto = family == NK_IPV4 ? ip4->protocol : ip6->nexthdr;
	leaving.key.saddr = nk_copy_plain_addr(ip, family, NK_DESTINATION);
	leaving.key.daddr = nk_copy_plain_addr(ip, family, NK_SOURCE);
	leaving.key.sport = ports->dest;
	leaving.key.dport = ports->source;
	if (leaving.key.proto != IPPROTO_TCP && leaving.key.proto != IPPROTO_UDP)
		return false;
	if (leaving.key.proto == IPPROTO_TCP) {
		if (l4 + sizeof(struct tcphdr) > end)
			return false;
		leaving.tcp_flags = ((const __u8 *)l4)[NK_TCP_FLAGS];
		// Who sends it is to be asked.
		if (leaving.tcp_flags & NK_TCP_STATE)
			return false;
	}
	flow = nk_flow_find(family, &leaving.key);
	if (!flow || !nk_flow_is_hosts(flow) || nk_is_only_asked(leaving.tcp_flags, flow))
		return false;
	nk_host_flow_seen(&leaving, flow);
	return true;
}

static __always_inline int nk_host_flow_of(struct __sk_buff *skb, enum nk_family family, __u32 ip_offset)
{
	struct nk_leaving leaving = {};

	if (nk_is_of_noted_host_flow(skb, family, ip_offset) || !nk_read_leaving(skb, family, ip_offset, &leaving))
		return TCX_NEXT;
	return nk_host_flow_goes_out(skb, family, &leaving);
}

// Functions of their own, so that the variables of one don't count for the others' stack.
NK_GLOBAL int nk_host_flow4(struct __sk_buff *skb, __u32 ip_offset)
{
	return nk_host_flow_of(skb, NK_IPV4, ip_offset);
}

NK_GLOBAL int nk_host_flow6(struct __sk_buff *skb, __u32 ip_offset)
{
	return nk_host_flow_of(skb, NK_IPV6, ip_offset);
}

// That a container's program has translated it, or one before on its way through the stack. What the host forwards for
// others may have any mark: it comes through veth and tap as it is.
static __always_inline bool nk_is_translated(struct __sk_buff *skb)
{
	return skb->tc_index == NK_TC_INDEX_TRANSLATED &&
	       (skb->ingress_ifindex == node.host_device || !nk_has_route(skb));
}

// A packet that leaves an uplink with an address that is no container's, untagged but for the tag that skb->vlan_tci
// has: TCX_NEXT, or dropped.
static __always_inline int nk_host_flow(struct __sk_buff *skb, enum nk_family family, __u32 ip_offset)
{
	if (nk_is_translated(skb) || nk_has_vlan(skb))
		return TCX_NEXT;
	// Another masquerade of the host's has given a container's packet an address and a port, which are not ours.
	if (skb->tc_index == NK_TC_INDEX_COPY)
		return nk_drop(skb, NK_EVENT_COPY_ENDED);
	if (skb->tc_index == NK_TC_INDEX_TOO_BIG)
		return nk_drop(skb, NK_DROP_UNTRANSLATED);
	return family == NK_IPV4 ? nk_host_flow4(skb, ip_offset) : nk_host_flow6(skb, ip_offset);
}

// Whether there is nothing more to do, by as little as will do: what a container's program has translated, and most of
// what the host itself sends. That is TCP or UDP from an address that cannot be a container's, and from a port below
// the pool.
static __always_inline bool nk_may_plainly_leave(struct __sk_buff *skb, enum nk_family family, __u32 ip_offset)
{
	const void *ip = (void *)(long)skb->data + ip_offset;
	const struct ipv6hdr *ip6 = ip;
	const struct iphdr *ip4 = ip;
	const struct udphdr *ports = ip + nk_plain_ip_len(family);
	__u8 proto;

	if ((const void *)(ports + 1) > (void *)(long)skb->data_end ||
	    nk_network_around(family, nk_plain_addr(ip, family, NK_SOURCE)))
		return false;
	if (skb->tc_index)
		return nk_is_translated(skb);
	if (family == NK_IPV4 && *(const __u8 *)ip != NK_IP4_PLAIN)
		return false;
	proto = family == NK_IPV4 ? ip4->protocol : ip6->nexthdr;
	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return false;
	return bpf_ntohs(ports->source) < node.port_first;
}
