// Uplinks in the node's configuration: what programs find while they come and go.
#include "datapath/uplink_places.h"

#include <gmock/gmock.h>

#include <array>

namespace netkitd::datapath {
namespace {

using ::testing::ElementsAre;

class UplinkPlacesTest : public ::testing::Test {
protected:
    void write(const std::vector<std::uint32_t>& wanted) { write_uplinks(places_, count_, wanted); }
    // As programs see them: those below the count.
    [[nodiscard]] std::vector<std::uint32_t> seen() const { return {places_.begin(), places_.begin() + count_}; }

private:
    std::array<std::uint32_t, 4> places_{};
    std::uint32_t count_ = 0;
};

TEST_F(UplinkPlacesTest, OneThatStaysKeepsItsPlace) {
    write({5, 7});
    EXPECT_THAT(seen(), ElementsAre(5, 7));
    write({3, 5, 7});
    EXPECT_THAT(seen(), ElementsAre(5, 7, 3));
    write({3, 7});
    EXPECT_THAT(seen(), ElementsAre(kNoUplink, 7, 3));
    write({2, 7});
    EXPECT_THAT(seen(), ElementsAre(2, 7));
}

TEST_F(UplinkPlacesTest, WithoutRoomWhatGoesMakesIt) {
    write({1, 2, 3, 4});
    write({3, 4, 5, 6});
    EXPECT_THAT(seen(), ElementsAre(5, 6, 3, 4));
}

TEST_F(UplinkPlacesTest, AllMayGo) {
    write({1, 2});
    write({});
    EXPECT_THAT(seen(), ElementsAre());
    write({2});
    EXPECT_THAT(seen(), ElementsAre(2));
}

}  // namespace
}  // namespace netkitd::datapath
