#include "datapath/slots.h"

#include <algorithm>
#include <utility>

namespace netkitd::datapath {
namespace {

// `Kind` says what is in the slots:
//   is_free(slot); is_same(slot, entry): whether it is that entry's slot, never true of a free one;
//   fill(slot, entry): takes a free slot; update(slot, entry): what else an entry says that has its slot already;
//   clear(slot): frees it.
template <typename Kind, typename T>
void write_slots(std::span<T> slots, std::uint32_t& count, const std::vector<T>& wanted) {
    const auto find = [&](const T& entry) {
        return std::ranges::find_if(slots, [&](const T& slot) { return Kind::is_same(slot, entry); });
    };
    const auto fill_free_slots = [&] {
        for (const T& entry : wanted) {
            const auto free = std::ranges::find_if(slots, Kind::is_free);
            if (find(entry) == slots.end() && free != slots.end()) {
                Kind::fill(*free, entry);
                publish(count, std::max(count, static_cast<std::uint32_t>(free - slots.begin()) + 1));
            }
        }
    };
    // At first there are zeros, which are no free slot.
    std::ranges::for_each(slots.subspan(count), Kind::clear);
    for (const T& entry : wanted) {
        if (const auto slot = find(entry); slot != slots.end()) {
            Kind::update(*slot, entry);
        }
    }
    fill_free_slots();
    for (T& slot : slots) {
        if (std::ranges::none_of(wanted, [&](const T& entry) { return Kind::is_same(slot, entry); })) {
            Kind::clear(slot);
        }
    }
    fill_free_slots();
    const auto last = std::ranges::find_if_not(slots.rbegin(), slots.rend(), Kind::is_free);
    publish(count, static_cast<std::uint32_t>(slots.rend() - last));
}

bool is_equal(const nk_addr& one, const nk_addr& other) {
    return std::ranges::equal(one.word, other.word);
}

struct NetworkSlot {
    static bool is_free(const nk_network& slot) { return slot.prefix.word[0] == NK_NO_PREFIX; }
    static bool is_same(const nk_network& slot, const nk_network& network) {
        return is_equal(slot.prefix, network.prefix) && is_equal(slot.mask, network.mask);
    }
    static void fill(nk_network& slot, nk_network network) {
        const __be32 first = std::exchange(network.prefix.word[0], NK_NO_PREFIX);
        slot = network;
        publish(slot.prefix.word[0], first);
    }
    // No packet is masqueraded with a half of an address.
    static void update(nk_network& slot, const nk_network& network) {
        if (!is_equal(slot.source, network.source)) {
            publish(slot.flags, slot.flags | NK_NETWORK_SOURCE_MISSING);
            slot.source = network.source;
        }
        publish(slot.flags, network.flags);
    }
    static void clear(nk_network& slot) { publish(slot.prefix.word[0], static_cast<__be32>(NK_NO_PREFIX)); }
};

bool is_routed(const nk_network& network) {
    return !(network.flags & NK_NETWORK_MASQUERADE);
}

struct UplinkSlot {
    static bool is_free(std::uint32_t slot) { return slot == kNoUplink; }
    static bool is_same(std::uint32_t slot, std::uint32_t ifindex) { return slot == ifindex; }
    static void fill(std::uint32_t& slot, std::uint32_t ifindex) { publish(slot, ifindex); }
    static void update(std::uint32_t& /*slot*/, std::uint32_t /*ifindex*/) {}
    static void clear(std::uint32_t& slot) { publish(slot, kNoUplink); }
};

}  // namespace

void write_networks(std::span<nk_network> slots, std::uint32_t& count, std::uint32_t& routed_count,
                    const std::vector<nk_network>& wanted) {
    write_slots<NetworkSlot>(slots, count, wanted);
    publish(routed_count, static_cast<std::uint32_t>(std::ranges::count_if(wanted, is_routed)));
}

void write_uplinks(std::span<std::uint32_t> slots, std::uint32_t& count, const std::vector<std::uint32_t>& wanted) {
    write_slots<UplinkSlot>(slots, count, wanted);
}

}  // namespace netkitd::datapath
