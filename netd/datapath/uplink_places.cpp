#include "datapath/uplink_places.h"

#include <algorithm>

#include "datapath/publish.h"

namespace netkitd::datapath {
namespace {

void fill_free_places(std::span<std::uint32_t> places, std::uint32_t& count, const std::vector<std::uint32_t>& wanted) {
    for (const std::uint32_t ifindex : wanted) {
        const auto free = std::ranges::find(places, kNoUplink);
        if (!std::ranges::contains(places, ifindex) && free != places.end()) {
            publish(*free, ifindex);
            publish(count, std::max(count, static_cast<std::uint32_t>(free - places.begin()) + 1));
        }
    }
}

}  // namespace

void write_uplinks(std::span<std::uint32_t> places, std::uint32_t& count, const std::vector<std::uint32_t>& wanted) {
    std::ranges::fill(places.subspan(count), kNoUplink);
    fill_free_places(places, count, wanted);
    for (std::uint32_t& place : places) {
        if (!std::ranges::contains(wanted, place)) {
            publish(place, kNoUplink);
        }
    }
    fill_free_places(places, count, wanted);
    const auto last = std::ranges::find_if_not(places.rbegin(), places.rend(),
                                               [](std::uint32_t place) { return place == kNoUplink; });
    publish(count, static_cast<std::uint32_t>(places.rend() - last));
}

}  // namespace netkitd::datapath
