// What a CPU remembers of the flows that keep it busy: a copy of a half in a slot by the packet's ports, which costs a
// comparison where the flow table costs a hash.
//
// A half gets a slot by its packets: where several share one, it takes one that has more of them for some time than the
// others together. Until then, and where it does not, a flow is looked for in the table, as all are whose packets
// change what the flow has seen (SYN, FIN, RST); a connection of a few packets costs no copy. A copy is believed for as
// long as it is current (nk_stamp), and never written through.
//
// A half that is removed from the table is forgotten by all CPUs before its removal is over. Whoever copies one looks
// for it once more afterwards: so either he misses it, or the remover finds the copy. The programs that each start of
// the daemon loads have slots of their own. While some of a daemon before may run, nothing is copied; what those have
// copied is theirs for the rest of the tick, whatever is removed.
#pragma once

#include "lib/base.h"
#include "lib/nat/flow.h"
#include "lib/node.h"
#include "lib/packet/plain.h"

// Of each family and direction; a quarter of a megabyte for each CPU.
#define NK_FLOW_SLOTS 512

// So many more packets than others in its slot, and a half is copied.
#define NK_FLOW_SLOT_PACKETS 4

struct nk_flow_slot {
	struct nk_flow6_key key; // IPv4: of the addresses the first word alone
	__u32 packets;		 // that had those ports, less those that had others; so many at most
	struct nk_flow flow;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4 * NK_FLOW_SLOTS);
	__type(key, __u32);
	__type(value, struct nk_flow_slot);
} flow_slots SEC(".maps");

// Orders all before it before all after it: an atomic operation with a result is a full barrier
// (Documentation/atomic_t.txt, "ORDERING"; a program's becomes the same instruction). `place`: any of this CPU's own.
static __always_inline void nk_full_barrier(__u32 *place)
{
	__u32 value = __sync_fetch_and_or(place, 0);

	barrier_var(value);
}

// By both ports: those of one server have its own in common, and those of one client often the other one.
static __always_inline __u32 nk_flow_slot_index(enum nk_family family, enum nk_flow_direction direction, __be16 sport,
						__be16 dport)
{
	__u32 part = (family == NK_IPV6 ? 2 : 0) + (direction == NK_FLOW_REVERSE ? 1 : 0);

	return part * NK_FLOW_SLOTS + bpf_ntohs(sport ^ dport) % NK_FLOW_SLOTS;
}

// Of this CPU, for the packet's half; NULL cannot be.
static __always_inline struct nk_flow_slot *nk_flow_slot(enum nk_family family, enum nk_flow_direction direction,
							 const struct nk_plain *p)
{
	__u32 index = nk_flow_slot_index(family, direction, p->sport, p->dport);

	return bpf_map_lookup_elem(&flow_slots, &index);
}

static __always_inline bool nk_flow_slot_holds(enum nk_family family, const struct nk_flow_slot *slot,
					       const struct nk_plain *p)
{
	return slot->key.sport == p->sport && slot->key.dport == p->dport && slot->key.proto == p->proto &&
	       nk_addr_equal(family, &slot->key.saddr, nk_plain_addr(p->ip, family, NK_SOURCE)) &&
	       nk_addr_equal(family, &slot->key.daddr, nk_plain_addr(p->ip, family, NK_DESTINATION));
}

// The half that the packet is of, which is current and has nothing to hear of it; NULL: not known here.
static __always_inline const struct nk_flow *nk_flow_remembered(enum nk_family family, const struct nk_flow_slot *slot,
								const struct nk_plain *p, __u32 stamp)
{
	return slot->flow.stamp == stamp && !(p->tcp_flags & NK_TCP_STATE) && nk_flow_slot_holds(family, slot, p)
		   ? &slot->flow
		   : NULL;
}

// Whether the half of this packet, which is not known here, is to be copied if the table has it.
static __always_inline bool nk_flow_may_remember(struct nk_flow_slot *slot, const struct nk_plain *p, __u32 stamp)
{
	if (slot->flow.stamp == stamp || p->tcp_flags & NK_TCP_STATE || !node.marking)
		return false;
	if (slot->key.sport == p->sport && slot->key.dport == p->dport) {
		if (slot->packets < NK_FLOW_SLOT_PACKETS)
			slot->packets++;
		return slot->packets == NK_FLOW_SLOT_PACKETS;
	}
	if (slot->packets) {
		slot->packets--;
	} else {
		slot->flow.stamp = 0;
		slot->key.sport = p->sport;
		slot->key.dport = p->dport;
	}
	return false;
}

static __always_inline void nk_flow_slot_write_key(enum nk_family family, struct nk_flow_slot *slot,
						   const struct nk_plain *p)
{
	slot->key.sport = p->sport;
	slot->key.dport = p->dport;
	slot->key.proto = p->proto;
	if (family == NK_IPV4) {
		slot->key.saddr.word[0] = nk_plain_addr(p->ip, family, NK_SOURCE)->word[0];
		slot->key.daddr.word[0] = nk_plain_addr(p->ip, family, NK_DESTINATION)->word[0];
	} else {
		slot->key.saddr = *nk_plain_addr(p->ip, family, NK_SOURCE);
		slot->key.daddr = *nk_plain_addr(p->ip, family, NK_DESTINATION);
	}
}

// The kernel's largest number of CPUs (arch/x86/Kconfig, NR_CPUS).
#define NK_MAX_CPUS 8192

// The half under `key` was just removed from the table.
static __noinline int nk_flow_forget(enum nk_family family, const struct nk_flow6_key *key)
{
	__u32 index = nk_flow_slot_index(family, key->direction, key->sport, key->dport);
	struct nk_flow_slot *slot;
	int cpu;

	nk_full_barrier(&index);
	bpf_for(cpu, 0, NK_MAX_CPUS)
	{
		slot = bpf_map_lookup_percpu_elem(&flow_slots, &index, cpu);
		if (!slot)
			break;
		if (slot->key.sport == key->sport && slot->key.dport == key->dport && slot->key.proto == key->proto &&
		    nk_addr_equal(family, &slot->key.saddr, &key->saddr) &&
		    nk_addr_equal(family, &slot->key.daddr, &key->daddr))
			slot->flow.stamp = 0;
	}
	return 0;
}
