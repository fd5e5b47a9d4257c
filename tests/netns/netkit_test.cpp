// netkit devices, as create_pair makes them. Skipped where the kernel has none (below Linux 6.8, or not configured).
#include <gmock/gmock.h>

#include "harness/link_test.h"
#include "link/configure.h"

namespace netkitd::link {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class NetkitTest : public test::LinkTest {
protected:
    void SetUp() override {
        LinkTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        const Result<bool> supported = netkit_supported();
        ASSERT_TRUE(supported) << supported.error().message();
        if (!*supported) {
            GTEST_SKIP() << "this kernel has no netkit devices (CONFIG_NETKIT, Linux 6.8)";
        }
    }

    Result<Pair> create(DeviceMode mode = DeviceMode::netkit) { return LinkTest::create(spec(mode)); }
};

TEST_F(NetkitTest, IsL3WithoutArpAndItsPeerDropsEverythingUntilAProgramIsThere) {
    const Result<Pair> pair = create();
    ASSERT_TRUE(pair) << pair.error().message();
    const std::string host = node().run("ip -d link show nk12ab34cd");
    EXPECT_THAT(host, AllOf(HasSubstr("netkit mode l3 type primary policy forward peer policy blackhole"),
                            HasSubstr("NOARP"), HasSubstr("mtu 1400"), HasSubstr("alias netkitd web-1 default"),
                            HasSubstr("group 28267"), HasSubstr("addrgenmode none")));
    const std::string peer = container().run("ip -d link show eth0");
    EXPECT_THAT(peer, AllOf(HasSubstr("netkit mode l3 type peer policy blackhole peer policy forward"),
                            HasSubstr("NOARP"), HasSubstr("mtu 1400"), HasSubstr("addrgenmode none")));
    EXPECT_TRUE(peer.starts_with(formatted("{}: ", pair->peer_ifindex))) << peer;
    EXPECT_EQ(pair->host_mac, MacAddr());
}

TEST_F(NetkitTest, ScrubsOnlyAtThePeerOrSaysThatTheKernelCannot) {
    const Result<Pair> pair = create();
    ASSERT_TRUE(pair) << pair.error().message();
    const std::string host = node().run("ip -d link show nk12ab34cd");
    if (pair->left_out.empty()) {
        EXPECT_THAT(host, HasSubstr("scrub none peer scrub default"));
    } else {
        EXPECT_THAT(host, Not(HasSubstr("scrub")));
        EXPECT_THAT(pair->left_out.front(), HasSubstr("scrub"));
    }
}

TEST_F(NetkitTest, TakesAddressesAndRoutesAndLetsNothingOut) {
    const Pair pair = create().value();
    const auto ipv4 = IpAddr::parse("10.77.0.2").value();
    const auto gateway4 = IpAddr::parse("10.77.0.1").value();
    const auto ipv6 = IpAddr::parse("fd77::2").value();
    const auto gateway6 = IpAddr::parse("fd77::1").value();
    const Result<void> container_done = configure_container_end(container_socket(), {
                                                                                        .ifindex = pair.peer_ifindex,
                                                                                        .ipv4 = ipv4,
                                                                                        .gateway4 = gateway4,
                                                                                        .ipv6 = ipv6,
                                                                                        .gateway6 = gateway6,
                                                                                    });
    ASSERT_TRUE(container_done) << container_done.error().message();
    ASSERT_TRUE(set_device_up(host_socket(), pair.host_ifindex));
    node().run(
        "ip addr add 10.77.0.1/32 dev nk12ab34cd; ip addr add fd77::1/128 dev nk12ab34cd nodad;"
        "ip route add 10.77.0.2 dev nk12ab34cd src 10.77.0.1; ip route add fd77::2 dev nk12ab34cd src fd77::1");

    // In reach of the node as far as routes go, but the peer's policy holds everything back.
    EXPECT_TRUE(container().cannot_reach("10.77.0.1"));
    EXPECT_TRUE(container().cannot_reach("fd77::1"));
    EXPECT_THAT(node().run("cat /proc/net/dev | grep nk12ab34cd"), ::testing::ContainsRegex("nk12ab34cd: +0 "));
    EXPECT_THAT(container().run("ip addr show eth0"), Not(HasSubstr("fe80")));

    node().run("ip link set nk12ab34cd type netkit peer forward");
    EXPECT_TRUE(container().reaches("10.77.0.1"));
    EXPECT_TRUE(container().reaches("fd77::1"));
    EXPECT_TRUE(node().reaches("10.77.0.2"));
    EXPECT_TRUE(node().reaches("fd77::2"));
}

TEST_F(NetkitTest, IsL2WithTheAddressesThatWereGiven) {
    const Result<Pair> pair = create(DeviceMode::netkit_l2);
    ASSERT_TRUE(pair) << pair.error().message();
    EXPECT_NE(pair->host_mac, MacAddr());
    EXPECT_NE(pair->host_mac, pair->peer_mac);
    const std::string host = node().run("ip -d link show nk12ab34cd");
    EXPECT_THAT(host, AllOf(HasSubstr("netkit mode l2 type primary policy forward peer policy blackhole"),
                            HasSubstr(pair->host_mac.to_string()), Not(HasSubstr("NOARP"))));
    const std::string peer = container().run("ip -d link show eth0");
    EXPECT_THAT(peer,
                AllOf(HasSubstr("netkit mode l2"), HasSubstr(pair->peer_mac.to_string()), Not(HasSubstr("NOARP"))));
}

TEST_F(NetkitTest, IsRefusedWithTheWayOutIfTheContainerHasThatInterface) {
    container().run("ip link add eth0 type netkit");
    const Result<Pair> pair = create();
    ASSERT_FALSE(pair);
    EXPECT_EQ(pair.error().kind(), ErrorKind::refused);
    EXPECT_THAT(pair.error().message(), HasSubstr("--network none"));
}

class NetkitProbeTest : public test::NetnsTest {};

TEST_F(NetkitProbeTest, AgreesWithWhatIpCanDoAndLeavesNothingBehind) {
    const bool possible = node().succeeds("ip link add try0 type netkit && ip link del try0");
    const std::string before = node().run("ip link show");
    EXPECT_EQ(netkit_supported().value(), possible);
    EXPECT_EQ(node().run("ip link show"), before);
}

}  // namespace
}  // namespace netkitd::link
