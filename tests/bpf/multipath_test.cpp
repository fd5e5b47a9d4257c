// Flows on a host whose default route has two next hops, each by an uplink with an address of its own, and what becomes
// of them when there is one more or one less.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "bpf/bpf_test.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr std::uint16_t kByEth0 = 50000;
constexpr std::uint16_t kByEth1 = 50001;
constexpr std::uint16_t kNew = 50002;

class MultipathTest : public BpfTest, public ::testing::WithParamInterface<const Net*> {
protected:
    void SetUp() override {
        BpfTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        NetnsTest::node().run(
            "ip addr add 203.0.114.2/24 dev eth1; ip addr add 2001:db8:114::2/64 dev eth1 nodad;"
            "ip neigh add 203.0.114.1 lladdr 02:00:00:00:00:01 dev eth1 nud permanent;"
            "ip neigh add 2001:db8:114::1 lladdr 02:00:00:00:00:01 dev eth1 nud permanent");
        NetnsTest::node().await_address("2001:db8:114::2");
        lead_to({"eth0", "eth1"});
        // By the addresses both would go the same way, so one of them began when there was another one.
        insert(kByEth0, "eth0");
        insert(kByEth1, "eth1");
    }

    [[nodiscard]] bool v4() const { return net.name == "V4"; }
    [[nodiscard]] std::string other_node() const { return v4() ? "203.0.114.2" : "2001:db8:114::2"; }
    [[nodiscard]] std::string address_on(std::string_view uplink) const {
        return uplink == "eth0" ? net.node : other_node();
    }
    [[nodiscard]] std::string next_hop(std::string_view uplink) const {
        const std::string_view link = uplink == "eth0" ? "113" : "114";
        return formatted("nexthop via {}{}{} dev {}", v4() ? "203.0." : "2001:db8:", link, v4() ? ".1" : "::1", uplink);
    }
    // The default route, from now on.
    void lead_to(const std::vector<std::string>& uplinks, const std::string& attributes = "") {
        std::string hops;
        for (const std::string& uplink : uplinks) {
            hops += next_hop(uplink) + " ";
        }
        NetnsTest::node().run(formatted("ip {} route replace default {} {}", v4() ? "-4" : "-6", attributes, hops));
        node().settings().route_generation++;
    }
    void insert(std::uint16_t port, const std::string& uplink, std::uint16_t translated_port = 0) {
        const auto inserted =
            node().insert(Stage::established, Flow{.source = net.web,
                                                   .source_port = port,
                                                   .destination = net.remote,
                                                   .translated = address_on(uplink),
                                                   .translated_port = translated_port == 0 ? port : translated_port,
                                                   .uplink = uplink});
        ASSERT_TRUE(inserted) << inserted.error().message();
    }

    [[nodiscard]] Packet segment(std::uint16_t port) const {
        return Packet().ip(net.web, net.remote).tcp(port, 443).ack().payload("more");
    }
    // Whether this packet leaves as it is with that source.
    [[nodiscard]] bool leaves_as(const Packet& packet, const std::string& source, std::uint16_t port) {
        return static_cast<bool>(left_as(out(packet).packet, forwarded(Packet(packet).from(source, port))));
    }
    [[nodiscard]] std::vector<std::string> established() { return node().flows(Stage::established); }

    const Net& net = *GetParam();
};
INSTANTIATE_TEST_SUITE_P(Family, MultipathTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(MultipathTest, AFlowStaysOnItsWayWhileThatIsThere) {
    const std::vector<std::string> flows = established();
    for (int i = 0; i < 5; i++) {
        EXPECT_TRUE(leaves_as(segment(kByEth0), net.node, kByEth0));
        EXPECT_TRUE(leaves_as(segment(kByEth1), other_node(), kByEth1));
        node().settings().route_generation++;
    }
    EXPECT_EQ(established(), flows);
    EXPECT_THAT(node().flows(Stage::fresh), IsEmpty());
}

TEST_P(MultipathTest, PolicyRulesForOthersDoNotMatter) {
    NetnsTest::node().run(formatted("ip {} rule add from {} lookup 100", v4() ? "-4" : "-6", net.routed));
    EXPECT_TRUE(leaves_as(segment(kByEth0), net.node, kByEth0));
    EXPECT_TRUE(leaves_as(segment(kByEth1), other_node(), kByEth1));
}

TEST_P(MultipathTest, AFlowWhoseWayIsGoneBeginsAnew) {
    lead_to({"eth1"});
    EXPECT_THAT(out(segment(kByEth0)).counted, Contains(Key("flow-created")));
    EXPECT_THAT(established(), UnorderedElementsAre(HasSubstr("eth1"), HasSubstr("nkweb")));
    EXPECT_THAT(node().flows(Stage::fresh), AllOf(SizeIs(2), Each(HasSubstr(other_node()))));
    EXPECT_TRUE(leaves_as(segment(kByEth1), other_node(), kByEth1));
}

TEST_P(MultipathTest, AFlowThatStaysChangesNothingForNewOnes) {
    pin_to_cpu(0);  // each remembers routes of its own
    const auto begins_as = [this](std::uint16_t port, const std::string& source) {
        return leaves_as(Packet().ip(net.web, net.remote).tcp(port, 443).syn(), source, port);
    };
    const std::string source = begins_as(kNew, net.node) ? net.node : other_node();
    for (const std::uint16_t old : {kByEth0, kByEth1}) {
        out(segment(old));
        EXPECT_TRUE(begins_as(old + 10, source));
    }
}

// Of IPv6, a way is remembered without its source, which is asked for when a new flow needs it.
TEST_P(MultipathTest, ANewFlowIsNotLostWhenTheWayChangedSinceItWasAskedFor) {
    pin_to_cpu(0);
    lead_to({"eth0"});
    out(segment(kByEth0));
    NetnsTest::node().run(
        formatted("ip {} route replace default {}", v4() ? "-4" : "-6", next_hop("eth1").substr(sizeof("nexthop"))));
    const Packet begin = Packet().ip(net.web, net.remote).tcp(kNew, 443).syn();
    const RunResult result = out(begin);
    EXPECT_EQ(result.verdict, Verdict::redirect);
    EXPECT_THAT(result.counted, Contains(Key("flow-created")));
    EXPECT_TRUE(left_as(result.packet, forwarded(Packet(begin).from(net.node, kNew))) ||
                left_as(result.packet, forwarded(Packet(begin).from(other_node(), kNew))));
}

TEST_P(MultipathTest, FragmentsFollowTheirFlow) {
    constexpr std::uint32_t kId = 4711;
    for (const auto& [port, uplink] : {std::pair(kByEth0, "eth0"), {kByEth1, "eth1"}}) {
        const auto packet = [&](std::uint16_t offset) {
            return Packet().ip(net.web, net.remote).identification(kId + port).fragment(offset, offset == 0);
        };
        for (const Packet& fragment : {packet(0).tcp(port, 443).ack().payload(std::string(80, 'x')),
                                       packet(20).protocol(IPPROTO_TCP).payload("end")}) {
            const RunResult result = out(fragment);
            EXPECT_EQ(result.verdict, Verdict::redirect);
            EXPECT_THAT(describe(result.packet), HasSubstr(formatted(" {} > {} ", address_on(uplink), net.remote)));
        }
    }
}

// As where the node's address is of no uplink, but announced by all of them.
TEST_P(MultipathTest, AFlowMovesWhereNewOnesHaveTheSameAddress) {
    insert(kNew, "eth0", 61000);
    lead_to({"eth1"}, "src " + net.node);
    EXPECT_TRUE(leaves_as(segment(kNew), net.node, 61000));
    EXPECT_THAT(established(), Contains(AllOf(HasSubstr("50002 >"), HasSubstr("eth1"))));
    EXPECT_THAT(established(), SizeIs(6));
}

}  // namespace
}  // namespace netkitd::test
