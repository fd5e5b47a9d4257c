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

static __noinline bool nk_remove_if_over(struct nk_flow_removal *removal)
{
	enum nk_family family = removal->family == NK_IPV6 ? NK_IPV6 : NK_IPV4;
	struct nk_flow *flow = nk_flow_find(family, &removal->key);
	struct nk_flow6_key other_key;

	if (!flow)
		return false;
	other_key = nk_flow_other_key(&removal->key, flow);
	if (!nk_is_still_over(removal, flow, nk_flow_other_half(family, &removal->key, &other_key, flow->endpoint_id)))
		return false;
	nk_flow_remove(family, &removal->key, flow);
	return true;
}

static long nk_remove_one(__u32 index, struct nk_items *items)
{
	struct nk_flow_removal removal;

	if (!nk_read_item(items, index, &removal, sizeof(removal)))
		return 1;
	removal.answer = nk_remove_if_over(&removal);
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
	if (!insertion.answer && insertion.key.direction == NK_FLOW_REVERSE &&
	    !(insertion.value.flags & NK_FLOW_ARRIVING))
		nk_flow_count_one(family, nk_flow_counts_of(insertion.value.endpoint_id));
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
