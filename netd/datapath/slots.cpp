#include "datapath/slots.h"

#include <algorithm>
#include <utility>

#include "datapath/places.h"

namespace netkitd::datapath {
namespace {

bool is_equal(const nk_addr& one, const nk_addr& other) {
    return std::ranges::equal(one.word, other.word);
}

struct NetworkPlace {
    static bool is_free(const nk_network& place) { return place.prefix.word[0] == NK_NO_PREFIX; }
    static bool is_same(const nk_network& place, const nk_network& network) {
        return is_equal(place.prefix, network.prefix) && is_equal(place.mask, network.mask);
    }
    static void fill(nk_network& place, nk_network network) {
        const __be32 first = std::exchange(network.prefix.word[0], NK_NO_PREFIX);
        place = network;
        publish(place.prefix.word[0], first);
    }
    // No packet is masqueraded with a half of an address.
    static void update(nk_network& place, const nk_network& network) {
        if (!is_equal(place.source, network.source)) {
            publish(place.flags, place.flags | NK_NETWORK_SOURCE_MISSING);
            place.source = network.source;
        }
        publish(place.flags, network.flags);
    }
    static void clear(nk_network& place) { publish(place.prefix.word[0], static_cast<__be32>(NK_NO_PREFIX)); }
};

bool is_routed(const nk_network& network) {
    return !(network.flags & NK_NETWORK_MASQUERADE);
}

}  // namespace

void write_networks(std::span<nk_network> places, std::uint32_t& count, std::uint32_t& routed_count,
                    const std::vector<nk_network>& wanted) {
    write_places<NetworkPlace>(places, count, wanted);
    publish(routed_count, static_cast<std::uint32_t>(std::ranges::count_if(wanted, is_routed)));
}

}  // namespace netkitd::datapath
