// The short ways of what is not translated. A container's packets leave by one when another one just went to the same
// address; and whatever takes one is judged, and becomes, as by the long way, which every SYN takes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <utility>
#include <vector>

#include "bpf/bpf_test.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Pair;

constexpr std::uint32_t kRoutedId = 3;

class RoutedTest : public BpfTest, public ::testing::WithParamInterface<const Net*> {
protected:
    RoutedTest() { options.netkit_peer = true; }
    void SetUp() override {
        BpfTest::SetUp();
        if (!IsSkipped()) {
            pin_to_cpu(0);  // each remembers routes of its own
        }
    }

    RunResult out_of_routed(const Packet& packet) { return run(Program::veth_ingress, "nkrouted", packet); }
    [[nodiscard]] Packet segment() const {
        return Packet().ip(net.routed, net.remote).tcp(1000, 443).ack().payload("hello");
    }
    // As far as the programs are told: the long way says at once that it is not the container's any more.
    void give_address_to(std::string_view device) {
        const auto given = node().add_endpoint(net.routed, device, kRoutedId);
        ASSERT_TRUE(given) << given.error().message();
    }
    // Whether this packet goes by what was found out for another one. The clock may tick between the two.
    [[nodiscard]] bool takes_the_short_way(const Packet& packet) { return takes_the_short_way(packet, segment()); }
    [[nodiscard]] bool takes_the_short_way(const Packet& packet, const Packet& other) {
        bool took = false;
        for (int attempt = 0; attempt < 3 && !took; attempt++) {
            give_address_to("nkrouted");
            out_of_routed(other);
            give_address_to("nkdb");
            took = out_of_routed(packet).verdict == Verdict::redirect;
        }
        return took;
    }

    const Net& net = *GetParam();
};
INSTANTIATE_TEST_SUITE_P(Family, RoutedTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(RoutedTest, WhatJustWentToTheSameAddressShowsTheWay) {
    EXPECT_TRUE(takes_the_short_way(segment()));
    EXPECT_TRUE(takes_the_short_way(Packet(segment()).fin().payload("more")));
    EXPECT_FALSE(takes_the_short_way(Packet().ip(net.routed, net.other_remote).tcp(1000, 443).ack()));
    EXPECT_FALSE(takes_the_short_way(Packet().ip(net.routed, net.remote).udp(1000, 443))) << "multipath may differ";
    EXPECT_FALSE(takes_the_short_way(segment().rst())) << "it may be of a flow";
    EXPECT_FALSE(takes_the_short_way(segment().fragment(0, true)));
}

TEST_P(RoutedTest, UntilTheDaemonSaysThatSomethingChanged) {
    EXPECT_TRUE(takes_the_short_way(segment()));
    node().settings().route_generation++;
    EXPECT_THAT(out_of_routed(segment()).counted, ElementsAre(Pair("spoofed-source", 1)));
}

TEST_P(RoutedTest, ItLeavesAsByTheLongWay) {
    EXPECT_EQ(describe(out_of_routed(segment()).packet), describe(forwarded(segment()).bytes()));
    EXPECT_TRUE(takes_the_short_way(segment()));
    give_address_to("nkrouted");
    EXPECT_TRUE(left_as(out_of_routed(segment()).packet, forwarded(segment())));
    EXPECT_TRUE(left_as(out_of_routed(segment().ttl(2)).packet, segment().ttl(1)));
}

TEST_P(RoutedTest, WhatDoesNotFitOrHasExpiredIsTheStacks) {
    EXPECT_TRUE(takes_the_short_way(segment()));
    give_address_to("nkrouted");
    EXPECT_THAT(out_of_routed(segment().ttl(1)).counted, ElementsAre(Pair("stack-ttl", 1)));
    EXPECT_THAT(out_of_routed(segment().dont_fragment().payload(1600)).counted, ElementsAre(Pair("stack-too-big", 1)));
}

TEST_P(RoutedTest, NobodyElseIsShownTheWay) {
    EXPECT_TRUE(takes_the_short_way(segment()));
    give_address_to("nkrouted");
    EXPECT_EQ(out(segment()).verdict, Verdict::drop) << "from another device";
    EXPECT_THAT(out_of_routed(Packet().ip(net.web, net.remote).tcp(1000, 443).ack()).counted,
                ElementsAre(Pair("spoofed-source", 1)));
    EXPECT_THAT(out(Packet().ip(net.web, net.remote).tcp(1000, 443).ack()).counted, Contains(Pair("flow-created", 1)));
}

struct Hop {
    Program program{};
    std::string device;
    std::string source;
    std::string destination;
};

std::vector<Hop> hops(const Net& net) {
    using enum Program;
    const std::string loopback = net.is_ipv6() ? "::1" : "127.0.0.1";
    return {{veth_ingress, "nkweb", net.web, net.db},
            {netkit_peer, "nkweb", net.web, net.db},
            {veth_ingress, "nkweb", net.web, net.routed},
            {veth_ingress, "nkweb", net.web, net.gateway},
            {veth_ingress, "nkweb", net.web, net.nobody},
            {veth_ingress, "nkweb", net.web, net.web},
            {veth_ingress, "nkdb", net.web, net.db},
            {veth_ingress, "nkdb", net.nobody, net.web},
            {veth_ingress, "nkdb", net.routed, net.web},
            {veth_ingress, "nkrouted", net.routed, net.web},
            {uplink_ingress, "eth0", net.remote, net.routed},
            {uplink_ingress, "eth0", net.remote, net.web},
            {uplink_ingress, "eth0", net.web, net.routed},
            {uplink_ingress, "eth0", net.routed, net.routed},
            {uplink_ingress, "eth0", loopback, net.routed},
            {uplink_ingress, "eth0", net.remote, net.routed_gateway},
            {uplink_ingress, "eth0", net.remote, net.routed_nobody}};
}

// With a port that is none of the masquerade pool, and one that is.
constexpr auto kTtlsAndPorts =
    std::to_array<std::pair<std::uint8_t, std::uint16_t>>({{1, 443}, {2, 443}, {64, 443}, {1, 50000}, {64, 50000}});

TEST_P(RoutedTest, TheShortWayJudgesAsTheLongOne) {
    const auto as_ack = [](const std::string& text) {
        const auto at = text.find(" SYN ");
        return at == std::string::npos ? text : std::string(text).replace(at, 5, " ACK ");
    };
    for (const bool isolated : {false, true}) {
        node().network(0, net.is_ipv6()).flags = NK_NETWORK_MASQUERADE;
        if (isolated) {
            node().network(0, net.is_ipv6()).flags |= NK_NETWORK_ISOLATED;
        }
        for (const Hop& hop : hops(net)) {
            for (const auto& [ttl, port] : kTtlsAndPorts) {
                SCOPED_TRACE(formatted("{} to {} on {}, ttl {}, port {}, isolated {}", hop.source, hop.destination,
                                       hop.device, ttl, port, isolated));
                const auto packet = [&] {
                    Packet made = Packet().ip(hop.source, hop.destination).ttl(ttl).tcp(1000, port).payload("hello");
                    return hop.program == Program::uplink_ingress ? made.eth(kUplinkMac, kRouterMac) : made;
                };
                const RunResult by_short = run(hop.program, hop.device, packet().ack());
                const RunResult by_long = run(hop.program, hop.device, packet().syn());
                EXPECT_EQ(by_short.verdict, by_long.verdict);
                EXPECT_EQ(by_short.counted, by_long.counted);
                if (by_short.counted.contains("no-container")) {
                    continue;  // the answer quotes it
                }
                EXPECT_EQ(describe(by_short.packet), as_ack(describe(by_long.packet)));
            }
        }
    }
}

// Or whoever forges a source has them told as often as he likes.
TEST_P(RoutedTest, OutsidersAreToldOfNobodyOnceATick) {
    constexpr int kAsked = 2000;
    constexpr std::chrono::milliseconds kShortestTick{1};  // CONFIG_HZ=1000
    const Packet packet = Packet().ip(net.remote, net.routed_nobody).udp(1000, 443);
    int told = 0;
    const auto begun = std::chrono::steady_clock::now();
    for (int i = 0; i < kAsked; ++i) {
        told += run(Program::host_egress, "netkitd0", packet, {.came_in_by = "eth0"}).verdict == Verdict::redirect;
    }
    const auto ticks = (std::chrono::steady_clock::now() - begun) / kShortestTick + 1;
    EXPECT_GT(told, 0);
    EXPECT_LE(told, ticks);
    EXPECT_LT(told, kAsked);
}

TEST_P(RoutedTest, ThatANetworkIsRoutedMayBeCountedLater) {
    const Packet packet = Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, net.routed).tcp(443, 50000).ack();
    for (const std::uint32_t count : {1U, 0U}) {
        node().settings().routed4_count = node().settings().routed6_count = count;
        const RunResult result = run(Program::uplink_ingress, "eth0", packet);
        EXPECT_EQ(result.verdict, Verdict::redirect);
        EXPECT_EQ(describe(result.packet), describe(Packet(packet).ttl(63).bytes()));
    }
}

// Its network was masqueraded when the connection began.
TEST_P(RoutedTest, AConnectionThatWasMasqueradedStaysSo) {
    const auto inserted = node().insert(Stage::established, Flow{.source = net.routed,
                                                                 .source_port = 1000,
                                                                 .destination = net.remote,
                                                                 .translated = net.node,
                                                                 .translated_port = 61000,
                                                                 .endpoint_id = kRoutedId});
    ASSERT_TRUE(inserted) << inserted.error().message();
    const Packet beside = Packet().ip(net.routed, net.remote).tcp(1001, 443).ack();
    EXPECT_TRUE(takes_the_short_way(beside, beside));
    give_address_to("nkrouted");
    for (int i = 0; i < 3; i++) {
        EXPECT_TRUE(left_as(out_of_routed(segment()).packet, forwarded(segment().from(net.node, 61000))));
        EXPECT_TRUE(left_as(out_of_routed(beside).packet, forwarded(beside)));
    }
}

}  // namespace
}  // namespace netkitd::test
