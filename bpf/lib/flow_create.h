// The way out of a masqueraded flow: find its translation, or make one.
#pragma once

#include "base.h"
#include "counters.h"
#include "flow.h"
#include "node.h"

// Cilium's figure too; with half of the pool taken, 32 random tries fail once in 2^32.
#define NK_PORT_TRIES 32

// Who asks for a translation, and the answer.
struct nk_masquerade4 {
	struct nk_flow4_key key; // forward
	__u32 endpoint_id;
	__u32 endpoint_ifindex;
	__u32 uplink;
	__be32 node_addr; // to masquerade with, if the flow is new
	__u8 tcp_flags;
	__be32 addr; // answer: to write as the source
	__be16 port; // answer: to write as the source port, or the echo id
};

enum nk_claim {
	NK_CLAIM_TAKEN,	      // somebody else's
	NK_CLAIM_NEW,	      // ours now: the reverse half was inserted
	NK_CLAIM_ADOPTED,     // was ours already: a half whose other half the LRU evicted
	NK_CLAIM_ESTABLISHED, // was ours already, in the established map
	NK_CLAIM_FAILED,      // the table has no room
};

static __always_inline struct nk_flow nk_flow4_forward_value(const struct nk_masquerade4 *m, __be32 addr, __be16 port)
{
	__u64 now = bpf_ktime_get_coarse_ns();

	return (struct nk_flow){
	    .last_seen_ns = now,
	    .created_ns = now,
	    .addr.word[0] = addr,
	    .port = port,
	    .flags = nk_flow_flags(m->tcp_flags),
	    .ifindex = m->uplink,
	    .endpoint_id = m->endpoint_id,
	};
}

static __always_inline struct nk_flow4_key nk_flow4_reverse_key(const struct nk_masquerade4 *m, __be32 addr,
								__be16 port)
{
	return (struct nk_flow4_key){
	    .saddr = m->key.daddr,
	    .daddr = addr,
	    .sport = m->key.dport,
	    .dport = port,
	    .proto = m->key.proto,
	    .direction = NK_FLOW_REVERSE,
	};
}

// Makes the reverse half that leads from `addr` and `port` back to the container, if nobody else has it.
static __noinline enum nk_claim nk_flow4_claim(struct nk_masquerade4 *m, __be32 addr, __be16 port)
{
	struct nk_flow4_key key = nk_flow4_reverse_key(m, addr, port);
	struct nk_flow *flow = bpf_map_lookup_elem(&flows4, &key);
	struct nk_flow value = {
	    .last_seen_ns = bpf_ktime_get_coarse_ns(),
	    .addr.word[0] = m->key.saddr,
	    .port = m->key.sport,
	    .ifindex = m->endpoint_ifindex,
	    .endpoint_id = m->endpoint_id,
	};
	long error;

	if (flow)
		return nk_flow4_is(flow, m->key.saddr, m->key.sport, m->endpoint_id) ? NK_CLAIM_ESTABLISHED
										     : NK_CLAIM_TAKEN;
	// Looked up before it is inserted: an insertion into an LRU map evicts first and finds the key taken later.
	flow = bpf_map_lookup_elem(&flows4_new, &key);
	if (!flow) {
		value.created_ns = value.last_seen_ns;
		error = bpf_map_update_elem(&flows4_new, &key, &value, BPF_NOEXIST);
		if (!error)
			return NK_CLAIM_NEW;
		if (error != -NK_EEXIST)
			return NK_CLAIM_FAILED;
		flow = bpf_map_lookup_elem(&flows4_new, &key);
	}
	return flow && nk_flow4_is(flow, m->key.saddr, m->key.sport, m->endpoint_id) ? NK_CLAIM_ADOPTED
										     : NK_CLAIM_TAKEN;
}

// Whether a socket of the host would receive what comes back to this port: listening, connected or bound. (The pool is
// reserved against automatic choice; this is about programs that bind a port of it by number.)
static __always_inline bool nk_port_of_host(struct __sk_buff *skb, const struct nk_masquerade4 *m, __be16 port)
{
	struct bpf_sock_tuple tuple = {
	    .ipv4.saddr = m->key.daddr,
	    .ipv4.daddr = m->node_addr,
	    .ipv4.sport = m->key.dport,
	    .ipv4.dport = port,
	};
	struct bpf_sock *socket = NULL;

	if (m->key.proto == IPPROTO_TCP)
		socket = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	else if (m->key.proto == IPPROTO_UDP)
		socket = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return false;
	bpf_sk_release(socket);
	return true;
}

struct nk_port_search {
	struct __sk_buff *skb;
	struct nk_masquerade4 *m;
	__u32 start;
	enum nk_claim claim;
	__be16 port;
};

// The container's own port first. A pool too small for chance is walked instead, so that its last free port is found.
static __always_inline __be16 nk_port_candidate(const struct nk_port_search *search, __u32 attempt)
{
	__be16 wanted = search->m->key.sport;
	__u32 first = node.port_first;
	__u32 size = node.port_last - first + 1;
	__u32 offset = size < NK_PORT_TRIES ? search->start + attempt : bpf_get_prandom_u32();

	if (!attempt && nk_in_pool(wanted))
		return wanted;
	return bpf_htons(first + offset % size);
}

// One try; a callback of bpf_loop: 1 ends the search.
static long nk_port_try(__u32 attempt, struct nk_port_search *search)
{
	__be16 port = nk_port_candidate(search, attempt);

	if (nk_port_of_host(search->skb, search->m, port))
		return 0;
	search->claim = nk_flow4_claim(search->m, search->m->node_addr, port);
	search->port = port;
	return search->claim != NK_CLAIM_TAKEN;
}

// The forward half, when the reverse half is ours. Two packets of one flow may get here at once on two CPUs: the first
// forward half inserted is the flow, and who comes second gives back its own reverse half.
static __always_inline int nk_flow4_insert_forward(struct nk_masquerade4 *m, enum nk_claim claim, __be16 port)
{
	struct nk_flow value = nk_flow4_forward_value(m, m->node_addr, port);
	struct nk_flow4_key reverse = nk_flow4_reverse_key(m, m->node_addr, port);
	void *map = claim == NK_CLAIM_ESTABLISHED ? (void *)&flows4 : (void *)&flows4_new;
	struct nk_flow *winner;
	long error;

	m->addr = m->node_addr;
	m->port = port;
	error = bpf_map_update_elem(map, &m->key, &value, BPF_NOEXIST);
	if (!error)
		return NK_OK;
	winner = error == -NK_EEXIST ? bpf_map_lookup_elem(map, &m->key) : NULL;
	if (winner && nk_flow4_is(winner, m->node_addr, port, m->endpoint_id))
		return NK_OK;
	if (claim == NK_CLAIM_NEW)
		bpf_map_delete_elem(&flows4_new, &reverse);
	if (!winner)
		return NK_DROP_FLOW_TABLE_FULL;
	m->addr = winner->addr.word[0];
	m->port = winner->port;
	return NK_OK;
}

static __noinline int nk_flow4_create(struct __sk_buff *skb, struct nk_masquerade4 *m)
{
	struct nk_port_search search = {.skb = skb, .m = m, .start = bpf_get_prandom_u32()};
	int result;

	if (m->tcp_flags & NK_TCP_RST)
		return NK_DROP_NO_FLOW;
	// An uplink without an address lends one from another device, and that may be a gateway of ours.
	if (!m->node_addr || nk_network4(m->node_addr))
		return NK_DROP_NO_SOURCE;
	if (!node.port_first || node.port_last < node.port_first)
		return NK_DROP_PORTS_EXHAUSTED;
	bpf_loop(NK_PORT_TRIES, nk_port_try, &search, 0);
	if (search.claim == NK_CLAIM_TAKEN)
		return NK_DROP_PORTS_EXHAUSTED;
	if (search.claim == NK_CLAIM_FAILED)
		return NK_DROP_FLOW_TABLE_FULL;
	result = nk_flow4_insert_forward(m, search.claim, search.port);
	if (result == NK_OK && search.claim == NK_CLAIM_NEW) {
		nk_count(skb, NK_EVENT_FLOW_CREATED);
		if (search.port != m->key.sport)
			nk_count(skb, NK_EVENT_PORT_CHANGED);
	}
	return result;
}

static __always_inline bool nk_flow4_use(void *map, struct nk_masquerade4 *m, struct nk_flow *flow)
{
	m->addr = flow->addr.word[0];
	m->port = flow->port;
	nk_flow4_seen(map, &m->key, flow, m->tcp_flags);
	return true;
}

// Whether a flow that was found is still this container's (its address may have a new owner), and still leaves by the
// uplink whose address it has: out of another one, no reply would ever come back.
static __always_inline bool nk_flow4_valid(const struct nk_masquerade4 *m, const struct nk_flow *flow)
{
	return flow->endpoint_id == m->endpoint_id && flow->ifindex == m->uplink;
}

// Removes both halves of a flow that is no longer valid.
static __always_inline void nk_flow4_forget(void *map, const struct nk_flow4_key *key, const struct nk_flow *flow)
{
	struct nk_flow4_key other = nk_flow4_other_key(key, flow);

	bpf_map_delete_elem(map, &other);
	bpf_map_delete_elem(map, key);
}

static __always_inline bool nk_flow4_established(struct nk_masquerade4 *m)
{
	struct nk_flow *flow = bpf_map_lookup_elem(&flows4, &m->key);

	if (!flow)
		return false;
	if (nk_flow4_valid(m, flow))
		return nk_flow4_use(&flows4, m, flow);
	nk_flow4_forget(&flows4, &m->key, flow);
	return false;
}

// A flow without a reply yet. Its reverse half may have been evicted, and the port may have gone to another since.
static __noinline bool nk_flow4_unanswered(struct nk_masquerade4 *m)
{
	struct nk_flow *flow = bpf_map_lookup_elem(&flows4_new, &m->key);
	enum nk_claim claim;

	if (!flow)
		return false;
	if (nk_flow4_valid(m, flow)) {
		claim = nk_flow4_claim(m, flow->addr.word[0], flow->port);
		if (claim != NK_CLAIM_TAKEN && claim != NK_CLAIM_FAILED)
			return nk_flow4_use(&flows4_new, m, flow);
		bpf_map_delete_elem(&flows4_new, &m->key);
		return false;
	}
	nk_flow4_forget(&flows4_new, &m->key, flow);
	return false;
}

// NK_OK with m->addr and m->port set, or the reason to drop.
static __always_inline int nk_flow4_outbound(struct __sk_buff *skb, struct nk_masquerade4 *m)
{
	if (nk_flow4_established(m) || nk_flow4_unanswered(m) || nk_flow4_established(m))
		return NK_OK;
	return nk_flow4_create(skb, m);
}
