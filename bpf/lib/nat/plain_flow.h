// The flow of a plain packet (lib/packet/plain.h).
#pragma once

#include "lib/base.h"
#include "lib/nat/flow.h"
#include "lib/packet/plain.h"

static __always_inline struct nk_flow6_key nk_plain_key6(const struct nk_plain *p, enum nk_flow_direction direction)
{
	const struct ipv6hdr *ip6 = p->ip;
	struct nk_flow6_key key = {.sport = p->sport, .dport = p->dport, .proto = p->proto, .direction = direction};

	__builtin_memcpy(&key.saddr, &ip6->saddr, sizeof(key.saddr));
	__builtin_memcpy(&key.daddr, &ip6->daddr, sizeof(key.daddr));
	return key;
}

static __always_inline struct nk_flow4_key nk_plain_key4(const struct nk_plain *p, enum nk_flow_direction direction)
{
	const struct iphdr *ip4 = p->ip;

	return (struct nk_flow4_key){
	    .saddr = ip4->saddr,
	    .daddr = ip4->daddr,
	    .sport = p->sport,
	    .dport = p->dport,
	    .proto = p->proto,
	    .direction = direction,
	};
}

static __always_inline struct nk_flow *nk_find_plain(enum nk_family family, const struct nk_plain *p,
						     enum nk_flow_direction direction)
{
	struct nk_flow4_key key4;
	struct nk_flow6_key key6;

	if (family == NK_IPV4) {
		key4 = nk_plain_key4(p, direction);
		return bpf_map_lookup_elem(&flows4, &key4);
	}
	key6 = nk_plain_key6(p, direction);
	return bpf_map_lookup_elem(&flows6, &key6);
}
