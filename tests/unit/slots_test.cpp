// Networks and uplinks in the node's configuration: what programs find while they come, change and go.
#include "datapath/slots.h"

#include <gmock/gmock.h>

#include <array>

#include "datapath/address.h"

namespace netkitd::datapath {
namespace {

using ::testing::ElementsAre;

__be32 address(const char* text) {
    return to_nk_addr(IpAddr::parse(text).value()).word[0];
}

nk_network network(const char* prefix, std::uint32_t flags = NK_NETWORK_MASQUERADE) {
    nk_network result{};
    result.prefix.word[0] = address(prefix);
    result.mask.word[0] = address("255.255.0.0");
    result.flags = flags;
    return result;
}

class NetworkSlotsTest : public ::testing::Test {
protected:
    void write(const std::vector<nk_network>& wanted) { write_networks(slots_, count_, routed_, wanted); }
    // As programs see them: the prefixes of those below the count.
    [[nodiscard]] std::vector<std::uint32_t> seen() const {
        std::vector<std::uint32_t> prefixes;
        for (const nk_network& slot : std::span(slots_).first(count_)) {
            prefixes.push_back(slot.prefix.word[0]);
        }
        return prefixes;
    }

    std::array<nk_network, 3> slots_{};
    std::uint32_t count_ = 0;
    std::uint32_t routed_ = 0;
};

TEST_F(NetworkSlotsTest, OneThatStaysKeepsItsSlot) {
    write({network("10.1.0.0"), network("10.2.0.0")});
    write({network("10.3.0.0"), network("10.2.0.0")});
    EXPECT_THAT(seen(), ElementsAre(NK_NO_PREFIX, address("10.2.0.0"), address("10.3.0.0")));
    write({network("10.2.0.0"), network("10.1.0.0")});
    EXPECT_THAT(seen(), ElementsAre(address("10.1.0.0"), address("10.2.0.0")));
    write({});
    EXPECT_THAT(seen(), ElementsAre());
}

TEST_F(NetworkSlotsTest, OneThatChangesIsChangedWhereItIs) {
    write({network("10.1.0.0"), network("10.2.0.0", 0)});
    EXPECT_EQ(routed_, 1U);
    nk_network fixed = network("10.1.0.0", NK_NETWORK_MASQUERADE | NK_NETWORK_FIXED_SOURCE);
    fixed.source.word[0] = address("198.51.100.7");
    write({network("10.2.0.0"), fixed});
    EXPECT_THAT(seen(), ElementsAre(address("10.1.0.0"), address("10.2.0.0")));
    EXPECT_EQ(slots_[0].source.word[0], fixed.source.word[0]);
    EXPECT_EQ(slots_[0].flags, fixed.flags);
    EXPECT_EQ(slots_[1].flags, static_cast<std::uint32_t>(NK_NETWORK_MASQUERADE));
    EXPECT_EQ(routed_, 0U);
}

TEST_F(NetworkSlotsTest, OneOfTheSameAddressAndAnotherLengthIsAnotherOne) {
    write({network("10.1.0.0")});
    nk_network narrower = network("10.1.0.0", 0);
    narrower.mask.word[0] = address("255.255.255.0");
    write({narrower});
    EXPECT_THAT(seen(), ElementsAre(NK_NO_PREFIX, address("10.1.0.0")));
    EXPECT_EQ(slots_[1].mask.word[0], narrower.mask.word[0]);
}

class UplinkSlotsTest : public ::testing::Test {
protected:
    void write(const std::vector<std::uint32_t>& wanted) { write_uplinks(slots_, count_, wanted); }
    // As programs see them: those below the count.
    [[nodiscard]] std::vector<std::uint32_t> seen() const { return {slots_.begin(), slots_.begin() + count_}; }

private:
    std::array<std::uint32_t, 4> slots_{};
    std::uint32_t count_ = 0;
};

TEST_F(UplinkSlotsTest, OneThatStaysKeepsItsSlot) {
    write({5, 7});
    EXPECT_THAT(seen(), ElementsAre(5, 7));
    write({3, 5, 7});
    EXPECT_THAT(seen(), ElementsAre(5, 7, 3));
    write({3, 7});
    EXPECT_THAT(seen(), ElementsAre(kNoUplink, 7, 3));
    write({2, 7});
    EXPECT_THAT(seen(), ElementsAre(2, 7));
}

TEST_F(UplinkSlotsTest, WithoutRoomWhatGoesMakesIt) {
    write({1, 2, 3, 4});
    write({3, 4, 5, 6});
    EXPECT_THAT(seen(), ElementsAre(5, 6, 3, 4));
}

TEST_F(UplinkSlotsTest, AllMayGo) {
    write({1, 2});
    write({});
    EXPECT_THAT(seen(), ElementsAre());
    write({2});
    EXPECT_THAT(seen(), ElementsAre(2));
}

}  // namespace
}  // namespace netkitd::datapath
