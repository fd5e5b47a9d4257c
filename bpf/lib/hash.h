// Hashes: one that nobody outside can predict, and a plain one.
#pragma once

#include "lib/base.h"
#include "lib/node.h"

static __always_inline __u64 nk_rotate(__u64 value, __u32 bits)
{
	return value << bits | value >> (64 - bits);
}

struct nk_sip {
	__u64 v0, v1, v2, v3;
};

static __always_inline void nk_sip_round(struct nk_sip *state)
{
	state->v0 += state->v1;
	state->v1 = nk_rotate(state->v1, 13) ^ state->v0;
	state->v0 = nk_rotate(state->v0, 32);
	state->v2 += state->v3;
	state->v3 = nk_rotate(state->v3, 16) ^ state->v2;
	state->v0 += state->v3;
	state->v3 = nk_rotate(state->v3, 21) ^ state->v0;
	state->v2 += state->v1;
	state->v1 = nk_rotate(state->v1, 17) ^ state->v2;
	state->v2 = nk_rotate(state->v2, 32);
}

static __always_inline void nk_sip_word(struct nk_sip *state, __u64 word)
{
	state->v3 ^= word;
	nk_sip_round(state);
	state->v0 ^= word;
}

// SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF") of one word, with the node's secret.
static __always_inline __u64 nk_secret_hash(__u64 word)
{
	const __u64 key0 = (__u64)node.secret[1] << 32 | node.secret[0];
	const __u64 key1 = (__u64)node.secret[3] << 32 | node.secret[2];
	const __u64 size = (__u64)sizeof(word) << 56;
	struct nk_sip state = {
	    .v0 = key0 ^ 0x736f6d6570736575ULL,
	    .v1 = key1 ^ 0x646f72616e646f6dULL,
	    .v2 = key0 ^ 0x6c7967656e657261ULL,
	    .v3 = key1 ^ 0x7465646279746573ULL,
	};

	nk_sip_word(&state, word);
	nk_sip_word(&state, size);
	state.v2 ^= 0xff;
	nk_sip_round(&state);
	nk_sip_round(&state);
	nk_sip_round(&state);
	return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

// The finalizer of MurmurHash3 (Appleby): each bit of the value changes half of the result's.
static __always_inline __u64 nk_mix(__u64 value)
{
	value = (value ^ value >> 33) * 0xff51afd7ed558ccdULL;
	value = (value ^ value >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return value ^ value >> 33;
}

// Fibonacci hashing (Knuth, The Art of Computer Programming, 6.4): what follows each other comes far apart.
static __always_inline __u32 nk_spread(__u64 value)
{
	return value * 0x9e3779b97f4a7c15ULL >> 32;
}
