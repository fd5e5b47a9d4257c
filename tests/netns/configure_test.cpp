// Addresses and routes of an endpoint and of the node, as a user sees them: by ping and `ip`. Veth mode, no BPF.
#include "link/configure.h"

#include <gmock/gmock.h>

#include "harness/link_test.h"
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
    [[nodiscard]] HostEnd host_end() const {
        return {.ifindex = pair_.host_ifindex,
                .ipv4 = ip("10.77.0.2"),
                .gateway4 = ip("10.77.0.1"),
                .ipv6 = ip("fd77::2"),
                .gateway6 = ip("fd77::1"),
                .peer_mac = pair_.peer_mac};
    }
    void ensure_networks() {
        ASSERT_TRUE(ensure_network(host_socket(), prefix("10.77.0.0/16"), ip("10.77.0.1")));
        ASSERT_TRUE(ensure_network(host_socket(), prefix("fd77::/64"), ip("fd77::1")));
    }
    void await_container(const std::optional<IpAddr>& ipv6 = ip("fd77::2")) {
        ASSERT_TRUE(await_readiness(container_socket(), pair_.peer_ifindex, ipv6, 5s));
    }
    // What a program answers a container that asks (bpf/lib/neighbour.h); there is none here.
    void answer_for_the_program() {
        for (const char* gateway : {"10.77.0.1", "fd77::1"}) {
            container().run(
                formatted("ip neigh replace {} lladdr {} dev eth0 nud permanent", gateway, pair_.host_mac.to_string()));
        }
    }
    void expect_reachable_both_ways() {
        await_container();
        answer_for_the_program();
        EXPECT_TRUE(container().reaches("10.77.0.1"));
        EXPECT_TRUE(node().reaches("10.77.0.2"));
        EXPECT_TRUE(node().reaches("fd77::2"));
        EXPECT_TRUE(container().reaches("fd77::1"));
        EXPECT_TRUE(container().reaches("127.0.0.1"));
    }

private:
    Pair pair_;
};

TEST_F(ConfigureTest, NodeAndContainerPingEachOtherOverIpv4AndIpv6) {
    ensure_networks();
    const Result<void> container_done = configure_container_end(container_socket(), container_end());
    ASSERT_TRUE(container_done) << container_done.error().message();
    const Result<void> host_done = configure_host_end(host_socket(), host_end());
    ASSERT_TRUE(host_done) << host_done.error().message();
    expect_reachable_both_ways();
}

TEST_F(ConfigureTest, TheOrderOfTheEndsDoesNotMatter) {
    ensure_networks();
    ASSERT_TRUE(configure_host_end(host_socket(), host_end()));
    ASSERT_TRUE(configure_container_end(container_socket(), container_end()));
    expect_reachable_both_ways();
}

TEST_F(ConfigureTest, TheContainerHasAHostPrefixAddressAndADefaultRouteThroughTheGateway) {
    ensure_networks();
    ASSERT_TRUE(configure_container_end(container_socket(), container_end()));
    ASSERT_TRUE(configure_host_end(host_socket(), host_end()));
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
    ASSERT_TRUE(configure_host_end(host_socket(), host_end()));
    EXPECT_TRUE(await_readiness(container_socket(), container_end().ifindex, ip("fd77::2"), 5s));
    const auto strange = await_readiness(container_socket(), container_end().ifindex, ip("fd77::3"), 20ms);
    ASSERT_FALSE(strange);
    EXPECT_THAT(strange.error().message(), HasSubstr("not in the local table"));
}

TEST_F(ConfigureTest, TheHostNeverAsksForTheContainersAddress) {
    ensure_networks();
    ASSERT_TRUE(configure_container_end(container_socket(), container_end()));
    ASSERT_TRUE(configure_host_end(host_socket(), host_end()));
    // With no solicitations to send, only permanent neighbours can be reached (ip-sysctl.rst, mcast_solicit).
    for (const char* family : {"ipv4", "ipv6"}) {
        for (const char* probe : {"ucast_solicit", "mcast_solicit", "app_solicit"}) {
            container().run(formatted("echo 0 > /proc/sys/net/{}/neigh/eth0/{}", family, probe));
            node().run(formatted("echo 0 > /proc/sys/net/{}/neigh/nk12ab34cd/{}", family, probe));
        }
    }
    expect_reachable_both_ways();
    EXPECT_THAT(node().run("ip neigh show nud permanent"), AllOf(HasSubstr("10.77.0.2 "), HasSubstr("fd77::2 ")));
}

TEST_F(ConfigureTest, EitherFamilyWorksAlone) {
    ensure_networks();
    ContainerEnd end = container_end();
    end.ipv4 = end.gateway4 = std::nullopt;
    HostEnd host = host_end();
    host.ipv4 = host.gateway4 = std::nullopt;
    ASSERT_TRUE(configure_container_end(container_socket(), end));
    ASSERT_TRUE(configure_host_end(host_socket(), host));
    await_container();
    answer_for_the_program();
    EXPECT_TRUE(node().reaches("fd77::2"));
    EXPECT_EQ(container().run("ip route show"), "");

    end = container_end();
    end.ipv6 = end.gateway6 = std::nullopt;
    host = host_end();
    host.ipv6 = host.gateway6 = std::nullopt;
    ASSERT_TRUE(configure_container_end(container_socket(), end));
    ASSERT_TRUE(configure_host_end(host_socket(), host));
    EXPECT_TRUE(node().reaches("10.77.0.2"));
}

TEST_F(ConfigureTest, EverythingMayBeDoneTwice) {
    for (int round = 0; round < 2; ++round) {
        ensure_networks();
        ASSERT_TRUE(configure_container_end(container_socket(), container_end()));
        ASSERT_TRUE(configure_host_end(host_socket(), host_end()));
        ASSERT_TRUE(configure_host_end(host_socket(), host_end()));
    }
    expect_reachable_both_ways();
    EXPECT_EQ(node().run("ip route show proto 120 | wc -l"), "2\n");
    EXPECT_EQ(node().run("ip -6 route show proto 120 | wc -l"), "2\n");
    EXPECT_EQ(container().run("ip -4 addr show dev eth0 | grep -c inet"), "1\n");
    EXPECT_EQ(container().run("ip -6 addr show dev eth0 | grep -c inet"), "1\n");
}

TEST_F(ConfigureTest, AHostRouteThatWasDeletedByHandIsPutBack) {
    ensure_networks();
    ASSERT_TRUE(configure_container_end(container_socket(), container_end()));
    ASSERT_TRUE(configure_host_end(host_socket(), host_end()));
    node().run("ip route del 10.77.0.2 && ip -6 route del fd77::2");
    EXPECT_TRUE(container().cannot_reach("10.77.0.1"));
    ASSERT_TRUE(configure_host_end(host_socket(), host_end()));
    expect_reachable_both_ways();
}

TEST_F(ConfigureTest, TheNodeTalksToContainersFromTheGatewayAddress) {
    ensure_networks();
    ASSERT_TRUE(configure_host_end(host_socket(), host_end()));
    EXPECT_THAT(node().run("ip route get 10.77.0.2"), HasSubstr("dev nk12ab34cd src 10.77.0.1"));
    EXPECT_THAT(node().run("ip route get fd77::2"), HasSubstr("dev nk12ab34cd proto 120 src fd77::1"));
}

TEST_F(ConfigureTest, AContainerWithoutIpv6FailsOnAnIpv6AddressByName) {
    container().run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    const Result<void> done = configure_container_end(container_socket(), container_end());
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().message(),
                AllOf(HasSubstr("add address fd77::2 to device"), HasSubstr("Permission denied")));
}

TEST_F(ConfigureTest, AnAddressWithoutAContainerIsUnreachableAndNeverFollowsTheDefaultRoute) {
    test::NetworkNamespace outside;
    test::connect(node(), "up0", outside, "eth0");
    node().run("ip addr add 192.0.2.1/24 dev up0 && ip route add default via 192.0.2.254");
    node().run("ip addr add 2001:db8::1/64 dev up0 nodad && ip -6 route add default via 2001:db8::ff");
    ensure_networks();
    EXPECT_THAT(node().run("ip route show 10.77.0.0/16"), HasSubstr("unreachable 10.77.0.0/16 proto 120"));
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
TEST_F(ConfigureTest, EnsuringANetworkAgainIsNoNewsButOnTheLoopbackDevice) {
    ensure_networks();
    auto monitor = Monitor::open().value();
    ensure_networks();
    const auto events = monitor.read();
    ASSERT_TRUE(events);
    for (const LinkEvent& event : *events) {
        EXPECT_EQ(event.kind, LinkEvent::Kind::address) << static_cast<int>(event.kind);
        EXPECT_EQ(event.ifindex, 1U);
    }
}

TEST_F(ConfigureTest, RemovingANetworkLeavesNothingAndTwiceIsFine) {
    ensure_networks();
    for (int round = 0; round < 2; ++round) {
        EXPECT_TRUE(remove_network(host_socket(), prefix("10.77.0.0/16"), ip("10.77.0.1")));
        EXPECT_TRUE(remove_network(host_socket(), prefix("fd77::/64"), ip("fd77::1")));
    }
    EXPECT_EQ(node().run("ip route show; ip -6 route show proto 120"), "");
    EXPECT_THAT(node().run("ip addr show lo"), AllOf(Not(HasSubstr("10.77.0.1")), Not(HasSubstr("fd77::1"))));
}

TEST_F(ConfigureTest, RemovingANetworkSparesARouteOfSomebodyElse) {
    node().run("ip route add unreachable 10.77.0.0/16 metric 5");
    ensure_networks();
    ASSERT_TRUE(remove_network(host_socket(), prefix("10.77.0.0/16"), ip("10.77.0.1")));
    EXPECT_THAT(node().run("ip route show"), HasSubstr("unreachable 10.77.0.0/16 metric 5"));
}

}  // namespace
}  // namespace netkitd::link
