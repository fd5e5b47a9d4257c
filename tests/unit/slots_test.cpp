// Networks in the node's configuration: what programs find while they come, change and go.
#include "datapath/slots.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>

#include <array>

namespace netkitd::datapath {
namespace {

using ::testing::ElementsAre;

__be32 address(const char* text) {
    in_addr parsed{};
    EXPECT_EQ(inet_pton(AF_INET, text, &parsed), 1);
    return parsed.s_addr;
}

nk_network network(const char* prefix, std::uint32_t flags = NK_NETWORK_MASQUERADE) {
    nk_network result{};
    result.prefix.word[0] = address(prefix);
    result.mask.word[0] = address("255.255.0.0");
    result.flags = flags;
    return result;
}

class NetworkPlacesTest : public ::testing::Test {
protected:
    void write(const std::vector<nk_network>& wanted) { write_networks(places_, count_, routed_, wanted); }
    // As programs see them: the prefixes of those below the count.
    [[nodiscard]] std::vector<std::uint32_t> seen() const {
        std::vector<std::uint32_t> prefixes;
        for (const nk_network& place : std::span(places_).first(count_)) {
            prefixes.push_back(place.prefix.word[0]);
        }
        return prefixes;
    }

    std::array<nk_network, 3> places_{};
    std::uint32_t count_ = 0;
    std::uint32_t routed_ = 0;
};

TEST_F(NetworkPlacesTest, OneThatStaysKeepsItsPlace) {
    write({network("10.1.0.0"), network("10.2.0.0")});
    write({network("10.3.0.0"), network("10.2.0.0")});
    EXPECT_THAT(seen(), ElementsAre(NK_NO_PREFIX, address("10.2.0.0"), address("10.3.0.0")));
    write({network("10.2.0.0"), network("10.1.0.0")});
    EXPECT_THAT(seen(), ElementsAre(address("10.1.0.0"), address("10.2.0.0")));
    write({});
    EXPECT_THAT(seen(), ElementsAre());
}

TEST_F(NetworkPlacesTest, OneThatChangesIsChangedWhereItIs) {
    write({network("10.1.0.0"), network("10.2.0.0", 0)});
    EXPECT_EQ(routed_, 1U);
    nk_network fixed = network("10.1.0.0", NK_NETWORK_MASQUERADE | NK_NETWORK_FIXED_SOURCE);
    fixed.source.word[0] = address("198.51.100.7");
    write({network("10.2.0.0"), fixed});
    EXPECT_THAT(seen(), ElementsAre(address("10.1.0.0"), address("10.2.0.0")));
    EXPECT_EQ(places_[0].source.word[0], fixed.source.word[0]);
    EXPECT_EQ(places_[0].flags, fixed.flags);
    EXPECT_EQ(places_[1].flags, static_cast<std::uint32_t>(NK_NETWORK_MASQUERADE));
    EXPECT_EQ(routed_, 0U);
}

TEST_F(NetworkPlacesTest, OneOfTheSameAddressAndAnotherLengthIsAnotherOne) {
    write({network("10.1.0.0")});
    nk_network narrower = network("10.1.0.0", 0);
    narrower.mask.word[0] = address("255.255.255.0");
    write({narrower});
    EXPECT_THAT(seen(), ElementsAre(NK_NO_PREFIX, address("10.1.0.0")));
    EXPECT_EQ(places_[1].mask.word[0], narrower.mask.word[0]);
}

}  // namespace
}  // namespace netkitd::datapath
