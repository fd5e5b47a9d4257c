#include "base/join.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <vector>

namespace netkitd {
namespace {

struct Network {
    std::string name;
    int mtu = 1500;
};

TEST(Join, HasASeparatorBetweenPartsOnly) {
    EXPECT_EQ(join(std::vector<std::string>()), "");
    EXPECT_EQ(join(std::vector<std::string>{"web"}), "web");
    EXPECT_EQ(join(std::array<std::string_view, 3>{"web", "db", "cache"}), "web, db, cache");
    EXPECT_EQ(join(std::array{"web", "db"}, {}, " "), "web db");
}

TEST(Join, TakesTheTextOfEachPartFromAProjection) {
    const std::vector<Network> networks{{.name = "default"}, {.name = "web", .mtu = 1400}};
    EXPECT_EQ(join(networks, &Network::name), "default, web");
    EXPECT_EQ(join(networks, [](const Network& network) { return std::to_string(network.mtu); }, "/"), "1500/1400");
}

TEST(Join, TakesAView) {
    const std::map<std::string, int> ports{{"http", 80}, {"https", 443}};
    EXPECT_EQ(join(ports | std::views::keys), "http, https");
    const auto is_short = [](std::string_view name) { return name.size() < 5; };
    EXPECT_EQ(join(ports | std::views::keys | std::views::filter(is_short)), "http");
    EXPECT_EQ(join(std::views::filter(std::vector<std::string>{"a", "long one", "b"}, is_short)), "a, b");
}

TEST(Join, KeepsAnEmptyPart) {
    EXPECT_EQ(join(std::array{"", "web", ""}), ", web, ");
}

}  // namespace
}  // namespace netkitd
