// Networks in the node's configuration: what programs find while they come, change and go.
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

TEST_F(NetworkSlotsTest, WithoutRoomWhatGoesMakesIt) {
    write({network("10.1.0.0"), network("10.2.0.0"), network("10.3.0.0")});
    write({network("10.3.0.0"), network("10.4.0.0"), network("10.5.0.0")});
    EXPECT_THAT(seen(), ElementsAre(address("10.4.0.0"), address("10.5.0.0"), address("10.3.0.0")));
}

}  // namespace
}  // namespace netkitd::datapath
