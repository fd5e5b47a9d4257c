// What is remembered of the way to the router: by an established flow, and for the next flow to the same address.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <string>

#include "base/format.h"
#include "bpf/flow_fixture.h"
#include "bpf/packets.h"
#include "link/sysctl.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Key;

TEST_P(BothFamiliesTest, AnEstablishedFlowKnowsTheWayToTheRouter) {
    establish();
    EXPECT_TRUE(knows_the_way());
    out(segment());
    EXPECT_TRUE(knows_the_way());
}

TEST_P(BothFamiliesTest, ItAsksAnewWhenARouteChanged) {
    establish();
    node().settings().route_generation++;
    EXPECT_FALSE(goes_by_what_it_remembers(segment()));
    EXPECT_TRUE(knows_the_way()) << "it learned the way again";
}

TEST_P(BothFamiliesTest, ItAsksAnewWhenARouteChangedBeforeTheFirstReply) {
    out(from_web(net));
    node().settings().route_generation++;
    in(reply_to_web(net));
    EXPECT_FALSE(goes_by_what_it_remembers(segment()));
}

TEST_P(BothFamiliesTest, ItAsksAnewWhenTheClockTicks) {
    establish();
    change_forward([](nk_flow& flow) { flow.stamp -= 2; });
    EXPECT_FALSE(goes_by_what_it_remembers(segment()));
}

TEST_P(BothFamiliesTest, APacketLargerThanTheKnownMtuAsksAnew) {
    establish();
    change_forward([](nk_flow& flow) { flow.mtu = 100; });
    EXPECT_FALSE(goes_by_what_it_remembers(segment().dont_fragment().payload(200)));
}

TEST_P(BothFamiliesTest, NowAndThenTheKernelsNeighbourIsUsed) {
    const std::string by_neighbour = describe(forwarded(segment().from(net.node, 50000)).bytes());
    EXPECT_EQ(describe(out(segment()).packet), by_neighbour);
    EXPECT_TRUE(left_as(out(segment()).packet, forwarded(segment().from(net.node, 50000))));
    node().settings().route_generation++;
    EXPECT_EQ(describe(out(segment()).packet), by_neighbour);
}

TEST_P(BothFamiliesTest, ANextHopThatBecomesUnknownIsResolvedAgain) {
    establish();
    NetnsTest::node().run("ip neigh flush nud permanent dev eth0; ip -6 neigh flush nud permanent dev eth0");
    node().settings().route_generation++;
    const auto waits = ElementsAre(std::pair("neighbour-missing", 1), std::pair("stack-neighbour", 1));
    EXPECT_THAT(out(segment()).counted, waits);
    EXPECT_THAT(out(segment()).counted, waits) << "nothing was remembered";
}

TEST_P(BothFamiliesTest, APolicyRuleMayLookAtTheMark) {
    const std::string family = net.name == "V4" ? "-4" : "-6";
    NetnsTest::node().run(
        formatted("ip {0} rule add fwmark 5 lookup 100; ip {0} route add prohibit default table 100", family));
    EXPECT_EQ(out(segment()).verdict, Verdict::redirect);
    const auto marked = node().run(Program::veth_ingress, "nkweb", segment().syn(), {.mark = 5});
    ASSERT_TRUE(marked);
    EXPECT_THAT(marked->counted, ElementsAre(std::pair("stack-no-route", 1)));
}

// What the routing table answered for one flow is good for the next ones to the same address.
class RememberedRouteTest : public BothFamiliesTest {
protected:
    void SetUp() override {
        BothFamiliesTest::SetUp();
        pin_to_cpu(0);  // each has a memory of its own
        NetnsTest::node().run("ip addr add 203.0.113.9/24 dev eth0; ip addr add 2001:db8:113::9/64 dev eth0 nodad");
        NetnsTest::node().await_address("2001:db8:113::9");
        prefer(net.node);
    }

    // From now on, the host sends by this one of its addresses.
    void prefer(const std::string& address) {
        NetnsTest::node().run(formatted("ip route replace default via {} src {}",
                                        net.is_ipv6() ? "2001:db8:113::1" : "203.0.113.1", address));
    }
    // The address that a new connection is masqueraded with.
    [[nodiscard]] std::string source_of_new_flow() {
        const RunResult result = out(Packet().ip(net.web, net.remote).tcp(port_, 443).syn());
        for (const std::string& source : {net.node, net.other_node}) {
            const Packet sent = Packet().ip(net.web, net.remote).tcp(port_, 443).syn().from(source, port_);
            if (left_as(result.packet, forwarded(sent))) {
                port_++;
                return source;
            }
        }
        return "another packet: " + describe(result.packet);
    }
    // The clock may tick just before the second one, which then asks anew.
    [[nodiscard]] bool remembers() {
        bool remembered = false;
        for (int attempt = 0; attempt < 10 && !remembered; attempt++) {
            prefer(net.node);
            node().settings().route_generation++;
            EXPECT_EQ(source_of_new_flow(), net.node);
            prefer(net.other_node);
            remembered = source_of_new_flow() == net.node;
        }
        return remembered;
    }

private:
    std::uint16_t port_ = 50000;
};
INSTANTIATE_TEST_SUITE_P(Family, RememberedRouteTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(RememberedRouteTest, AnswersNewFlowsUntilTheDaemonSaysThatItChanged) {
    EXPECT_TRUE(remembers());
    node().settings().route_generation++;
    EXPECT_EQ(source_of_new_flow(), net.other_node);
}

// A rule may look at anything: ports, protocol, flow label.
TEST_P(RememberedRouteTest, IsNotWhereTheHostHasPolicyRules) {
    const std::string family = net.name == "V4" ? "-4" : "-6";
    EXPECT_EQ(source_of_new_flow(), net.node);
    NetnsTest::node().run(formatted("ip {} rule add iif eth1 dport 7 lookup main", family));
    prefer(net.other_node);
    EXPECT_EQ(source_of_new_flow(), net.other_node);
}

// By ports, two flows to one address may have different next hops.
TEST_P(RememberedRouteTest, IsNotWhereMultipathChoosesByPorts) {
    EXPECT_EQ(source_of_new_flow(), net.node);
    ASSERT_TRUE(link::write_sysctl(net.sysctl_dir + "/fib_multipath_hash_policy", "1"));
    prefer(net.other_node);
    EXPECT_EQ(source_of_new_flow(), net.other_node);
}

TEST_P(RememberedRouteTest, IsOfOneContainer) {
    EXPECT_EQ(source_of_new_flow(), net.node);
    const std::string sysctl = net.sysctl_dir + "/conf/netkitd0/forwarding";
    ASSERT_TRUE(link::write_sysctl(sysctl, "0"));
    EXPECT_THAT(out_of_db(Packet().ip(net.db, net.remote).tcp(50000, 443).syn()).counted,
                Contains(Key("forwarding-disabled")));
}

TEST_P(RememberedRouteTest, DoesNotLetALargerPacketThrough) {
    const auto large = [this](std::size_t size) {
        return Packet().ip(net.web, net.special_route(6)).dont_fragment().udp(50000, 53).payload(size);
    };
    EXPECT_EQ(out(large(100)).verdict, Verdict::redirect);
    EXPECT_EQ(out(large(1280)).verdict, Verdict::redirect) << "the route's MTU is 1300";
}

TEST_F(FlowTest, ARememberedRouteIsOfOneTypeOfService) {
    pin_to_cpu(0);
    NetnsTest::node().run("ip route add prohibit 198.51.100.1 tos 0x10");
    EXPECT_EQ(out(web_segment()).verdict, Verdict::redirect);
    const Packet of_another_flow = Packet().ip("10.77.0.2", "198.51.100.1").tcp(50001, 443);
    EXPECT_EQ(out(Packet(of_another_flow).tos(0x10)).verdict, Verdict::redirect);
    EXPECT_EQ(out(of_another_flow).verdict, Verdict::redirect);
}

// The host's neighbour table is for all (bpf/lib/route/neighbour_share.h).
class NeighbourShareTest : public BothFamiliesTest {
protected:
    [[nodiscard]] std::string neighbour(int number) const {
        return formatted("{}{}", net.is_ipv6() ? "2001:db8:113::1:" : "203.0.113.", number);
    }
    [[nodiscard]] Packet to_neighbour(std::string_view container, int number, std::size_t size) const {
        return Packet().ip(container, neighbour(number)).udp(50000, 53).payload(size);
    }
};
INSTANTIATE_TEST_SUITE_P(Family, NeighbourShareTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

// Eight ninths of the 62 for all, 31 of its own, and what comes back meanwhile: of its own one each interval, and all
// of the others at once when an epoch ends.
TEST_P(NeighbourShareTest, WhoScansALinkGetsSoManyAndOthersTheirOwn) {
    const auto began = std::chrono::steady_clock::now();
    RunResult last;
    int asked = -1;
    do {
        ++asked;
        last = out(to_neighbour(net.web, 100 + asked % 100, 10));
    } while (asked < 10'000 && last.verdict == Verdict::redirect);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
    const double epochs = std::floor(took / 2s) + 1;
    EXPECT_GE(asked, 80);
    EXPECT_LE(asked, 55 + 31 + 1 + took.count() / NK_NEIGHBOUR_INTERVAL_MS + epochs * 55);
    EXPECT_EQ(last.verdict, Verdict::drop);
    EXPECT_THAT(last.counted, ElementsAre(std::pair("neighbour-share", 1)));
    EXPECT_EQ(out(segment()).verdict, Verdict::redirect) << "the router is known";
    EXPECT_EQ(out_of_db(to_neighbour(net.db, 253, 10)).verdict, Verdict::redirect);
}

// On a node with many containers, whose own shares are one in a long while.
TEST_P(NeighbourShareTest, WhoScansLeavesOthersSomeAtOnce) {
    node().settings().neighbour_interval_ms = 1'000'000;
    for (int i = 0; i < 100; i++) {
        out(to_neighbour(net.web, 100 + i, 10));
    }
    for (int i = 0; i < 6; i++) {
        EXPECT_EQ(out_of_db(to_neighbour(net.db, 210 + i, 10)).verdict, Verdict::redirect) << i;
    }
}

// The stack would ask for them as well.
TEST_P(NeighbourShareTest, NorByPacketsThatTheStackFragments) {
    node().settings().neighbour_interval_ms = 1'000'000;
    for (int i = 0; i < 150; i++) {
        out(to_neighbour(net.web, 100 + i, 10));
    }
    const RunResult sent = out(to_neighbour(net.web, 254, 2000));
    if (net.is_ipv6()) {
        EXPECT_THAT(sent.counted, ElementsAre(std::pair("stack-too-big", 1))) << "the stack answers, and forwards none";
    } else {
        EXPECT_THAT(sent.counted, ElementsAre(std::pair("neighbour-share", 1)));
    }
}

}  // namespace
}  // namespace netkitd::test
