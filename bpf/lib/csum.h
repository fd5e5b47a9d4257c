// The IPv4 header checksum, updated incrementally (RFC 1624, equation 3).
//
// Writing the header and its checksum directly keeps skb->csum right too: the header sums to zero before and after.
#pragma once

#include "base.h"

static __always_inline __u16 nk_csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline void nk_csum_replace2(__sum16 *check, __be16 from, __be16 to)
{
	*check = ~nk_csum_fold((__u16) ~*check + (__u16)~from + to);
}

static __always_inline void nk_csum_replace4(__sum16 *check, __be32 from, __be32 to)
{
	nk_csum_replace2(check, from & 0xffff, to & 0xffff);
	nk_csum_replace2(check, from >> 16, to >> 16);
}
