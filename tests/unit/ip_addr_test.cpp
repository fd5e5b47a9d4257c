#include "base/ip_addr.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace netkitd {
namespace {

using testing::HasSubstr;

TEST(IpAddr, ReadsAndWritesBothFamilies) {
    for (const char* text : {"0.0.0.0", "10.77.0.1", "255.255.255.255", "::", "fd77::1", "2001:db8::ff"}) {
        const auto address = IpAddr::parse(text);
        ASSERT_TRUE(address) << address.error().message();
        EXPECT_EQ(address->to_string(), text);
    }
}

TEST(IpAddr, RefusesWhatIsNotJustAnAddress) {
    for (const char* text : {"", "10.0.0", "10.0.0.256", "010.0.0.1 ", "10.0.0.1/8", "fe80::1%eth0", "[::1]", "1:2"}) {
        EXPECT_FALSE(IpAddr::parse(text)) << text;
    }
    EXPECT_FALSE(IpAddr::parse(std::string_view("10.0.0.1\0x", 10)));
    EXPECT_FALSE(IpAddr::parse(std::string(10'000, '1')));
}

TEST(IpAddr, ConvertsByteOrder) {
    EXPECT_EQ(IpAddr::v4_host_order(0x0a4d0001).to_string(), "10.77.0.1");
    EXPECT_EQ(IpAddr::parse("10.77.0.1")->v4_host_order(), 0x0a4d0001U);
}

TEST(IpAddr, TheNextAddressCarries) {
    EXPECT_EQ(IpAddr::parse("10.77.0.255")->next().to_string(), "10.77.1.0");
    EXPECT_EQ(IpAddr::parse("fd77::ffff:ffff")->next().to_string(), "fd77::1:0:0");
}

TEST(IpPrefix, ContainsItsAddressesAndNoOthers) {
    const auto prefix = IpPrefix::parse("10.77.4.0/22");
    ASSERT_TRUE(prefix);
    EXPECT_TRUE(prefix->contains(*IpAddr::parse("10.77.4.0")));
    EXPECT_TRUE(prefix->contains(*IpAddr::parse("10.77.7.255")));
    EXPECT_FALSE(prefix->contains(*IpAddr::parse("10.77.8.0")));
    EXPECT_FALSE(prefix->contains(*IpAddr::parse("::")));
    EXPECT_TRUE(IpPrefix::parse("::/0")->contains(*IpAddr::parse("fd00::1")));
}

TEST(IpPrefix, RefusesHostBitsAndProposesThePrefix) {
    const auto prefix = IpPrefix::parse("10.77.0.1/16");
    ASSERT_FALSE(prefix);
    EXPECT_THAT(prefix.error().message(), HasSubstr("did you mean 10.77.0.0/16?"));
}

TEST(IpPrefix, RefusesImpossibleLengths) {
    for (const char* text : {"10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x", "::/129"}) {
        EXPECT_FALSE(IpPrefix::parse(text)) << text;
    }
}

TEST(IpPrefix, OverlapIsSymmetric) {
    const auto wide = *IpPrefix::parse("10.0.0.0/8");
    const auto narrow = *IpPrefix::parse("10.77.0.0/16");
    const auto other = *IpPrefix::parse("192.168.0.0/16");
    EXPECT_TRUE(wide.overlaps(narrow));
    EXPECT_TRUE(narrow.overlaps(wide));
    EXPECT_FALSE(wide.overlaps(other));
}

TEST(IpPrefix, HoldsItselfAndWhatIsLonger) {
    const auto wide = *IpPrefix::parse("10.0.0.0/8");
    const auto single = IpPrefix::single(*IpAddr::parse("10.77.0.1"));
    EXPECT_TRUE(wide.holds(wide));
    EXPECT_TRUE(wide.holds(single));
    EXPECT_FALSE(single.holds(wide));
    EXPECT_TRUE(single.is_single());
    EXPECT_FALSE(wide.is_single());
    EXPECT_EQ(IpPrefix::single(*IpAddr::parse("fd00::1")).to_string(), "fd00::1/128");
}

}  // namespace
}  // namespace netkitd
