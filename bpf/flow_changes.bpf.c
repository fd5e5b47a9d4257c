// What the daemon changes in the flow maps: run by it, attached to nothing. Here because an entry and the count of it
// (lib/nat/flow_share.h) change in one run, however the daemon ends; and because what seemed to be over may have been
// used since: that is looked at once more, with nothing between that look and the removal.
#include "lib/nat/flow_share.h"

struct nk_flow_changes {
	struct __sk_buff *skb;
	__u32 done;
};

static __always_inline bool nk_is_still_over(const struct nk_flow_removal *removal, const struct nk_flow *flow,
					     const struct nk_flow *other)
{
	const struct nk_flow *forward = other && removal->key.direction == NK_FLOW_REVERSE ? other : flow;

	return removal->anyway || (forward->last_seen_ns == removal->forward_seen_ns && flow->flags == removal->flags &&
				   !other == !removal->has_other && (!other || other->flags == removal->other_flags));
}

// The other half of the flow whose half `flow` is: what is there may be another's by now. Each half holds the address
// and port that the other one's packets have.
static __always_inline struct nk_flow *nk_flow_other_half(enum nk_family family, const struct nk_flow6_key *key,
							  const struct nk_flow6_key *other_key, __u32 endpoint_id)
{
	bool forward = key->direction == NK_FLOW_FORWARD;
	struct nk_flow *other = nk_flow_find(family, other_key);

	return other && nk_flow_is(family, other, forward ? &key->saddr : &key->daddr,
				   forward ? key->sport : key->dport, endpoint_id)
		   ? other
		   : NULL;
}

static __noinline bool nk_flow_remove(struct nk_flow_removal *removal)
{
	enum nk_family family = removal->family == NK_IPV6 ? NK_IPV6 : NK_IPV4;
	bool is_forward = removal->key.direction == NK_FLOW_FORWARD;
	struct nk_flow *flow = nk_flow_find(family, &removal->key);
	struct nk_flow6_key other_key;
	struct nk_flow *other;
	__u32 endpoint_id;

	if (!flow)
		return false;
	endpoint_id = flow->endpoint_id;
	other_key = nk_flow_other_key(&removal->key, flow);
	other = nk_flow_other_half(family, &removal->key, &other_key, endpoint_id);
	if (!nk_is_still_over(removal, flow, other))
		return false;
	if (is_forward) {
		nk_flow_delete(family, &removal->key);
		if (other)
			nk_flow_remove_reverse(family, &other_key, endpoint_id);
	} else {
		if (other)
			nk_flow_delete(family, &other_key);
		nk_flow_remove_reverse(family, &removal->key, endpoint_id);
	}
	return true;
}

// Callbacks of bpf_loop: 1 ends it.

static long nk_remove_one(__u32 index, struct nk_flow_changes *changes)
{
	__u32 offset = ETH_HLEN + index * sizeof(struct nk_flow_removal);
	struct nk_flow_removal removal;

	if (bpf_skb_load_bytes(changes->skb, offset, &removal, sizeof(removal)))
		return 1;
	removal.answer = nk_flow_remove(&removal);
	if (bpf_skb_store_bytes(changes->skb, offset, &removal, sizeof(removal), 0))
		return 1;
	changes->done = index + 1;
	return 0;
}

static long nk_insert_one(__u32 index, struct nk_flow_changes *changes)
{
	__u32 offset = ETH_HLEN + index * sizeof(struct nk_flow_insertion);
	__u32 value_offset = offset + offsetof(struct nk_flow_insertion, value);
	struct nk_flow *value = nk_half_place();
	struct nk_flow6_key key;
	__u8 family, answer;

	if (!value || bpf_skb_load_bytes(changes->skb, offset, &key, sizeof(key)) ||
	    bpf_skb_load_bytes(changes->skb, offset + offsetof(struct nk_flow_insertion, family), &family,
			       sizeof(family)) ||
	    bpf_skb_load_bytes(changes->skb, value_offset, value, sizeof(*value)))
		return 1;
	family = family == NK_IPV6 ? NK_IPV6 : NK_IPV4;
	answer = -nk_flow_insert(family, &key, value);
	if (!answer && key.direction == NK_FLOW_REVERSE)
		nk_flow_count_one(family, value->endpoint_id);
	if (bpf_skb_store_bytes(changes->skb, offset + offsetof(struct nk_flow_insertion, answer), &answer,
				sizeof(answer), 0))
		return 1;
	changes->done = index + 1;
	return 0;
}

// Both return how many they have answered.

SEC("tc")
int remove_flows(struct __sk_buff *skb)
{
	struct nk_flow_changes changes = {.skb = skb};

	bpf_loop(NK_FLOW_REMOVALS, nk_remove_one, &changes, 0);
	return changes.done;
}

SEC("tc")
int insert_flows(struct __sk_buff *skb)
{
	struct nk_flow_changes changes = {.skb = skb};

	bpf_loop(NK_FLOW_INSERTIONS, nk_insert_one, &changes, 0);
	return changes.done;
}
