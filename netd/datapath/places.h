// A row of places in the node's configuration (nk_node: networks, uplinks), of which the first `count` are in use.
//
// Packets look through them while they are written. So what stays keeps its place and is found all the while, a place
// is taken or freed by one store, and what is new comes before what is no more goes, if there is room.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "datapath/publish.h"

namespace netkitd::datapath {

// `Kind` says what is in the places:
//   is_free(place); is_same(place, entry): whether it is that entry's place, never true of a free one;
//   fill(place, entry): takes a free place; update(place, entry): what else an entry says that has its place already;
//   clear(place): frees it.
// At most as many entries are wanted as there are places.
template <typename Kind, typename T>
void write_places(std::span<T> places, std::uint32_t& count, const std::vector<T>& wanted) {
    const auto find = [&](const T& entry) {
        return std::ranges::find_if(places, [&](const T& place) { return Kind::is_same(place, entry); });
    };
    const auto fill_free_places = [&] {
        for (const T& entry : wanted) {
            const auto free = std::ranges::find_if(places, Kind::is_free);
            if (find(entry) == places.end() && free != places.end()) {
                Kind::fill(*free, entry);
                publish(count, std::max(count, static_cast<std::uint32_t>(free - places.begin()) + 1));
            }
        }
    };
    // At first there are zeros, which are no free place.
    std::ranges::for_each(places.subspan(count), Kind::clear);
    for (const T& entry : wanted) {
        if (const auto place = find(entry); place != places.end()) {
            Kind::update(*place, entry);
        }
    }
    fill_free_places();
    for (T& place : places) {
        if (std::ranges::none_of(wanted, [&](const T& entry) { return Kind::is_same(place, entry); })) {
            Kind::clear(place);
        }
    }
    fill_free_places();
    const auto last = std::ranges::find_if_not(places.rbegin(), places.rend(), Kind::is_free);
    publish(count, static_cast<std::uint32_t>(places.rend() - last));
}

}  // namespace netkitd::datapath
