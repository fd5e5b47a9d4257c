// Rings of flows that somebody can begin at will: of each kind there are so many at most, and the oldest gives way to
// the latest. So they cost nobody else anything, however many are begun. Of clients that are containers, who it is is
// known: they have rings of their own, smaller ones, by their address (every sixteenth address has the same one).
#pragma once

#include "lib/base.h"

// The kinds: whose flows they are.
enum nk_flow_ring {
	NK_RING_HOST_ANSWERS, // NK_HOST_ANSWERS_ID
	NK_RING_HOST_ASKED,   // NK_HOST_ASKED_ID
	NK_RING_ARRIVALS,     // NK_FLOW_ARRIVING
	NK_RING_HOST_CLIENTS, // the same, NK_FLOW_OF_HOST
	NK_RINGS,
};
#define NK_RING_SIZE 2048
_Static_assert(NK_HOST_ANSWERS == NK_RING_SIZE && NK_ARRIVALS == NK_RING_SIZE, "as the ABI says");

#define NK_INSIDE_RINGS 16

struct nk_ring_place {
	struct nk_flow6_key key; // reverse
	__u32 family;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NK_RINGS *NK_RING_SIZE + NK_INSIDE_RINGS * NK_ARRIVALS_INSIDE);
	__type(key, __u32);
	__type(value, struct nk_ring_place);
} flow_rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NK_RINGS + NK_INSIDE_RINGS);
	__type(key, __u32);
	__type(value, __u32);
} flow_ring_ends SEC(".maps");

// The next place, with whoever had it still in it; its number is in `number`, one more each time. NULL cannot be. (Two
// CPUs at once may get one: then the flow of one of them lives until it is old.)
static __always_inline struct nk_ring_place *nk_ring_next(enum nk_flow_ring ring, __u32 *number)
{
	__u32 which = ring, place;
	__u32 *end = bpf_map_lookup_elem(&flow_ring_ends, &which);

	if (!end)
		return NULL;
	*number = ++*end;
	place = *number % NK_RING_SIZE + ring * NK_RING_SIZE;
	return bpf_map_lookup_elem(&flow_rings, &place);
}

static __always_inline struct nk_ring_place *nk_inside_ring_next(enum nk_family family, const struct nk_addr *client)
{
	__u32 ring = bpf_ntohl(family == NK_IPV4 ? client->word[0] : client->word[3]) % NK_INSIDE_RINGS;
	__u32 which = NK_RINGS + ring, place;
	__u32 *end = bpf_map_lookup_elem(&flow_ring_ends, &which);

	if (!end)
		return NULL;
	place = NK_RINGS * NK_RING_SIZE + ring * NK_ARRIVALS_INSIDE + ++*end % NK_ARRIVALS_INSIDE;
	return bpf_map_lookup_elem(&flow_rings, &place);
}
