#include "datapath/uplink_places.h"

#include "datapath/places.h"

namespace netkitd::datapath {
namespace {

struct UplinkPlace {
    static bool is_free(std::uint32_t place) { return place == kNoUplink; }
    static bool is_same(std::uint32_t place, std::uint32_t ifindex) { return place == ifindex; }
    static void fill(std::uint32_t& place, std::uint32_t ifindex) { publish(place, ifindex); }
    static void update(std::uint32_t& /*place*/, std::uint32_t /*ifindex*/) {}
    static void clear(std::uint32_t& place) { publish(place, kNoUplink); }
};

}  // namespace

void write_uplinks(std::span<std::uint32_t> places, std::uint32_t& count, const std::vector<std::uint32_t>& wanted) {
    write_places<UplinkPlace>(places, count, wanted);
}

}  // namespace netkitd::datapath
