// The node's configuration, written by the daemon at run time through the skeleton's mapping of `.data.node`.
//
// The daemon may change it under running programs: each look at it must be right by itself. A network keeps its place
// as long as it is there; a place is filled before it can be found (its prefix' first word, or the count, comes last).
#pragma once

#include "lib/addr.h"
#include "lib/base.h"
#include "lib/host_prefixes.h"

volatile struct nk_node node SEC(".data.node");

static __always_inline const volatile struct nk_network *nk_network_at(enum nk_family family, __u32 index)
{
	return family == NK_IPV4 ? &node.network4[index] : &node.network6[index];
}

static __always_inline bool nk_network_holds(enum nk_family family, const volatile struct nk_network *network,
					     const struct nk_addr *addr)
{
	if ((addr->word[0] & network->mask.word[0]) != network->prefix.word[0])
		return false;
	return family == NK_IPV4 || ((addr->word[1] & network->mask.word[1]) == network->prefix.word[1] &&
				     (addr->word[2] & network->mask.word[2]) == network->prefix.word[2] &&
				     (addr->word[3] & network->mask.word[3]) == network->prefix.word[3]);
}

// What a flow remembers is good while this is what it was: it is another one every 256 jiffies (a quarter of a second
// to two and a half, by the kernel's HZ), so that a change takes effect soon even while no daemon runs, and at once
// when the daemon says so. Comes again after 2^20 of either. Never 0, and odd.
static __always_inline __u32 nk_stamp(void)
{
	return ((__u32)(bpf_jiffies64() >> 8) + (node.route_generation << 20)) << 1 | 1;
}

static __always_inline bool nk_has_host_prefixes(enum nk_family family)
{
	return family == NK_IPV4 ? node.host_prefix4_count : node.host_prefix6_count;
}

// Whether an address in a network's prefix is the host's nevertheless. Of IPv4, its first word alone may be read.
static __always_inline bool nk_is_hosts(enum nk_family family, const struct nk_addr *addr)
{
	return nk_has_host_prefixes(family) && nk_find_host_prefix(family, addr);
}

static __always_inline const volatile struct nk_network *nk_network_by_index(enum nk_family family, __u32 index)
{
	const volatile struct nk_network *network = NULL;

	// The compiler would compare this again where the pointer is asked, or after it went into that; the verifier
	// forgets that they belong together.
	if (index < NK_MAX_NETWORKS) {
		barrier_var(index);
		network = nk_network_at(family, index & (NK_MAX_NETWORKS - 1));
	}
	barrier_var(network);
	return network;
}

// Which network's prefix holds `addr`, but for the first one's; -1: none.
static __always_inline int nk_find_other_prefix(enum nk_family family, const struct nk_addr *addr)
{
	__u32 count = family == NK_IPV4 ? node.network4_count : node.network6_count;

	for (__u32 i = 1; i < NK_MAX_NETWORKS && i < count; i++) {
		if (nk_network_holds(family, nk_network_at(family, i), addr))
			return i;
	}
	return -1;
}

// Functions that the verifier judges by themselves, so that neither they nor what comes after is gone through once for
// each network and each way that leads here.
NK_GLOBAL int nk_find_other_prefix4(__be32 addr)
{
	const struct nk_addr copy = nk_addr4(addr);

	return nk_find_other_prefix(NK_IPV4, &copy);
}

NK_GLOBAL int nk_find_other_prefix6(const struct nk_addr *addr)
{
	return addr ? nk_find_other_prefix(NK_IPV6, addr) : -1;
}

static __always_inline bool nk_is_in_first(enum nk_family family, const struct nk_addr *addr)
{
	return (family == NK_IPV4 ? node.network4_count : node.network6_count) &&
	       nk_network_holds(family, nk_network_at(family, 0), addr);
}

// Most nodes have one network: there it does not pay for a call.
static __always_inline int nk_other_prefix_index(enum nk_family family, const struct nk_addr *addr)
{
	if ((family == NK_IPV4 ? node.network4_count : node.network6_count) <= 1)
		return -1;
	return family == NK_IPV4 ? nk_find_other_prefix4(addr->word[0]) : nk_find_other_prefix6(addr);
}

// The network whose prefix holds `addr`, or NULL. The address may be the host's nevertheless. It may be in a packet.
static __always_inline const volatile struct nk_network *nk_network_around(enum nk_family family,
									   const struct nk_addr *addr)
{
	return nk_is_in_first(family, addr) ? nk_network_at(family, 0)
					    : nk_network_by_index(family, nk_other_prefix_index(family, addr));
}

// The network that `addr` is of, or NULL.
static __always_inline const volatile struct nk_network *nk_network(enum nk_family family, const struct nk_addr *addr)
{
	const volatile struct nk_network *network = nk_network_around(family, addr);

	return network && nk_is_hosts(family, addr) ? NULL : network;
}

// The same, for where much follows. -1: none.
NK_GLOBAL int nk_network_index(int family, const struct nk_addr *addr)
{
	int index;

	if (!addr)
		return -1;
	index = nk_is_in_first(family, addr) ? 0 : nk_other_prefix_index(family, addr);
	return index >= 0 && nk_is_hosts(family, addr) ? -1 : index;
}

static __always_inline const volatile struct nk_network *nk_network_of(enum nk_family family,
								       const struct nk_addr *addr)
{
	return nk_network_by_index(family, nk_network_index(family, addr));
}

static __always_inline struct nk_addr nk_network_addr(const volatile struct nk_addr *addr)
{
	return (struct nk_addr){.word = {addr->word[0], addr->word[1], addr->word[2], addr->word[3]}};
}

// An address that nobody outside has: a container's (whoever uses it wants to be taken for one), or none at all.
static __always_inline bool nk_is_inside_source(enum nk_family family, const struct nk_addr *saddr)
{
	return nk_network_of(family, saddr) || nk_never_forwarded(family, saddr) ||
	       (family == NK_IPV6 && nk_link_scope6(saddr));
}

static __always_inline bool nk_is_gateway(enum nk_family family, const volatile struct nk_network *network,
					  const struct nk_addr *addr)
{
	const struct nk_addr gateway = nk_network_addr(&network->gateway);

	return nk_addr_equal(family, addr, &gateway);
}

static __always_inline bool nk_masqueraded(const volatile struct nk_network *network)
{
	return network->flags & NK_NETWORK_MASQUERADE;
}

static __always_inline bool nk_has_routed_network(enum nk_family family)
{
	return family == NK_IPV4 ? node.routed4_count : node.routed6_count;
}

// Whether nothing may pass between a container with the address `saddr` and this network. Of a network that is not
// known (a configuration that the programs have not seen yet), nothing may.
static __always_inline bool nk_isolated(enum nk_family family, const volatile struct nk_network *network,
					const struct nk_addr *saddr)
{
	const volatile struct nk_network *own;

	if (nk_network_holds(family, network, saddr))
		return false;
	own = nk_network_of(family, saddr);
	return !own || ((own->flags | network->flags) & NK_NETWORK_ISOLATED);
}
