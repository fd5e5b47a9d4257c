// Addresses and routes of an endpoint and of the node, as a user sees them: by ping and `ip`. Veth mode, no BPF.
#include "link/configure.h"

#include <gmock/gmock.h>

#include "harness/link_test.h"
#include "link/host_device.h"
#include "link/readiness.h"
#include "netlink/monitor.h"

namespace netkitd::link {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

IpAddr ip(const char* text) {
    return IpAddr::parse(text).value();
}
IpPrefix prefix(const char* text) {
    return IpPrefix::parse(text).value();
}

class ConfigureTest : public test::LinkTest {
protected:
    void SetUp() override {
        LinkTest::SetUp();
        if (!IsSkipped()) {
            pair_ = create(spec()).value();
        }
    }

    [[nodiscard]] ContainerEnd container_end() const {
        return {.ifindex = pair_.peer_ifindex,
                .ipv4 = ip("10.77.0.2"),
                .gateway4 = ip("10.77.0.1"),
                .ipv6 = ip("fd77::2"),
                .gateway6 = ip("fd77::1")};
    }
    void ensure_networks() {
        const auto device = ensure_host_device(host_socket(), DeviceMode::veth, 1500, {});
        ASSERT_TRUE(device) << device.error().message();
        host_device_ = device->ifindex;
        for (const auto& [network, gateway] :
             {std::pair("10.77.0.0/16", "10.77.0.1"), std::pair("fd77::/64", "fd77::1")}) {
            const auto ensured = ensure_network(host_socket(), host_device_, prefix(network), ip(gateway));
            ASSERT_TRUE(ensured) << ensured.error().message();
        }
    }
    [[nodiscard]] std::uint32_t host_device() const { return host_device_; }
    [[nodiscard]] Result<void> set_host_end_up() { return set_device_up(host_socket(), pair_.host_ifindex); }
    void await_container(const std::optional<IpAddr>& ipv6 = ip("fd77::2")) {
        ASSERT_TRUE(await_readiness(container_socket(), pair_.peer_ifindex, ipv6, 5s));
    }
    // Programs answer a container that asks, and lead the host's packets to it; there are none here.
    void stand_in_for_the_programs() {
        for (const auto& [gateway, address] : {std::pair("10.77.0.1", "10.77.0.2"), std::pair("fd77::1", "fd77::2")}) {
            container().run(
                formatted("ip neigh replace {} lladdr {} dev eth0 nud permanent", gateway, pair_.host_mac.to_string()));
            node().run(
                formatted("ip neigh replace {0} lladdr {1} dev nk12ab34cd nud permanent;"
                          "ip route replace {0} dev nk12ab34cd src {2}",
                          address, pair_.peer_mac.to_string(), gateway));
        }
    }
    void expect_reachable_both_ways() {
        await_container();
        stand_in_for_the_programs();
        EXPECT_TRUE(container().reaches("10.77.0.1"));
        EXPECT_TRUE(node().reaches("10.77.0.2"));
        EXPECT_TRUE(node().reaches("fd77::2"));
        EXPECT_TRUE(container().reaches("fd77::1"));
        EXPECT_TRUE(container().reaches("127.0.0.1"));
    }

private:
    Pair pair_;
    std::uint32_t host_device_ = 0;
};

TEST_F(ConfigureTest, NodeAndContainerPingEachOtherOverIpv4AndIpv6) {
    ensure_networks();
    const Result<void> container_done = configure_container_end(container_socket(), container_end());
    ASSERT_TRUE(container_done) << container_done.error().message();
    const Result<void> host_done = set_host_end_up();
    ASSERT_TRUE(host_done) << host_done.error().message();
    expect_reachable_both_ways();
}

TEST_F(ConfigureTest, TheOrderOfTheEndsDoesNotMatter) {
    ensure_networks();
    ASSERT_TRUE(set_host_end_up());
    ASSERT_TRUE(configure_container_end(container_socket(), container_end()));
    expect_reachable_both_ways();
}

TEST_F(ConfigureTest, TheContainerHasAHostPrefixAddressAndADefaultRouteThroughTheGateway) {
    ensure_networks();
    ASSERT_TRUE(configure_container_end(container_socket(), container_end()));
    ASSERT_TRUE(set_host_end_up());
    EXPECT_THAT(
        container().run("ip addr show eth0"),
        AllOf(HasSubstr("inet 10.77.0.2/32 scope global eth0"), HasSubstr("inet6 fd77::2/128 scope global nodad"),
              HasSubstr("state UP"), Not(HasSubstr("tentative")), Not(HasSubstr("fe80"))));
    EXPECT_THAT(container().run("ip route show"), AllOf(HasSubstr("default via 10.77.0.1 dev eth0 proto 120"),
                                                        HasSubstr("10.77.0.1 dev eth0 proto 120 scope link")));
    EXPECT_THAT(container().run("ip -6 route show"),
                AllOf(HasSubstr("default via fd77::1 dev eth0 proto 120"), HasSubstr("fd77::1 dev eth0 proto 120")));
    EXPECT_THAT(container().run("ip addr show lo"), AllOf(HasSubstr("127.0.0.1/8"), HasSubstr("UP")));
    EXPECT_THAT(container().run("ip route get 198.51.100.1"), HasSubstr("via 10.77.0.1 dev eth0 src 10.77.0.2"));
    EXPECT_THAT(container().run("ip route get 2001:db8::1"), HasSubstr("via fd77::1 dev eth0"));
}

TEST_F(ConfigureTest, AnEndWhosePeerIsDownIsNotReadyAndWhatItWaitsForIsNamed) {
    ensure_networks();
    ASSERT_TRUE(configure_container_end(container_socket(), container_end()));
    const auto not_yet = await_readiness(container_socket(), container_end().ifindex, ip("fd77::2"), 20ms);
    ASSERT_FALSE(not_yet);
    EXPECT_THAT(not_yet.error().message(), HasSubstr("it has no carrier"));
    ASSERT_TRUE(set_host_end_up());
    EXPECT_TRUE(await_readiness(container_socket(), container_end().ifindex, ip("fd77::2"), 5s));
    const auto strange = await_readiness(container_socket(), container_end().ifindex, ip("fd77::3"), 20ms);
    ASSERT_FALSE(strange);
    EXPECT_THAT(strange.error().message(), HasSubstr("not in the local table"));
}

TEST_F(ConfigureTest, EitherFamilyWorksAlone) {
    ensure_networks();
    ContainerEnd end = container_end();
    end.ipv4 = end.gateway4 = std::nullopt;
    ASSERT_TRUE(configure_container_end(container_socket(), end));
    ASSERT_TRUE(set_host_end_up());
    await_container();
    stand_in_for_the_programs();
    EXPECT_TRUE(node().reaches("fd77::2"));
    EXPECT_EQ(container().run("ip route show"), "");

    end = container_end();
    end.ipv6 = end.gateway6 = std::nullopt;
    ASSERT_TRUE(configure_container_end(container_socket(), end));
    EXPECT_TRUE(node().reaches("10.77.0.2"));
}

TEST_F(ConfigureTest, EverythingMayBeDoneTwice) {
    for (int round = 0; round < 2; ++round) {
        ensure_networks();
        ASSERT_TRUE(configure_container_end(container_socket(), container_end()));
        ASSERT_TRUE(set_host_end_up());
    }
    expect_reachable_both_ways();
    EXPECT_EQ(node().run("ip route show proto 120 | wc -l"), "2\n");
    EXPECT_EQ(node().run("ip -6 route show proto 120 | wc -l"), "2\n");
    EXPECT_EQ(container().run("ip -4 addr show dev eth0 | grep -c inet"), "1\n");
    EXPECT_EQ(container().run("ip -6 addr show dev eth0 | grep -c inet"), "1\n");
}

TEST_F(ConfigureTest, TheNodeTalksToContainersFromTheGatewayAddressByOneDeviceAndOneNeighbour) {
    ensure_networks();
    EXPECT_THAT(node().run("ip route get 10.77.0.2"), HasSubstr("via 169.254.1.1 dev netkitd0 src 10.77.0.1"));
    EXPECT_THAT(node().run("ip route get fd77::2"), HasSubstr("via fe80::1 dev netkitd0 proto 120 src fd77::1"));
    node().run("for i in $(seq 20); do ping -c 1 -W 0.01 10.77.1.$i & ping -c 1 -W 0.01 fd77::1:$i & done; wait");
    EXPECT_EQ(node().run("ip neigh show dev netkitd0 nud all | grep -vc 'ff02:'"), "2\n");
}

// As when a link of the host's has it for a while.
TEST_F(ConfigureTest, AGatewayThatComesBackIsTheSourceAgain) {
    ensure_networks();
    for (const auto& [network, gateway, address] :
         {std::tuple("10.77.0.0/16", "10.77.0.1", "10.77.0.2"), std::tuple("fd77::/64", "fd77::1", "fd77::2")}) {
        ASSERT_TRUE(remove_gateway(host_socket(), host_device(), ip(gateway)));
        ASSERT_TRUE(ensure_network(host_socket(), host_device(), prefix(network), std::nullopt));
        EXPECT_THAT(node().run(formatted("ip route get {}", address)),
                    AllOf(HasSubstr("dev netkitd0"), Not(HasSubstr(formatted("src {}", gateway)))));
        ASSERT_TRUE(ensure_network(host_socket(), host_device(), prefix(network), ip(gateway)));
        EXPECT_THAT(node().run(formatted("ip route get {}", address)), HasSubstr(formatted("src {}", gateway)));
    }
}

TEST_F(ConfigureTest, ARouteToOneContainerHasItsMtu) {
    ensure_networks();
    ASSERT_TRUE(add_host_route(host_socket(), {.container = ip("10.77.0.2"), .ifindex = host_device(), .mtu = 1300},
                               ip("10.77.0.1")));
    ASSERT_TRUE(add_host_route(host_socket(), {.container = ip("fd77::2"), .ifindex = host_device(), .mtu = 1300},
                               ip("fd77::1")));
    EXPECT_THAT(node().run("ip route show 10.77.0.2"), HasSubstr("src 10.77.0.1 onlink mtu 1300"));
    EXPECT_THAT(node().run("ip -6 route show fd77::2"), HasSubstr("src fd77::1 metric 1024 onlink mtu 1300"));
    EXPECT_THAT(list_host_routes(host_socket()).value(), testing::SizeIs(2));
    for (int round = 0; round < 2; ++round) {
        EXPECT_TRUE(remove_host_routes(host_socket(), ip("10.77.0.2")));
        EXPECT_TRUE(remove_host_routes(host_socket(), ip("fd77::2")));
    }
    EXPECT_THAT(list_host_routes(host_socket()).value(), testing::IsEmpty());
}

TEST_F(ConfigureTest, AHostDeviceOfSomebodyElsesIsLeftAloneAndNamed) {
    node().run("ip link add netkitd0 type veth peer name theirs");
    const auto device = ensure_host_device(host_socket(), DeviceMode::veth, 1500, {});
    ASSERT_FALSE(device);
    EXPECT_THAT(device.error().message(), HasSubstr("netkitd0 is somebody else's device, 'veth': rename it"));
}

TEST_F(ConfigureTest, AContainerWithoutIpv6FailsOnAnIpv6AddressByName) {
    container().run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    const Result<void> done = configure_container_end(container_socket(), container_end());
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().message(),
                AllOf(HasSubstr("add address fd77::2 to device"), HasSubstr("Permission denied")));
}

TEST_F(ConfigureTest, WithoutTheHostDeviceContainersAreUnreachableAndNothingFollowsTheDefaultRoute) {
    test::NetworkNamespace outside;
    test::connect(node(), "up0", outside, "eth0");
    node().run("ip addr add 192.0.2.1/24 dev up0 && ip route add default via 192.0.2.254");
    node().run("ip addr add 2001:db8::1/64 dev up0 nodad && ip -6 route add default via 2001:db8::ff");
    ensure_networks();
    node().run("ip link set netkitd0 down");
    EXPECT_THAT(node().run("ping -n -c 1 -W 2 10.77.3.3 || true"), HasSubstr("No route to host"));
    EXPECT_THAT(node().run("ping -n -c 1 -W 2 fd77::9 || true"), HasSubstr("No route to host"));
    ASSERT_TRUE(remove_network(host_socket(), prefix("10.77.0.0/16"), ip("10.77.0.1")));
    EXPECT_THAT(node().run("ip route get 10.77.3.3"), HasSubstr("via 192.0.2.254"));
}

TEST_F(ConfigureTest, TheGatewayAddressIsNoSourceOfTheNodesOwnTraffic) {
    test::NetworkNamespace outside;
    test::connect(node(), "up0", outside, "eth0");
    ensure_networks();
    node().run("ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad");
    node().run("ip route add default via 192.0.2.254 && ip -6 route add default via 2001:db8::ff");
    EXPECT_THAT(node().run("ip route get 198.51.100.1"), HasSubstr("src 192.0.2.1"));
    // fd77::1 is nearer to this destination by RFC 6724's longest match.
    EXPECT_THAT(node().run("ip route get fd77:1::1"), HasSubstr("src 2001:db8::1"));
}

// The daemon does it after every change of a route: that must not be one.
TEST_F(ConfigureTest, EnsuringANetworkAgainIsNoNewsButOnTheHostDevice) {
    ensure_networks();
    auto monitor = Monitor::open().value();
    ensure_networks();
    const auto events = monitor.read();
    ASSERT_TRUE(events);
    for (const LinkEvent& event : *events) {
        // That a pair has its carrier the kernel says a moment later.
        if (event.kind != LinkEvent::Kind::device_changed) {
            EXPECT_EQ(event.kind, LinkEvent::Kind::address) << static_cast<int>(event.kind);
            EXPECT_EQ(event.ifindex, host_device());
        }
    }
}

TEST_F(ConfigureTest, RemovingANetworkLeavesNothingAndTwiceIsFine) {
    ensure_networks();
    for (int round = 0; round < 2; ++round) {
        EXPECT_TRUE(remove_network(host_socket(), prefix("10.77.0.0/16"), ip("10.77.0.1")));
        EXPECT_TRUE(remove_network(host_socket(), prefix("fd77::/64"), ip("fd77::1")));
    }
    EXPECT_EQ(node().run("ip route show; ip -6 route show proto 120"), "");
    EXPECT_THAT(node().run("ip addr show"), AllOf(Not(HasSubstr("10.77.0.1")), Not(HasSubstr("fd77::1"))));
}

TEST_F(ConfigureTest, RemovingANetworkSparesARouteOfSomebodyElse) {
    node().run("ip route add unreachable 10.77.0.0/16 metric 5");
    ensure_networks();
    ASSERT_TRUE(remove_network(host_socket(), prefix("10.77.0.0/16"), ip("10.77.0.1")));
    EXPECT_THAT(node().run("ip route show"), HasSubstr("unreachable 10.77.0.0/16 metric 5"));
}

}  // namespace
}  // namespace netkitd::link
