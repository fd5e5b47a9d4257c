// Which searches for a port were in vain a moment ago, so that whoever goes on asking for one that is not to be had
// costs no more than whoever gets one: for the rest of the tick (nk_stamp) he gets a few tries alone, at home.
#pragma once

#include "lib/base.h"
#include "lib/hash.h"
#include "lib/nat/masquerade.h"
#include "lib/node.h"

#define NK_PORT_REFUSALS 256
#define NK_TRIES_AFTER_REFUSAL 3

// The wish that was refused last, of those that share a slot.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NK_PORT_REFUSALS);
	__type(key, __u32);
	__type(value, __u64);
} port_refusals SEC(".maps");

// Who wants a port towards what, at this tick, as one number: two with the same one are no worse off than by a search
// that finds nothing.
static __always_inline __u64 nk_port_wish(const struct nk_masquerade *m)
{
	__u64 who = (__u64)m->endpoint_id << 32 | (__u32)m->key.dport << 8 | m->key.proto;
	__u64 remote = ((__u64)m->key.daddr.word[0] << 32 | m->key.daddr.word[3]) ^
		       ((__u64)m->key.daddr.word[1] << 32 | m->key.daddr.word[2]) << 1;

	return nk_mix(nk_mix(nk_mix(who) ^ remote) ^ nk_stamp());
}

static __always_inline __u64 *nk_port_refusal(__u64 wish)
{
	__u32 slot = wish % NK_PORT_REFUSALS;

	return bpf_map_lookup_elem(&port_refusals, &slot);
}

// Of the last refusal: mostly there was none at this tick, and nothing has to be looked for.
__u32 port_refused_stamp;

// Whether a search for what this packet wants was in vain at this tick; then m->wish is set.
static __always_inline bool nk_is_refused(struct nk_masquerade *m)
{
	const __u64 *refused;

	if (*(volatile __u32 *)&port_refused_stamp != nk_stamp())
		return false;
	m->wish = nk_port_wish(m);
	refused = nk_port_refusal(m->wish);
	return refused && *refused == m->wish;
}

static __always_inline void nk_note_refusal(__u64 wish)
{
	__u64 *refused = nk_port_refusal(wish);

	if (!refused)
		return;
	*refused = wish;
	port_refused_stamp = nk_stamp();
}
