// Internet checksums, updated incrementally (RFC 1624, equation 3): each changed word adds ~old + new to a wide sum,
// which is folded once at the end. Words are taken as they lie in memory; the sum does not mind byte order (RFC 1071).
#pragma once

#include "lib/base.h"

// include/linux/skbuff.h: CHECKSUM_*, what skb->ip_summed says.
enum nk_summed {
	NK_SUMMED_NONE = 0,
	NK_SUMMED_UNNECESSARY = 1,
	NK_SUMMED_COMPLETE = 2, // skb->csum is the sum of the whole packet: it must follow every change
	NK_SUMMED_PARTIAL = 3,	// the transport's field holds the pseudo header's sum only, uncomplemented
	NK_SUMMED_WRONG,	// ours: the sum would be written where no checksum is
};

static __always_inline __u64 nk_csum_change(__u32 from, __u32 to)
{
	return (__u64)(__u32)~from + to;
}

static __always_inline __u64 nk_csum_change16(__u16 from, __u16 to)
{
	return (__u64)(__u16)~from + to;
}

static __always_inline __u32 nk_csum_fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

// Of a sum below 2^48: the words of one packet's headers.
static __always_inline __u16 nk_csum_fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum + (sum >> 16);
}

static __always_inline void nk_csum_update(__sum16 *check, __u64 change)
{
	*check = ~nk_csum_fold((__u16) ~*check + change);
}
