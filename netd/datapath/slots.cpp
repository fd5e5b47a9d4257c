#include "datapath/slots.h"

#include <algorithm>
#include <utility>

namespace netkitd::datapath {
namespace {

bool is_equal(const nk_addr& one, const nk_addr& other) {
    return std::ranges::equal(one.word, other.word);
}

bool is_free(const nk_network& slot) {
    return slot.prefix.word[0] == NK_NO_PREFIX;
}

// Never true of a free slot.
bool is_same(const nk_network& slot, const nk_network& network) {
    return is_equal(slot.prefix, network.prefix) && is_equal(slot.mask, network.mask);
}

// A free one.
void fill(nk_network& slot, nk_network network) {
    const __be32 first = std::exchange(network.prefix.word[0], NK_NO_PREFIX);
    slot = network;
    publish(slot.prefix.word[0], first);
}

// No packet is masqueraded with a half of an address.
void update(nk_network& slot, const nk_network& network) {
    if (!is_equal(slot.source, network.source)) {
        publish(slot.flags, slot.flags | NK_NETWORK_SOURCE_MISSING);
        slot.source = network.source;
    }
    publish(slot.flags, network.flags);
}

void clear(nk_network& slot) {
    publish(slot.prefix.word[0], static_cast<__be32>(NK_NO_PREFIX));
}

bool is_routed(const nk_network& network) {
    return !(network.flags & NK_NETWORK_MASQUERADE);
}

}  // namespace

void write_networks(std::span<nk_network> slots, std::uint32_t& count, std::uint32_t& routed_count,
                    const std::vector<nk_network>& wanted) {
    const auto find = [&](const nk_network& network) {
        return std::ranges::find_if(slots, [&](const nk_network& slot) { return is_same(slot, network); });
    };
    const auto fill_free_slots = [&] {
        for (const nk_network& network : wanted) {
            const auto free = std::ranges::find_if(slots, is_free);
            if (find(network) == slots.end() && free != slots.end()) {
                fill(*free, network);
                publish(count, std::max(count, static_cast<std::uint32_t>(free - slots.begin()) + 1));
            }
        }
    };
    // At first there are zeros, which are no free slot.
    std::ranges::for_each(slots.subspan(count), clear);
    for (const nk_network& network : wanted) {
        if (const auto slot = find(network); slot != slots.end()) {
            update(*slot, network);
        }
    }
    fill_free_slots();
    for (nk_network& slot : slots) {
        if (std::ranges::none_of(wanted, [&](const nk_network& network) { return is_same(slot, network); })) {
            clear(slot);
        }
    }
    fill_free_slots();
    const auto last = std::ranges::find_if_not(slots.rbegin(), slots.rend(), is_free);
    publish(count, static_cast<std::uint32_t>(slots.rend() - last));
    publish(routed_count, static_cast<std::uint32_t>(std::ranges::count_if(wanted, is_routed)));
}

}  // namespace netkitd::datapath
