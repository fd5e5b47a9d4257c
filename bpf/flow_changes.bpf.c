// What the daemon changes in the flow maps: run by it, attached to nothing. Here because an entry and the count of it
// (lib/nat/flow_share.h) change in one run, however the daemon ends; and because what seemed to be over may have been
// used since: that is looked at once more, with nothing between that look and the removal.
#include "lib/items.h"
#include "lib/nat/flow_share.h"

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

static long nk_remove_one(__u32 index, struct nk_items *items)
{
	struct nk_flow_removal removal;

	if (!nk_read_item(items, index, &removal, sizeof(removal)))
		return 1;
	removal.answer = nk_flow_remove(&removal);
	return !nk_answer_item(items, index, &removal, sizeof(removal));
}

static long nk_insert_one(__u32 index, struct nk_items *items)
{
	struct nk_flow_insertion insertion;
	enum nk_family family;

	if (!nk_read_item(items, index, &insertion, sizeof(insertion)))
		return 1;
	family = insertion.family == NK_IPV6 ? NK_IPV6 : NK_IPV4;
	insertion.answer = -nk_flow_insert(family, &insertion.key, &insertion.value);
	if (!insertion.answer && insertion.key.direction == NK_FLOW_REVERSE)
		nk_flow_count_one(family, insertion.value.endpoint_id);
	return !nk_answer_item(items, index, &insertion, sizeof(insertion));
}

// Each returns how many it has answered.

SEC("tc")
int remove_flows(struct __sk_buff *skb)
{
	struct nk_items items = {.skb = skb};

	bpf_loop(NK_FLOW_REMOVALS, nk_remove_one, &items, 0);
	return items.answered;
}

SEC("tc")
int insert_flows(struct __sk_buff *skb)
{
	struct nk_items items = {.skb = skb};

	bpf_loop(NK_FLOW_INSERTIONS, nk_insert_one, &items, 0);
	return items.answered;
}
