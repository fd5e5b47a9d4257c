// Which devices lead outside.
#include "link/uplink.h"

#include <gmock/gmock.h>

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
    [[nodiscard]] std::vector<std::string> names(const std::vector<std::string>& configured = {}) {
        std::vector<std::string> names;
        for (const Uplink& uplink : discover(configured)) {
            names.push_back(uplink.name);
        }
        return names;
    }

private:
    std::unique_ptr<test::NetworkNamespace> outside_;
    std::unique_ptr<Netlink> socket_;
};

TEST_F(UplinkTest, ThereIsNoneWithoutADefaultRoute) {
    EXPECT_THAT(names(), IsEmpty());
    add_wire("up0", 1);
    EXPECT_THAT(names(), IsEmpty());
}

TEST_F(UplinkTest, IsTheDeviceOfTheDefaultRouteWithItsGlobalAddresses) {
    add_wire("up0", 1);
    node().run("ip link set up0 mtu 1450 && ip route add default via 192.0.2.254");
    const auto uplinks = discover();
    ASSERT_EQ(uplinks.size(), 1U);
    EXPECT_EQ(uplinks[0].name, "up0");
    EXPECT_EQ(uplinks[0].mtu, 1450U);
    EXPECT_EQ(uplinks[0].unusable, "");
    // fe80:: is of link scope.
    EXPECT_THAT(uplinks[0].addresses,
                ElementsAre(IpAddr::parse("192.0.2.1").value(), IpAddr::parse("2001:db8::1").value()));
}

TEST_F(UplinkTest, AnIpv6DefaultRouteIsEnough) {
    add_wire("up0", 1);
    node().run("ip -6 route add default via 2001:db8::ff");
    EXPECT_THAT(names(), ElementsAre("up0"));
}

TEST_F(UplinkTest, SeveralDefaultRoutesMakeSeveral) {
    add_wire("up1", 1);
    add_wire("up0", 2);
    node().run("ip route add default via 192.0.2.254 dev up0 metric 200");
    node().run("ip route add default via 192.0.2.253 dev up1 metric 100");
    EXPECT_THAT(names(), ElementsAre("up1", "up0"));  // in the order of their indexes
}

TEST_F(UplinkTest, EveryNextHopOfAMultipathRouteIsOne) {
    add_wire("up0", 1);
    add_wire("up1", 2);
    node().run("ip route add default nexthop via 192.0.2.254 dev up0 nexthop via 192.0.2.253 dev up1");
    EXPECT_THAT(names(), ElementsAre("up0", "up1"));
    node().run("ip route del default");
    node().run("ip -6 route add default nexthop via 2001:db8::fe dev up0 nexthop via 2001:db8::ff dev up1");
    EXPECT_THAT(names(), ElementsAre("up0", "up1"));
}

TEST_F(UplinkTest, NexthopObjectsAndGroupsOfThemAreFollowed) {
    add_wire("up0", 1);
    add_wire("up1", 2);
    // Without this the kernel repeats the devices in the route itself (ip-sysctl.rst).
    node().run("echo 0 > /proc/sys/net/ipv4/nexthop_compat_mode");
    node().run("ip nexthop add id 1 via 192.0.2.254 dev up0 && ip nexthop add id 2 via 192.0.2.253 dev up1");
    node().run("ip route add default nhid 2");
    EXPECT_THAT(names(), ElementsAre("up1"));
    node().run("ip nexthop add id 3 group 1/2 && ip route replace default nhid 3");
    EXPECT_THAT(names(), ElementsAre("up0", "up1"));
}

// What policy rules lead to, of a second provider or of wg-quick.
TEST_F(UplinkTest, ADefaultRouteOfAnyTableIsEnough) {
    add_wire("up0", 1);
    add_wire("up1", 2);
    node().run("ip route add default via 192.0.2.254 dev up0 table 100");
    EXPECT_THAT(names(), ElementsAre("up0"));
    node().run("ip -6 route add default via 2001:db8::ff dev up1 table 51820");
    EXPECT_THAT(names(), ElementsAre("up0", "up1"));
}

TEST_F(UplinkTest, RoutesThatRefuseOrLeadToSomeOnlyDoNotCount) {
    add_wire("up0", 1);
    node().run("ip route add 198.51.100.0/24 via 192.0.2.254 table 100");
    node().run("ip route add unreachable default table 100 && ip -6 route add prohibit default table 100");
    node().run("ip route add unreachable default && ip -6 route add blackhole default");
    EXPECT_THAT(names(), IsEmpty());
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

TEST_F(UplinkTest, TheLoopbackDeviceIsUnusable) {
    const auto uplinks = discover({"lo"});
    ASSERT_EQ(uplinks.size(), 1U);
    EXPECT_THAT(uplinks[0].unusable, HasSubstr("lo has packets of a kind that netkitd does not know"));
}

TEST_F(UplinkTest, ConfiguredNamesAreTakenAsTheyAreAndMissingOnesLeftOut) {
    add_wire("up0", 1);
    add_wire("up1", 2);
    node().run("ip route add default via 192.0.2.254 dev up0");
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
