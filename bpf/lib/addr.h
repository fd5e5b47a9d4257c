// Addresses of either family in one type (abi.h: IPv4 uses the first word).
#pragma once

#include <linux/in.h>

#include "lib/base.h"

static __always_inline struct nk_addr nk_addr4(__be32 addr)
{
	return (struct nk_addr){.word = {addr}};
}

// Words one by one, never in a loop: an index that is not a constant would keep an address from living in registers.
static __always_inline bool nk_addr_equal(enum nk_family family, const struct nk_addr *one, const struct nk_addr *other)
{
	__u32 difference = one->word[0] ^ other->word[0];

	if (family == NK_IPV6)
		difference |=
		    (one->word[1] ^ other->word[1]) | (one->word[2] ^ other->word[2]) | (one->word[3] ^ other->word[3]);
	return !difference;
}

static __always_inline bool nk_addr_is_unset(enum nk_family family, const struct nk_addr *addr)
{
	const struct nk_addr unset = {};

	return nk_addr_equal(family, addr, &unset);
}

// RFC 1122 3.2.1.3, RFC 1112; RFC 4291 2.5.3, 2.5.5: never forwarded. The FIB helper does not know (it would take the
// default route for an IPv4 multicast group), the stack does.
static __always_inline bool nk_never_forwarded(enum nk_family family, const struct nk_addr *addr)
{
	__u32 first = bpf_ntohl(addr->word[0]);

	if (family == NK_IPV4)
		return first >> 24 == 0 || first >> 24 == 127 || first >> 28 == 0xe || first == 0xffffffff;
	return !addr->word[0] && !addr->word[1] && (!addr->word[2] || addr->word[2] == bpf_htonl(0xffff));
}

// RFC 1122 3.2.1.3; RFC 4291 2.5.3, and IPv4's mapped (2.5.5.2). Never on a wire.
static __always_inline bool nk_loopback(enum nk_family family, const struct nk_addr *addr)
{
	if (family == NK_IPV4)
		return bpf_ntohl(addr->word[0]) >> 24 == 127;
	if (addr->word[0] || addr->word[1])
		return false;
	if (addr->word[2] == bpf_htonl(0xffff))
		return bpf_ntohl(addr->word[3]) >> 24 == 127;
	return !addr->word[2] && addr->word[3] == bpf_htonl(1);
}

static __always_inline struct nk_addr nk_loopback_addr(enum nk_family family)
{
	return family == NK_IPV4 ? nk_addr4(bpf_htonl(INADDR_LOOPBACK))
				 : (struct nk_addr){.word = {0, 0, 0, bpf_htonl(1)}};
}

// RFC 4291 2.5.6, 2.7: what an IPv6 stack sends by itself (MLD, router and neighbour solicitations) is between such
// addresses, or from none.
static __always_inline bool nk_link_scope6(const struct nk_addr *addr)
{
	__u32 first = bpf_ntohl(addr->word[0]);

	return first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6;
}
