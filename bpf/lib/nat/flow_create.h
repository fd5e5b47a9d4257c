// The way out of a masqueraded flow: find its translation, or make one.
//
// A port is claimed by the flow's reverse half, which is inserted first: who has it has the port towards that remote.
#pragma once

#include "lib/base.h"
#include "lib/counters.h"
#include "lib/hash.h"
#include "lib/nat/host_socket.h"
#include "lib/nat/flow.h"
#include "lib/nat/flow_reply.h"
#include "lib/nat/flow_share.h"
#include "lib/nat/frontend.h"
#include "lib/nat/masquerade.h"
#include "lib/route/multipath.h"
#include "lib/node.h"
#include "lib/nat/port_refusals.h"
#include "lib/nat/port_tries.h"
#include "lib/nat/ports.h"
#include "lib/route/route.h"

enum nk_claim {
	NK_CLAIM_TAKEN,	   // somebody else's
	NK_CLAIM_NEW,	   // ours now: the reverse half was inserted
	NK_CLAIM_OWN,	   // was ours already: a half without its other half
	NK_CLAIM_ANSWERED, // the same, and a reply was seen
	NK_CLAIM_FAILED,   // the table has no room
};

// What both halves have in common; NULL cannot be.
static __always_inline struct nk_flow *nk_new_half(const struct nk_masquerade *m)
{
	struct nk_flow *value = nk_half_place();

	if (!value)
		return NULL;
	__builtin_memset(value, 0, sizeof(*value));
	value->last_seen_ns = m->now_ns;
	value->created_ns = m->now_ns;
	value->endpoint_id = m->endpoint_id;
	value->flags = m->flow_flags;
	return value;
}

static __always_inline struct nk_flow6_key nk_flow_reverse_key(const struct nk_masquerade *m,
							       const struct nk_addr *addr, __be16 port)
{
	return (struct nk_flow6_key){
	    .saddr = m->key.daddr,
	    .daddr = *addr,
	    .sport = m->key.dport,
	    .dport = port,
	    .proto = m->key.proto,
	    .direction = NK_FLOW_REVERSE,
	};
}

// Whether this reverse half leads back to the one who asks.
static __always_inline bool nk_flow_is_own(const struct nk_masquerade *m, const struct nk_flow *flow)
{
	return nk_flow_is(m->family, flow, &m->key.saddr, m->key.sport, m->endpoint_id);
}

static __always_inline long nk_flow_insert_claim(const struct nk_masquerade *m, const struct nk_flow6_key *key)
{
	struct nk_flow *value = nk_new_half(m);

	if (!value)
		return -1;
	value->addr = m->key.saddr;
	value->port = m->key.sport;
	value->ifindex = m->endpoint_ifindex;
	value->container_ifindex = m->uplink;
	return nk_flow_insert(m->family, key, value);
}

// Makes the reverse half that leads from `addr` and `port` back to the container, if nobody else has it; who calls
// counts it. `may_begin`: it may be made; else only found.
static __noinline enum nk_claim nk_flow_claim(struct nk_masquerade *m, const struct nk_addr *addr, __be16 port,
					      bool may_begin)
{
	struct nk_flow6_key key = nk_flow_reverse_key(m, addr, port);
	struct nk_flow *flow;
	long error;

	if (may_begin) {
		error = nk_flow_insert_claim(m, &key);
		if (!error)
			return NK_CLAIM_NEW;
		if (error != -NK_EEXIST)
			return NK_CLAIM_FAILED;
	}
	flow = nk_flow_find(m->family, &key);
	if (!flow || !nk_flow_is_own(m, flow))
		return NK_CLAIM_TAKEN;
	flow->container_ifindex = m->uplink;
	// Another attempt after one that was refused.
	if (m->tcp_flags & NK_TCP_SYN) {
		flow->stamp = 0;
		flow->flags = 0;
	}
	return nk_flow_answered(flow) ? NK_CLAIM_ANSWERED : NK_CLAIM_OWN;
}

// Whether a socket of the host would receive what comes back to this port: listening, connected or bound. (The pool is
// reserved against automatic choice; this is about programs that bind a port of it by number.)
static __noinline bool nk_port_of_host(struct __sk_buff *skb, const struct nk_masquerade *m, __be16 port)
{
	return nk_host_has_socket(skb, m->family, m->key.proto, &m->key.daddr, m->key.dport, &m->addr, port);
}

// Whether an endpoint's own flow is as good as over, though it is kept for a while: a name that was told, or a
// connection that both ends have closed.
static __noinline bool nk_flow_is_spent(const struct nk_masquerade *m, const struct nk_flow6_key *key,
					const struct nk_flow *flow)
{
	struct nk_flow6_key other_key;
	struct nk_flow *other;

	if (flow->endpoint_id != m->endpoint_id)
		return false;
	if (key->proto == IPPROTO_UDP)
		return key->sport == bpf_htons(NK_DOMAIN_PORT) && nk_flow_answered(flow);
	if (key->proto != IPPROTO_TCP || !(flow->flags & NK_FLOW_FIN))
		return false;
	other_key = nk_flow_other_key(key, flow);
	other = nk_flow_other_half(m->family, key, &other_key, m->endpoint_id);
	return other && other->flags & NK_FLOW_FIN;
}

// Whether another flow has it: what this says of a port that was tried in vain costs a fraction of another flow.
// `at_home`: the endpoint's own flows that are spent give theirs back, so that whoever has these ports alone can go on.
static __always_inline bool nk_port_is_taken(const struct nk_masquerade *m, __be16 port, bool at_home)
{
	struct nk_flow6_key key = nk_flow_reverse_key(m, &m->addr, port);
	struct nk_flow *flow = nk_flow_find(m->family, &key);

	if (!flow || nk_flow_is_own(m, flow))
		return false;
	if (!at_home || !nk_flow_is_spent(m, &key, flow))
		return true;
	nk_flow_remove(m->family, &key, flow);
	return false;
}

// Whether it is of a connection that somebody outside began and the container has, and not of one that is only asked
// for.
static __always_inline bool nk_is_of_connection(struct __sk_buff *skb, const struct nk_masquerade *m)
{
	return m->key.proto == IPPROTO_TCP && !(m->tcp_flags & (NK_TCP_SYN | NK_TCP_RST)) &&
	       nk_has_findable_socket(skb, IPPROTO_TCP);
}

// What a container sends from a port that is published, and no flow is known of. A connection it may begin like any
// other. All else is of one that somebody outside began, which a flood there has driven out, before the container took
// it up: what is of a connection of the container's, or of no connection at all, leaves from the port by which it is
// known outside; the rest comes back with what the other end sends next. NK_OK, or why not.
static __noinline int nk_check_published(struct __sk_buff *skb, struct nk_masquerade *m)
{
	struct nk_service_key own = {
	    .addr = m->key.saddr, .port = m->key.sport, .proto = m->key.proto, .family = m->family};
	const struct nk_service_key *frontend = bpf_map_lookup_elem(&published_as, &own);

	if (!frontend || nk_is_beginning(m->tcp_flags))
		return NK_OK;
	if (m->key.proto != IPPROTO_UDP && !nk_is_of_connection(skb, m))
		return NK_DROP_NO_FLOW;
	m->published_port = frontend->port;
	m->published_addr = frontend->addr;
	m->flow_flags = m->key.proto == IPPROTO_TCP ? NK_FLOW_INBOUND | NK_FLOW_ANSWERED : 0;
	return NK_OK;
}

// A port can't be changed in a packet whose checksum is a CRC over it. The replies come to the same one then, so that
// it must be of the pool.
static __always_inline bool nk_keeps_port(__u8 proto)
{
	return proto == IPPROTO_SCTP;
}

// The own port, or what stands for it: a port outside the pool (of SIP, or a VPN) has one face to all remotes, where
// that is free (RFC 4787, REQ-1). Then some of the commons (where three of four are taken, one is found all the same,
// as a rule), and at last half of the endpoint's home.
#define NK_HOME_TRIES 8
// From one port of a home to the next, round it: no common divisor with its size.
#define NK_HOME_STRIDE 5

static __always_inline bool nk_is_home_try(const struct nk_pool *pool, __u32 attempt)
{
	return pool->homes && attempt >= NK_PORT_TRIES - NK_HOME_TRIES;
}

struct nk_port_search {
	struct __sk_buff *skb;
	struct nk_masquerade *m;
	bool may_begin;
	enum nk_claim claim;
};

// A pool too small for chance is walked instead, so that its last free port is found.
static __always_inline __be16 nk_port_candidate(const struct nk_masquerade *m, const struct nk_pool *pool,
						__u32 attempt)
{
	__u32 wanted = bpf_ntohs(m->key.sport);

	if (m->published_port)
		return m->published_port;
	if (!attempt && (nk_keeps_port(m->key.proto) || nk_may_have_port(pool, wanted, m->home)))
		return m->key.sport;
	if (!attempt)
		return bpf_htons(pool->first + nk_spread((__u64)m->endpoint_id << 16 | wanted) % pool->commons);
	if (pool->size < NK_PORT_TRIES)
		return bpf_htons(pool->first + (m->start + attempt) % pool->size);
	if (!nk_is_home_try(pool, attempt))
		return bpf_htons(pool->first + bpf_get_prandom_u32() % pool->commons);
	return bpf_htons(nk_home(pool, m->home) + (m->start + attempt * NK_HOME_STRIDE) % NK_HOME_PORTS);
}

// One try: 1 ends the search.
static __noinline long nk_port_try(__u32 attempt, struct nk_port_search *search)
{
	const struct nk_pool pool = nk_pool();
	struct nk_masquerade *m = search->m;

	m->tries = attempt + 1;
	m->port = nk_port_candidate(m, &pool, attempt);
	if (!m->published_port &&
	    (nk_is_published(m->key.proto, m->port) ||
	     ((attempt || m->is_refused) && nk_port_is_taken(m, m->port, nk_is_home_try(&pool, attempt))) ||
	     nk_port_of_host(search->skb, m, m->port)))
		return 0;
	search->claim = nk_flow_claim(m, &m->addr, m->port, search->may_begin);
	return search->claim != NK_CLAIM_TAKEN;
}

// A callback of bpf_loop. The first try was made without it.
static long nk_port_try_again(__u32 index, struct nk_port_search *search)
{
	return nk_port_try(search->m->second + index, search);
}

static __noinline bool nk_flow_has_reverse(const struct nk_masquerade *m)
{
	struct nk_flow6_key reverse = nk_flow_reverse_key(m, &m->addr, m->port);
	struct nk_flow *flow = nk_flow_find(m->family, &reverse);

	return flow && nk_flow_is_own(m, flow);
}

// The host may have taken the port since the reverse half was made (host_flow.h): then nothing may leave from it.
// `place`: where the forward half was put together that was just inserted. Mostly no flow at all was removed meanwhile;
// that says nothing of a half that was there before, and programs of a daemon before this one do not say so.
static __always_inline bool nk_flow_still_has_port(const struct nk_masquerade *m, struct nk_flow *place,
						   enum nk_claim claim)
{
	nk_full_barrier(&place->flags);
	if (claim == NK_CLAIM_NEW && node.marking && nk_flow_removals() == m->removals)
		return true;
	if (nk_flow_has_reverse(m))
		return true;
	nk_flow_delete(m->family, &m->key);
	nk_flow_forget(m->family, &m->key);
	return false;
}

// The forward half, when the reverse half is ours. Two packets of one flow may get here at once on two CPUs: the first
// forward half inserted is the flow, and who comes second gives back its own reverse half.
static __noinline int nk_flow_insert_forward(struct nk_masquerade *m, const struct nk_route *route, enum nk_claim claim)
{
	struct nk_flow *value = nk_new_half(m);
	struct nk_flow *winner;
	long error;

	if (!value)
		return NK_DROP_FLOW_TABLE_FULL;
	nk_route_remember(value, route, m->endpoint_ifindex);
	value->addr = m->addr;
	value->port = m->port;
	value->flags |= nk_flow_flags(m->tcp_flags) | (claim == NK_CLAIM_ANSWERED ? NK_FLOW_ANSWERED : 0) |
			(m->has_witness ? NK_FLOW_WITNESS : 0);
	value->ifindex = route->fib.ifindex;
	error = nk_flow_insert(m->family, &m->key, value);
	if (!error)
		return nk_flow_still_has_port(m, value, claim) ? NK_OK : NK_DROP_NO_FLOW;
	winner = error == -NK_EEXIST ? nk_flow_find(m->family, &m->key) : NULL;
	if (winner && nk_flow_is(m->family, winner, &m->addr, m->port, m->endpoint_id))
		return NK_OK;
	if (claim == NK_CLAIM_NEW) {
		struct nk_flow6_key reverse = nk_flow_reverse_key(m, &m->addr, m->port);

		nk_flow_remove_reverse(m->family, &reverse, m->endpoint_id);
	}
	if (!winner)
		return NK_DROP_FLOW_TABLE_FULL;
	m->addr = winner->addr;
	m->port = winner->port;
	return NK_OK;
}

static __always_inline int nk_refused_claim(const struct nk_port_search *search, bool keeps_port)
{
	if (search->claim == NK_CLAIM_FAILED)
		return NK_DROP_FLOW_TABLE_FULL;
	if (!search->may_begin)
		return NK_DROP_FLOW_SHARE;
	return keeps_port ? NK_DROP_SCTP_PORT : NK_DROP_PORTS_EXHAUSTED;
}

static __always_inline void nk_count_new_flow(struct __sk_buff *skb, const struct nk_port_search *search)
{
	nk_count(skb, NK_EVENT_FLOW_CREATED);
	nk_count_port_tries(search->m->tries);
	if (search->m->port != search->m->key.sport)
		nk_count(skb, NK_EVENT_PORT_CHANGED);
}

static __always_inline void nk_search_port(struct nk_port_search *search)
{
	const struct nk_pool pool = nk_pool();
	struct nk_masquerade *m = search->m;

	if (!m->is_refused)
		m->wish = nk_port_wish(m);
	m->second = pool.homes && m->is_refused ? NK_PORT_TRIES - NK_TRIES_AFTER_REFUSAL : 1;
	bpf_loop(NK_PORT_TRIES - m->second, nk_port_try_again, search, 0);
	if (search->claim == NK_CLAIM_TAKEN)
		nk_note_refusal(m->wish);
}

// Who may not begin a flow pays for one try alone: it may be of a flow of which one half is left.
static __noinline int nk_flow_create(struct __sk_buff *skb, struct nk_masquerade *m, struct nk_route *route)
{
	struct nk_port_search search = {.skb = skb, .m = m};
	struct nk_flow_counts *counts;
	int result;

	if (m->tcp_flags & NK_TCP_RST)
		return NK_DROP_NO_FLOW;
	m->addr =
	    nk_addr_is_unset(m->family, &m->published_addr) ? nk_masquerade_source(skb, m, route) : m->published_addr;
	// Nothing is published at that address, or not any more: a flow like any other, or it would have somebody
	// else's port there. (Of a connection, its other end knows better by which address it is.)
	if (m->published_port &&
	    !nk_is_frontend_of(m->family, &m->addr, m->published_port, m->key.proto, m->endpoint_id)) {
		if (m->flow_flags)
			return NK_DROP_NO_FLOW;
		m->published_port = 0;
		m->addr = nk_masquerade_source(skb, m, route);
	}
	// An uplink without an address lends one from another device, and that may be a gateway of ours.
	if (nk_addr_is_unset(m->family, &m->addr) || nk_network(m->family, &m->addr))
		return NK_DROP_NO_SOURCE;
	if (!node.port_first || node.port_last < node.port_first)
		return NK_DROP_PORTS_EXHAUSTED;
	if (nk_keeps_port(m->key.proto) && !nk_in_pool(m->key.sport))
		return NK_DROP_SCTP_PORT;
	// Not by the time alone: that comes in steps of which a home is a divisor.
	m->start = bpf_ntohs(m->key.sport) + (m->now_ns >> 20);
	m->uplink = route->fib.ifindex;
	m->removals = nk_flow_removals();
	m->has_witness = m->key.proto == IPPROTO_TCP && nk_has_findable_socket(skb, IPPROTO_TCP);
	m->is_refused = nk_is_refused(m);
	counts = nk_flow_counts_of(m->endpoint_id);
	search.may_begin = nk_flow_may_begin(m->family, counts, 1);
	if (!nk_port_try(0, &search) && !nk_keeps_port(m->key.proto) && !m->published_port && search.may_begin)
		nk_search_port(&search);
	if (search.claim == NK_CLAIM_TAKEN || search.claim == NK_CLAIM_FAILED)
		return nk_refused_claim(&search, nk_keeps_port(m->key.proto));
	if (search.claim == NK_CLAIM_NEW)
		nk_flow_count_one(m->family, counts);
	result = nk_flow_insert_forward(m, route, search.claim);
	if (result == NK_OK && search.claim == NK_CLAIM_NEW)
		nk_count_new_flow(skb, &search);
	return result;
}

static __always_inline void nk_flow_use(struct nk_masquerade *m, const struct nk_route *route, struct nk_flow *flow)
{
	m->addr = flow->addr;
	m->port = flow->port;
	flow->ifindex = route->fib.ifindex;
	nk_route_remember(flow, route, m->endpoint_ifindex);
	nk_flow_seen(m->family, &m->key, flow, m->now_ns, m->tcp_flags);
}

// Whether a flow that was found is still this container's (its address may have a new owner), and so is its port, it
// still has a way, and the host still has its address. One that somebody outside began is the container's for as long
// as that has the port, which is to its end.
static __always_inline bool nk_flow_valid(struct __sk_buff *skb, const struct nk_masquerade *m, struct nk_route *route,
					  const struct nk_flow *flow)
{
	if (flow->endpoint_id != m->endpoint_id)
		return false;
	if (nk_flow_is_inbound(flow))
		return true;
	if (nk_is_published_by_another(m->family, &flow->addr, flow->port, m->key.proto, m->endpoint_id))
		return false;
	return nk_goes_on(skb, m, route, flow->ifindex, &flow->addr) &&
	       (nk_is_fixed_source(m, &flow->addr) || nk_may_be_source(skb, m->family, &m->key, route, &flow->addr));
}

// A flow that this container does not go on with. That of one that had its address before may be alive for its other
// end: so its port stays taken until the daemon says otherwise (netd/nat/flow_sweeper.cpp), or its successor could go
// on with it.
static __always_inline void nk_flow_leave(const struct nk_masquerade *m, struct nk_flow *flow)
{
	if (flow->endpoint_id != m->endpoint_id)
		nk_flow_delete(m->family, &m->key);
	else
		nk_flow_remove(m->family, &m->key, flow);
}

// What the container sends on a flow that somebody outside began (arrival.h). Of TCP, an answer does not take it up,
// and of the next packet nothing else is to be found out than that: so it says NK_STAMP_ARRIVING (fast.h). A reset is
// no answer, which the next packet may be.
static __noinline int nk_flow_goes_back(struct __sk_buff *skb, const struct nk_masquerade *m, struct nk_flow *flow)
{
	struct nk_flow6_key reverse_key = nk_flow_other_key(&m->key, flow);
	struct nk_flow *reverse = nk_flow_other_half(m->family, &m->key, &reverse_key, m->endpoint_id);

	if (!reverse)
		return 0;
	if (m->tcp_flags & NK_TCP_RST) {
		flow->stamp = 0;
		return 0;
	}
	nk_flow_answers(flow, reverse);
	if (m->key.proto != IPPROTO_TCP || !(reverse->flags & NK_FLOW_ARRIVING))
		return 0;
	if (!(m->tcp_flags & NK_TCP_SYN) && nk_flow_take_up_by(skb, m->family, reverse, flow))
		return 0;
	flow->stamp &= NK_STAMP_ARRIVING;
	return 0;
}

static __noinline bool nk_flow_known(struct __sk_buff *skb, struct nk_masquerade *m, struct nk_route *route)
{
	struct nk_flow *flow = nk_flow_find(m->family, &m->key);

	if (!flow)
		return false;
	if (!nk_flow_valid(skb, m, route, flow)) {
		nk_flow_leave(m, flow);
		return false;
	}
	nk_flow_use(m, route, flow);
	if (nk_flow_is_inbound(flow)) {
		nk_flow_goes_back(skb, m, flow);
		return true;
	}
	// Used anew, by another socket perhaps.
	if (nk_is_beginning(m->tcp_flags) && nk_has_findable_socket(skb, m->key.proto) && m->key.proto == IPPROTO_TCP)
		__sync_fetch_and_or(&flow->flags, NK_FLOW_WITNESS);
	return true;
}

// NK_OK with m->addr and m->port set, or the reason to drop.
NK_GLOBAL int nk_flow_outbound(struct __sk_buff *skb, struct nk_masquerade *m, struct nk_route *route)
{
	int result;

	if (!m || !route)
		return NK_DROP_ROUTE;
	if (nk_flow_known(skb, m, route))
		return NK_OK;
	m->published_port = 0;
	m->published_addr = (struct nk_addr){};
	m->flow_flags = 0;
	result = m->endpoint_flags & NK_ENDPOINT_PUBLISHED ? nk_check_published(skb, m) : NK_OK;
	return result == NK_OK ? nk_flow_create(skb, m, route) : result;
}
