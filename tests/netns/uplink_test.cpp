// Which devices lead to others.
#include "link/uplink.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <iterator>

#include "harness/netns.h"
#include "link/device.h"

namespace netkitd::link {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class UplinkTest : public test::NetnsTest {
protected:
    void SetUp() override {
        NetnsTest::SetUp();
        if (!IsSkipped()) {
            outside_ = std::make_unique<test::NetworkNamespace>();
            socket_ = std::make_unique<Netlink>(Netlink::open().value());
        }
    }

    // A wire to the outside, with an address of 192.0.2.0/24 and of 2001:db8::/64.
    void add_wire(const std::string& name, int host) {
        test::connect(node(), name, *outside_, formatted("to-{}", name));
        node().run(formatted("ip addr add 192.0.2.{}/24 dev {}", host, name));
        node().run(formatted("ip addr add 2001:db8::{}/64 dev {} nodad", host, name));
    }
    // Whatever this kernel has.
    bool add_device_without_ethernet() {
        return node().succeeds("ip tuntap add dev tun0 mode tun") || node().succeeds("ip link add tun0 type wireguard");
    }
    [[nodiscard]] std::vector<Uplink> discover(const std::vector<std::string>& configured = {}) {
        const auto uplinks = discover_uplinks(*socket_, configured);
        EXPECT_TRUE(uplinks) << uplinks.error().message();
        return uplinks.value_or(std::vector<Uplink>());
    }
    static std::vector<std::string> names_of(const std::vector<Uplink>& uplinks) {
        std::vector<std::string> names;
        std::ranges::transform(uplinks, std::back_inserter(names), &Uplink::name);
        return names;
    }
    [[nodiscard]] std::vector<std::string> names(const std::vector<std::string>& configured = {}) {
        return names_of(discover(configured));
    }
    [[nodiscard]] std::vector<std::string> out() { return names_of(ways_out(discover())); }
    [[nodiscard]] const test::NetworkNamespace& outside() const { return *outside_; }

private:
    std::unique_ptr<test::NetworkNamespace> outside_;
    std::unique_ptr<Netlink> socket_;
};

TEST_F(UplinkTest, IsWhateverHasAnAddress) {
    test::connect(node(), "up0", outside(), "to-up0");
    EXPECT_THAT(names(), IsEmpty()) << "each link has fe80::";
    node().run("ip addr add 192.0.2.1/24 dev up0");
    ASSERT_THAT(names(), ElementsAre("up0"));
    EXPECT_FALSE(discover()[0].is_way_out);
    node().run("ip link set up0 down");
    EXPECT_THAT(names(), ElementsAre("up0")) << "it comes up again";
}

TEST_F(UplinkTest, OrARouteToOthersOfAnyTable) {
    test::connect(node(), "up0", outside(), "to-up0");
    node().run("ip route add unreachable 198.51.100.0/24 table 100 && ip -6 route add fe80::/64 dev up0 table 100");
    EXPECT_THAT(names(), IsEmpty());
    node().run("ip route replace 198.51.100.0/24 dev up0 table 100");
    EXPECT_THAT(names(), ElementsAre("up0"));
}

// The whole's packets pass its programs.
TEST_F(UplinkTest, APartOfABridgeIsNone) {
    add_wire("port0", 1);
    node().run("ip link add br0 type bridge && ip link set br0 up && ip link set port0 master br0");
    EXPECT_THAT(names(), IsEmpty());
    node().run("ip addr add 203.0.113.1/24 dev br0");
    EXPECT_THAT(names(), ElementsAre("br0"));
    EXPECT_THAT(discover({"port0"}).at(0).unusable, HasSubstr("port0 is a part of br0"));
}

// As long as only containers and virtual machines of this host are on it: a card leads to others.
TEST_F(UplinkTest, ABridgeIsAnInnerOneWhereNoCardIsOnIt) {
    add_wire("port0", 1);
    node().run("ip link add br0 type bridge && ip link set br0 up && ip addr add 203.0.113.1/24 dev br0");
    EXPECT_TRUE(discover({"br0"}).at(0).is_inner_bridge);
    node().run("ip link set port0 master br0");
    EXPECT_TRUE(discover({"br0"}).at(0).is_inner_bridge);
    node().run("ip link add card0 type ifb && ip link set card0 master br0");
    EXPECT_FALSE(discover({"br0"}).at(0).is_inner_bridge);
    node().run("ip link del card0; ip -6 route add default via fe80::9 dev br0 proto ra");
    EXPECT_TRUE(discover({"br0"}).at(0).is_inner_bridge) << "anybody on it can advertise himself";
    EXPECT_FALSE(discover({"br0"}).at(0).is_way_out);
    node().run("ip -6 route del default; ip -6 route add 2000::/3 dev br0 proto kernel");
    EXPECT_TRUE(discover({"br0"}).at(0).is_inner_bridge) << "or a prefix";
    node().run("ip route add default via 203.0.113.2");
    EXPECT_FALSE(discover({"br0"}).at(0).is_inner_bridge) << "a way out";
}

TEST_F(UplinkTest, WhatLeadsToNobodyIsNone) {
    node().run("ip link add ifb9 type ifb && ip link set ifb9 up && ip addr add 203.0.113.1/24 dev ifb9");
    EXPECT_THAT(names(), IsEmpty());
    for (const char* device : {"ifb9", "lo"}) {
        EXPECT_THAT(discover({device}).at(0).unusable, HasSubstr(formatted("{} leads to nobody", device)));
    }
}

TEST_F(UplinkTest, HasItsGlobalAddressesAndMayBeTheWayOut) {
    add_wire("up0", 1);
    node().run("ip link set up0 mtu 1450 && ip route add default via 192.0.2.254");
    const auto uplinks = discover();
    ASSERT_EQ(uplinks.size(), 1U);
    EXPECT_EQ(uplinks[0].name, "up0");
    EXPECT_EQ(uplinks[0].mtu, 1450U);
    EXPECT_EQ(uplinks[0].unusable, "");
    EXPECT_TRUE(uplinks[0].is_way_out);
    // fe80:: is of link scope.
    EXPECT_THAT(uplinks[0].addresses,
                ElementsAre(IpAddr::parse("192.0.2.1").value(), IpAddr::parse("2001:db8::1").value()));
}

TEST_F(UplinkTest, AnIpv6DefaultRouteMakesAWayOut) {
    add_wire("up0", 1);
    add_wire("lan0", 2);
    node().run("ip -6 route add default via 2001:db8::ff");
    EXPECT_THAT(out(), ElementsAre("up0"));
}

TEST_F(UplinkTest, SoDoesOneThatARouterAdvertises) {
    add_wire("up0", 1);
    add_wire("lan0", 2);
    node().run("ip -6 route add default via 2001:db8::ff proto ra");
    EXPECT_THAT(out(), ElementsAre("up0"));
}

TEST_F(UplinkTest, SeveralDefaultRoutesMakeSeveralWaysOut) {
    add_wire("up1", 1);
    add_wire("up0", 2);
    add_wire("lan0", 3);
    EXPECT_THAT(out(), ElementsAre("up1", "up0", "lan0")) << "without a default route, all of them";
    node().run("ip route add default via 192.0.2.254 dev up0 metric 200");
    node().run("ip route add default via 192.0.2.253 dev up1 metric 100");
    EXPECT_THAT(out(), ElementsAre("up1", "up0"));  // in the order of their indexes
}

TEST_F(UplinkTest, EveryNextHopOfAMultipathRouteIsOne) {
    add_wire("up0", 1);
    add_wire("up1", 2);
    node().run("ip route add default nexthop via 192.0.2.254 dev up0 nexthop via 192.0.2.253 dev up1");
    EXPECT_THAT(out(), ElementsAre("up0", "up1"));
    node().run("ip route del default");
    node().run("ip -6 route add default nexthop via 2001:db8::fe dev up0 nexthop via 2001:db8::ff dev up1");
    EXPECT_THAT(out(), ElementsAre("up0", "up1"));
}

TEST_F(UplinkTest, NexthopObjectsAndGroupsOfThemAreFollowed) {
    add_wire("up0", 1);
    add_wire("up1", 2);
    // Without this the kernel repeats the devices in the route itself (ip-sysctl.rst).
    node().run("echo 0 > /proc/sys/net/ipv4/nexthop_compat_mode");
    node().run("ip nexthop add id 1 via 192.0.2.254 dev up0 && ip nexthop add id 2 via 192.0.2.253 dev up1");
    node().run("ip route add default nhid 2");
    EXPECT_THAT(out(), ElementsAre("up1"));
    node().run("ip nexthop add id 3 group 1/2 && ip route replace default nhid 3");
    EXPECT_THAT(out(), ElementsAre("up0", "up1"));
}

// What policy rules lead to, of a second provider or of wg-quick.
TEST_F(UplinkTest, ADefaultRouteOfAnyTableMakesOne) {
    add_wire("up0", 1);
    add_wire("up1", 2);
    node().run("ip route add default via 192.0.2.254 dev up0 table 100");
    EXPECT_THAT(out(), ElementsAre("up0", "up1")) << "no rule leads there, so all are";
    node().run("ip rule add lookup 100 && ip -6 rule add not fwmark 51820 lookup 51820");
    EXPECT_THAT(out(), ElementsAre("up0"));
    node().run("ip -6 route add default via 2001:db8::ff dev up1 table 51820");
    EXPECT_THAT(out(), ElementsAre("up0", "up1"));
}

TEST_F(UplinkTest, SoDoBothHalvesOfAllThereIs) {
    add_wire("up0", 1);
    add_wire("lan0", 2);
    node().run("ip route add 0.0.0.0/1 dev up0 && ip route add 128.0.0.0/1 dev up0");
    EXPECT_THAT(out(), ElementsAre("up0"));
}

TEST_F(UplinkTest, RoutesThatRefuseOrLeadToSomeOnlyMakeNoWayOut) {
    add_wire("up0", 1);
    add_wire("up1", 2);
    node().run("ip route add 198.51.100.0/24 via 192.0.2.254 dev up0 table 100");
    node().run("ip route add unreachable default table 100 && ip -6 route add prohibit default table 100");
    node().run("ip route add unreachable default && ip -6 route add blackhole default");
    node().run("ip route add default via 192.0.2.253 dev up1 table 101 && ip rule add lookup 101");
    EXPECT_THAT(out(), ElementsAre("up1"));
}

TEST_F(UplinkTest, ADeviceWithoutAnEthernetHeaderIsAnL3One) {
    if (!add_device_without_ethernet()) {
        GTEST_SKIP() << "this kernel has neither tun nor wireguard";
    }
    node().run("ip link set tun0 up && ip route add default dev tun0");
    add_wire("up0", 1);
    node().run("ip route add default dev up0 metric 7");
    const auto uplinks = discover();
    ASSERT_EQ(uplinks.size(), 2U);
    EXPECT_EQ(uplinks[0].is_l3, uplinks[0].name == "tun0");
    EXPECT_EQ(uplinks[1].is_l3, uplinks[1].name == "tun0");
    EXPECT_EQ(uplinks[0].unusable + uplinks[1].unusable, "");
}

TEST_F(UplinkTest, ConfiguredNamesAreTakenAsTheyAreAndMissingOnesLeftOut) {
    add_wire("up0", 1);
    add_wire("up1", 2);
    EXPECT_THAT(names({"up1", "not-yet0"}), ElementsAre("up1"));
}

TEST_F(UplinkTest, AnEndpointsDeviceIsNeverOne) {
    add_wire("nk0a1b2c3d", 1);
    node().run(formatted("ip link set nk0a1b2c3d group {}", kDeviceGroup));
    add_wire("nkwire", 2);
    node().run("ip route add default via 192.0.2.254 dev nk0a1b2c3d");
    node().run("ip route add default via 192.0.2.253 dev nkwire metric 7");
    EXPECT_THAT(names(), ElementsAre("nkwire"));
    EXPECT_THAT(names({"nk0a1b2c3d"}), IsEmpty());
}

TEST_F(UplinkTest, AnAddressOnItsWayOutComesLastAndATentativeOneNotAtAll) {
    add_wire("up0", 1);
    node().run("ip addr add 2001:db8::bad/64 dev up0 preferred_lft 0 nodad");
    node().run("ip addr add 2001:db8::3/64 dev up0 nodad");
    node().run("ip route add default via 192.0.2.254");
    EXPECT_THAT(discover().at(0).addresses.back(), IpAddr::parse("2001:db8::bad").value());
    node().run("ip addr flush dev up0 scope global");
    // So many probes that duplicate detection does not end within the test.
    node().run("echo 1000 > /proc/sys/net/ipv6/conf/up0/dad_transmits && ip addr add 2001:db8::4/64 dev up0");
    EXPECT_THAT(discover({"up0"}).at(0).addresses, IsEmpty());
}

}  // namespace
}  // namespace netkitd::link
