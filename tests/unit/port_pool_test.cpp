#include "node/port_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace netkitd {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const PortRange kPool{.first = 49152, .last = 65535};

PortRange settled(const PortRange& ephemeral, std::string_view reserved = "") {
    const auto pool = settle_port_pool(kPool, /*by_default=*/true,
                                       {.ephemeral = ephemeral, .reserved = parse_port_ranges(reserved).value()});
    EXPECT_TRUE(pool) << pool.error().message();
    return pool.value_or(PortRange{.first = 0, .last = 0});
}

TEST(PortRanges, AreReadAsTheKernelWritesThem) {
    EXPECT_THAT(parse_port_ranges("").value(), ElementsAre());
    EXPECT_THAT(parse_port_ranges("8080,1000-2000,1500-2500,2501").value(),
                ElementsAre(PortRange{.first = 1000, .last = 2501}, PortRange{.first = 8080, .last = 8080}));
    EXPECT_THAT(parse_port_ranges("65535,1").value(),
                ElementsAre(PortRange{.first = 1, .last = 1}, PortRange{.first = 65535, .last = 65535}));
    for (const char* wrong : {"a", "1-", "-1", "2-1", "70000", "1 2"}) {
        EXPECT_FALSE(parse_port_ranges(wrong)) << wrong;
    }
}

TEST(PortPool, IsAllOfItWhereTheHostHasOthers) {
    EXPECT_EQ(settled({.first = 32768, .last = 60999}), kPool) << "Linux's default";
    EXPECT_EQ(settled({.first = 1024, .last = 65535}), kPool);
}

TEST(PortPool, LeavesTheHostEnoughOfItsEphemeralPorts) {
    EXPECT_EQ(settled({.first = 49152, .last = 65535}), (PortRange{.first = 53248, .last = 65535}));
    EXPECT_EQ(settled({.first = 60000, .last = 65535}), (PortRange{.first = 49152, .last = 61439}))
        << "from the end that costs less";
    EXPECT_EQ(settled({.first = 48000, .last = 65535}), (PortRange{.first = 52096, .last = 65535}));
    EXPECT_EQ(settled({.first = 49152, .last = 65535}, "49152-50175"), (PortRange{.first = 49152, .last = 61439}))
        << "what is reserved already does the host no good";
    EXPECT_EQ(settled({.first = 60000, .last = 60999}), (PortRange{.first = 49152, .last = 59999}))
        << "all of a host's few";
}

TEST(PortPool, IsRefusedByNameWhereItWasConfigured) {
    const auto pool = settle_port_pool(kPool, /*by_default=*/false, {.ephemeral = kPool, .reserved = {}});
    ASSERT_FALSE(pool);
    EXPECT_EQ(pool.error().kind(), ErrorKind::refused);
    EXPECT_THAT(pool.error().message(),
                AllOf(HasSubstr("masquerade.ports 49152-65535 would leave this host 0 ports"),
                      HasSubstr("ip_local_port_range is 49152-65535"), HasSubstr("choose other ports")));
}

TEST(PortPool, IsRefusedWhereTooLittleOfItIsLeft) {
    const PortRange small{.first = 60000, .last = 64999};
    const auto pool = settle_port_pool(small, /*by_default=*/true, {.ephemeral = small, .reserved = {}});
    ASSERT_FALSE(pool);
    EXPECT_THAT(pool.error().message(), HasSubstr("too little"));
}

TEST(PortRanges, AreWrittenAsFewAsThereAre) {
    EXPECT_EQ(port_ranges_text({}, kPool), "49152-65535");
    EXPECT_EQ(port_ranges_text({80, 8080, 8081, 8083, 49151, 50000}, kPool), "80,8080-8081,8083,49151-65535");
}

TEST(PublishedPorts, LeaveTheHostEnoughOfItsEphemeralPorts) {
    const HostPorts host{.ephemeral = {.first = 47000, .last = 60999}, .reserved = {}};  // 2152 beside the pool
    std::set<std::uint16_t> ports{80, 60000};
    for (std::uint16_t port = 47000; ports.size() < 2 + 104; ++port) {
        ports.insert(port);
    }
    EXPECT_TRUE(check_published_ports(ports, kPool, host));
    ports.insert(48000);
    const auto refused = check_published_ports(ports, kPool, host);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message(), AllOf(HasSubstr("would leave this host 2047 ports"), HasSubstr("2048")));
}

TEST(PublishedPorts, LeaveAHostWithFewAllThatItHas) {
    const HostPorts host{.ephemeral = {.first = 40000, .last = 40999}, .reserved = {{.first = 40000, .last = 40009}}};
    EXPECT_TRUE(check_published_ports({80, 40009}, kPool, host));
    EXPECT_FALSE(check_published_ports({80, 40010}, kPool, host));
}

}  // namespace
}  // namespace netkitd
