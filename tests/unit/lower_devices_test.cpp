#include "link/lower_devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace netkitd::link {
namespace {

using testing::UnorderedElementsAre;

Device device(std::uint32_t ifindex, std::uint32_t lower = 0, std::uint32_t master = 0) {
    Device result;
    result.ifindex = ifindex;
    result.lower = lower;
    result.master = master;
    return result;
}

// A VLAN (5) on a VLAN (4) on a bond (3) of two cards (1, 2), and a card (6) beside them.
std::vector<Device> host() {
    return {device(1, 0, 3), device(2, 0, 3), device(3), device(4, 3), device(5, 4), device(6)};
}

TEST(LowerDevices, AreAllThatThePacketPasses) {
    EXPECT_THAT(with_lower_devices(host(), {5}, Parts::included), UnorderedElementsAre(1, 2, 3, 4, 5));
    EXPECT_THAT(with_lower_devices(host(), {3, 6}, Parts::included), UnorderedElementsAre(1, 2, 3, 6));
}

TEST(LowerDevices, MayLeaveOutTheParts) {
    EXPECT_THAT(with_lower_devices(host(), {5}, Parts::left_out), UnorderedElementsAre(3, 4, 5));
}

TEST(LowerDevices, MayBeNone) {
    EXPECT_THAT(with_lower_devices(host(), {6, 1}, Parts::included), UnorderedElementsAre(6, 1));
    EXPECT_THAT(with_lower_devices(host(), {}, Parts::included), testing::IsEmpty());
    EXPECT_THAT(with_lower_devices({}, {7}, Parts::included), UnorderedElementsAre(7)) << "it has just vanished";
}

}  // namespace
}  // namespace netkitd::link
