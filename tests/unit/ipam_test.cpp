#include "endpoint/ipam.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace netkitd {
namespace {

using testing::AllOf;
using testing::HasSubstr;

IpAddr address(const char* text) {
    return *IpAddr::parse(text);
}

// A network whose gateway is the first address.
AddressPool pool(const char* prefix, const char* gateway) {
    return {*IpPrefix::parse(prefix), {address(gateway)}};
}

std::string next(AddressPool& addresses) {
    const auto result = addresses.allocate();
    return result ? result->to_string() : result.error().message();
}

TEST(AddressPool, GivesAddressesInOrderAfterTheGateway) {
    AddressPool addresses = pool("10.77.0.0/16", "10.77.0.1");
    EXPECT_EQ(next(addresses), "10.77.0.2");
    EXPECT_EQ(next(addresses), "10.77.0.3");
    EXPECT_EQ(addresses.in_use(), 2U);
    EXPECT_EQ(addresses.capacity(), 65536U - 3);
}

TEST(AddressPool, SaysWhenNothingIsLeft) {
    AddressPool addresses = pool("10.77.0.0/29", "10.77.0.1");
    EXPECT_EQ(addresses.capacity(), 5U);
    for (const char* expected : {"10.77.0.2", "10.77.0.3", "10.77.0.4", "10.77.0.5", "10.77.0.6"}) {
        EXPECT_EQ(next(addresses), expected);
    }
    const auto result = addresses.allocate();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind(), ErrorKind::exhausted);
    EXPECT_THAT(result.error().message(), AllOf(HasSubstr("10.77.0.0/29"), HasSubstr("all 5 are in use")));
}

TEST(AddressPool, AFreedAddressRestsWhileOthersAreLeft) {
    AddressPool addresses = pool("10.77.0.0/29", "10.77.0.1");
    EXPECT_EQ(next(addresses), "10.77.0.2");
    addresses.release(address("10.77.0.2"));
    for (const char* expected : {"10.77.0.3", "10.77.0.4", "10.77.0.5", "10.77.0.6"}) {
        EXPECT_EQ(next(addresses), expected);
    }
    EXPECT_EQ(next(addresses), "10.77.0.2");
}

TEST(AddressPool, TheLeastRecentlyFreedIsReusedFirst) {
    AddressPool addresses = pool("10.77.0.0/29", "10.77.0.1");
    while (addresses.allocate()) {
    }
    for (const char* freed : {"10.77.0.5", "10.77.0.2", "10.77.0.6"}) {
        addresses.release(address(freed));
    }
    EXPECT_EQ(next(addresses), "10.77.0.5");
    addresses.release(address("10.77.0.5"));
    EXPECT_EQ(next(addresses), "10.77.0.2");
    EXPECT_EQ(next(addresses), "10.77.0.6");
    EXPECT_EQ(next(addresses), "10.77.0.5");
}

TEST(AddressPool, AStaticAddressIsKeptOutOfTheOrder) {
    AddressPool addresses = pool("10.77.0.0/16", "10.77.0.1");
    ASSERT_TRUE(addresses.reserve(address("10.77.0.2")));
    EXPECT_EQ(next(addresses), "10.77.0.3");
    addresses.release(address("10.77.0.2"));
    EXPECT_EQ(next(addresses), "10.77.0.4");
}

TEST(AddressPool, AReleasedStaticAddressAheadOfTheOrderRestsToo) {
    AddressPool addresses = pool("10.77.0.0/29", "10.77.0.1");
    ASSERT_TRUE(addresses.reserve(address("10.77.0.3")));
    addresses.release(address("10.77.0.3"));
    for (const char* expected : {"10.77.0.2", "10.77.0.4", "10.77.0.5", "10.77.0.6", "10.77.0.3"}) {
        EXPECT_EQ(next(addresses), expected);
    }
}

TEST(AddressPool, TheOwnerMayTakeAFreedAddressBackAtOnce) {
    AddressPool addresses = pool("10.77.0.0/29", "10.77.0.1");
    ASSERT_TRUE(addresses.reserve(address("10.77.0.6")));
    addresses.release(address("10.77.0.6"));
    ASSERT_TRUE(addresses.reserve(address("10.77.0.6")));
    for (int i = 0; i < 4; ++i) {
        EXPECT_NE(next(addresses), "10.77.0.6");
    }
    EXPECT_FALSE(addresses.allocate());
}

TEST(AddressPool, RefusesAStaticAddressThatCannotBeHad) {
    AddressPool addresses = pool("10.77.0.0/24", "10.77.0.1");
    ASSERT_TRUE(addresses.reserve(address("10.77.0.9")));
    const auto taken = addresses.reserve(address("10.77.0.9"));
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().kind(), ErrorKind::refused);
    EXPECT_THAT(taken.error().message(), HasSubstr("10.77.0.9 is in use"));

    for (const char* text : {"10.77.0.0", "10.77.0.1", "10.77.0.255", "10.77.1.2", "fd77::2"}) {
        const auto result = addresses.reserve(address(text));
        ASSERT_FALSE(result) << text;
        EXPECT_EQ(result.error().kind(), ErrorKind::invalid) << text;
        EXPECT_THAT(result.error().message(), AllOf(HasSubstr(text), HasSubstr("10.77.0.0/24")));
    }
}

TEST(AddressPool, ReleasingTwiceOrWhatWasNeverGivenChangesNothing) {
    AddressPool addresses = pool("10.77.0.0/29", "10.77.0.1");
    EXPECT_EQ(next(addresses), "10.77.0.2");
    addresses.release(address("10.77.0.2"));
    addresses.release(address("10.77.0.2"));
    addresses.release(address("10.77.0.1"));
    addresses.release(address("192.0.2.1"));
    EXPECT_EQ(addresses.in_use(), 0U);
    std::set<std::string> given;
    for (int i = 0; i < 5; ++i) {
        given.insert(next(addresses));
    }
    EXPECT_EQ(given.size(), 5U);
    EXPECT_FALSE(addresses.allocate());
}

TEST(AddressPool, WhatAnEarlierDaemonFreedRestsInItsOrder) {
    AddressPool addresses = pool("10.77.0.0/29", "10.77.0.1");
    ASSERT_TRUE(addresses.reserve(address("10.77.0.6")));
    for (const char* freed : {"10.77.0.4", "10.77.0.2", "10.77.0.6", "10.77.0.1", "192.0.2.1", "10.77.0.4"}) {
        addresses.note_freed(address(freed));
    }
    for (const char* expected : {"10.77.0.3", "10.77.0.5", "10.77.0.4", "10.77.0.2"}) {
        EXPECT_EQ(next(addresses), expected);
    }
    EXPECT_FALSE(addresses.allocate());
}

TEST(AddressPool, RemembersTheLastFreedOnesOnlyAndStillGivesEveryAddress) {
    AddressPool addresses = pool("10.64.0.0/14", "10.64.0.1");
    const std::uint64_t all = addresses.capacity();
    ASSERT_GT(all, 3 * AddressPool::kRemembered);
    for (std::uint64_t i = 0; i < all; ++i) {
        ASSERT_TRUE(addresses.allocate());
    }
    IpAddr last;
    for (IpAddr freed = address("10.64.0.2"); freed != address("10.67.255.255"); freed = freed.next()) {
        addresses.release(freed);
        last = freed;
    }
    EXPECT_EQ(next(addresses), "10.64.0.2") << "forgotten, so as good as new";
    std::string given;
    for (std::uint64_t i = 1; i < all; ++i) {
        given = next(addresses);
    }
    EXPECT_EQ(given, last.to_string()) << "the one that was freed last";
    EXPECT_FALSE(addresses.allocate());
}

TEST(AddressPool, EndsAtTheEndOfTheAddressSpace) {
    AddressPool addresses = pool("255.255.255.248/29", "255.255.255.249");
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(addresses.allocate());
    }
    EXPECT_FALSE(addresses.allocate());
}

TEST(AddressPool, Ipv6PrefixesAreFarTooLargeToCountAndWorkAllTheSame) {
    AddressPool addresses = pool("fd77::/64", "fd77::1");
    EXPECT_EQ(addresses.capacity(), 1ULL << 63U);
    EXPECT_EQ(next(addresses), "fd77::2");
    EXPECT_FALSE(addresses.reserve(address("fd77::")));  // subnet-router anycast
    AddressPool end = pool("fd77::ff:fffc/126", "fd77::ff:fffd");
    EXPECT_EQ(end.capacity(), 2U);
    EXPECT_EQ(next(end), "fd77::ff:fffe");
    EXPECT_EQ(next(end), "fd77::ff:ffff");
    EXPECT_FALSE(end.allocate());
}

TEST(AddressPool, WhatIsTheHostsIsNotGivenOut) {
    AddressPool addresses = pool("10.77.0.0/24", "10.77.0.1");
    const auto prefix = [](const char* text) { return *IpPrefix::parse(text); };
    EXPECT_EQ(addresses.allocate(), address("10.77.0.2"));
    addresses.set_host_prefixes({prefix("10.77.0.0/25"), prefix("10.99.0.0/16")});
    EXPECT_EQ(addresses.allocate(), address("10.77.0.128"));
    EXPECT_FALSE(addresses.reserve(address("10.77.0.9"))) << "nor to whoever asks for it";
    addresses.release(address("10.77.0.2"));
    addresses.set_host_prefixes({});
    EXPECT_TRUE(addresses.reserve(address("10.77.0.9")));
    addresses.set_host_prefixes({prefix("10.77.0.0/24")});
    const auto none = addresses.allocate();
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().kind(), ErrorKind::exhausted);
}

}  // namespace
}  // namespace netkitd
