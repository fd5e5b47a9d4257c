// Identifications of fragmented IPv4 packets.
//
// They are 16 bits wide, and all containers' packets leave with one address: two of them with one identification would
// be mixed at their destination (RFC 6864, 5.3.1), which keeps what is incomplete for half a minute. So a fragmented
// packet gets a new one, of a sequence of the node's own for its destination: others cannot guess it, who would put
// their own fragments into it.
//
// A sequence is divided into blocks, so that no container's packets get what another's had a moment ago, however many
// it sends. A block is a container's until nobody keeps anything of it any more. Whoever has used one up gets another
// while enough are free, and then begins again with its own oldest one: it mixes nobody's packets but its own. Only
// where every block is another's, which takes some twenty containers, the oldest of all changes hands.
#pragma once

#include "lib/base.h"
#include "lib/hash.h"

// Two destinations may share a sequence, and begin at different numbers of it.
#define NK_FRAGMENT_SEQUENCES 256
#define NK_FRAGMENT_BLOCKS 64
#define NK_FRAGMENT_BLOCK_IDS (0x10000 / NK_FRAGMENT_BLOCKS)

// Linux keeps what is incomplete for 30 seconds (include/net/ip.h: IP_FRAG_TIME), others for 15 (RFC 791, 3.2).
#define NK_FRAGMENT_BLOCK_LIFETIME_NS 31000000000ULL

// Whoever has n blocks gets another while more than so many times n are free.
#define NK_FRAGMENT_BLOCKS_LEFT 4

struct nk_fragment_block {
	__u64 seen_ns;	   // when one of its identifications was given last
	__u32 endpoint_id; // whose it is
	__u32 given;	   // how many of its identifications
};

struct nk_fragment_sequence {
	struct nk_fragment_block blocks[NK_FRAGMENT_BLOCKS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NK_FRAGMENT_SEQUENCES);
	__type(key, __u32);
	__type(value, struct nk_fragment_sequence);
} fragment_ids SEC(".maps");

// A search for a block, and what it has found: `free` and `own` mean something if there are any.
struct nk_block_search {
	struct nk_fragment_sequence *sequence;
	__u64 now_ns;
	__u64 own_ns;
	__u64 oldest_ns;
	__u32 endpoint_id;
	__u32 own_count;
	__u32 free_count;
	__u32 own; // the oldest
	__u32 free;
	__u32 oldest; // of all
};

// A callback of bpf_loop.
static long nk_look_at_block(__u32 index, struct nk_block_search *search)
{
	const struct nk_fragment_block *block;

	if (index >= NK_FRAGMENT_BLOCKS)
		return 1;
	block = &search->sequence->blocks[index];
	if (!block->seen_ns || search->now_ns - block->seen_ns > NK_FRAGMENT_BLOCK_LIFETIME_NS) {
		if (!search->free_count++)
			search->free = index;
		return 0;
	}
	if (block->endpoint_id == search->endpoint_id) {
		search->own_count++;
		if (block->seen_ns <= search->own_ns) {
			search->own_ns = block->seen_ns;
			search->own = index;
		}
	}
	if (block->seen_ns <= search->oldest_ns) {
		search->oldest_ns = block->seen_ns;
		search->oldest = index;
	}
	return 0;
}

static __noinline __u32 nk_take_fragment_block(struct nk_fragment_sequence *sequence, __u32 endpoint_id, __u64 now_ns)
{
	struct nk_block_search search = {
	    .sequence = sequence,
	    .now_ns = now_ns,
	    .own_ns = now_ns,
	    .oldest_ns = now_ns,
	    .endpoint_id = endpoint_id,
	};
	struct nk_fragment_block *block;
	__u32 index;

	bpf_loop(NK_FRAGMENT_BLOCKS, nk_look_at_block, &search, 0);
	if (search.free_count > search.own_count * NK_FRAGMENT_BLOCKS_LEFT)
		index = search.free;
	else
		index = search.own_count ? search.own : search.oldest;
	index %= NK_FRAGMENT_BLOCKS;
	block = &sequence->blocks[index];
	block->endpoint_id = endpoint_id;
	block->given = 0;
	return index;
}

// The block that an endpoint takes its identifications from; NK_FRAGMENT_BLOCKS if there is none.
static __always_inline __u32 nk_find_fragment_block(const struct nk_fragment_sequence *sequence, __u32 endpoint_id)
{
	__u32 index;

	for (index = 0; index < NK_FRAGMENT_BLOCKS; index++) {
		const struct nk_fragment_block *block = &sequence->blocks[index];

		if (block->endpoint_id == endpoint_id && block->given < NK_FRAGMENT_BLOCK_IDS)
			break;
	}
	return index;
}

// Judged by the verifier by itself: its loops would be gone through for each way that leads here.
NK_GLOBAL __u16 nk_fragment_new_id(__be32 daddr, __u32 endpoint_id)
{
	__u64 hash = nk_secret_hash(daddr), now_ns = bpf_ktime_get_coarse_ns();
	__u32 slot = hash % NK_FRAGMENT_SEQUENCES, index, given;
	struct nk_fragment_sequence *sequence = bpf_map_lookup_elem(&fragment_ids, &slot);
	struct nk_fragment_block *block;

	if (!sequence)
		return 0;
	index = nk_find_fragment_block(sequence, endpoint_id);
	if (index >= NK_FRAGMENT_BLOCKS)
		index = nk_take_fragment_block(sequence, endpoint_id, now_ns);
	block = &sequence->blocks[index % NK_FRAGMENT_BLOCKS];
	given = __sync_fetch_and_add(&block->given, 1);
	block->seen_ns = now_ns;
	return bpf_htons((hash >> 32) + index * NK_FRAGMENT_BLOCK_IDS + given % NK_FRAGMENT_BLOCK_IDS);
}
