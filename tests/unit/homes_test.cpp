#include "endpoint/homes.h"

#include <gtest/gtest.h>

#include <set>

namespace netkitd {
namespace {

constexpr PortRange kDefaultPool{};
constexpr std::uint32_t kAll = 256;  // of the default pool

TEST(Homes, EachEndpointHasItsOwnWhileThereAreEnoughAndThenAllAreSharedAlike) {
    Homes homes;
    std::set<std::uint32_t> taken;
    for (std::uint32_t i = 0; i < kAll; ++i) {
        taken.insert(homes.take("container-" + std::to_string(i), kDefaultPool));
    }
    EXPECT_EQ(taken.size(), kAll);
    for (std::uint32_t i = 0; i < kAll; ++i) {
        taken.erase(homes.take("another-" + std::to_string(i), kDefaultPool));
    }
    EXPECT_TRUE(taken.empty());
}

TEST(Homes, WhoStartsAgainGetsTheOneItHad) {
    Homes homes;
    const std::uint32_t home = homes.take("loop", kDefaultPool);
    for (int i = 0; i < 300; ++i) {
        homes.give_back(home);
        ASSERT_EQ(homes.take("loop", kDefaultPool), home);
    }
    homes.give_back(home);
    EXPECT_NE(homes.take("another", kDefaultPool), home) << "it is not clean yet";
}

TEST(Homes, OneThatAnotherHasByNowIsNotTaken) {
    Homes homes;
    const std::uint32_t home = homes.take("web", kDefaultPool);
    homes.give_back(home);
    homes.hold(home, "db");
    EXPECT_NE(homes.take("web", kDefaultPool), home);
}

TEST(Homes, AnybodyElseGetsWhatHasBeenFreeForLongest) {
    Homes homes;
    for (std::uint32_t i = 0; i < kAll; ++i) {
        ASSERT_EQ(homes.take("container-" + std::to_string(i), kDefaultPool), i);
    }
    homes.give_back(9);
    homes.give_back(3);
    homes.give_back(5);
    EXPECT_EQ(homes.take("a", kDefaultPool), 9U);
    EXPECT_EQ(homes.take("b", kDefaultPool), 3U);
    EXPECT_EQ(homes.take("c", kDefaultPool), 5U);
}

// Containers that had theirs of a larger pool.
TEST(Homes, OfAPoolThatShrankThoseThatNobodyHasAreGivenFirst) {
    Homes homes;
    for (std::uint32_t home = 32; home < 40; ++home) {
        homes.hold(home, "before");
    }
    const PortRange small{.first = 50000, .last = 51023};
    for (int i = 0; i < 8; ++i) {
        EXPECT_GE(homes.take("after", small), 8U) << "0 to 7 are those";
    }
    EXPECT_LT(homes.take("after", small), 16U);
}

TEST(Homes, ASmallPoolHasFewAndTheSmallestOneThatAllShare) {
    Homes homes;
    homes.hold(4'000'000'000U, "db");  // of another pool, or a database that somebody wrote
    const PortRange small{.first = 50000, .last = 51023};
    for (int i = 0; i < 100; ++i) {
        EXPECT_LT(homes.take("web", small), 16U);
    }
    EXPECT_EQ(homes.take("web", {.first = 50000, .last = 50000}), 0U);
}

}  // namespace
}  // namespace netkitd
