// How the flow table is shared out (bpf/lib/nat/flow_share.h): whoever takes all that he can get takes nothing from
// others. And flows of which one half is missing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>
#include <vector>

#include "bpf/flow_fixture.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// 1024 flows: 512 for whoever wants them, and the others in 256 shares of two.
class FlowShareTest : public BothFamiliesTest {
protected:
    static constexpr std::size_t kShare = 2;
    static constexpr std::size_t kCommon = 512;

    FlowShareTest() { options.flow_entries = 2048; }

    // To another port each; how many of them got out before one was refused.
    [[nodiscard]] std::size_t take_all(std::string_view container) {
        const bool is_web = container == net.web;
        for (std::uint16_t port = 1;; port++) {
            const Packet syn = Packet().ip(container, net.other_remote).tcp(50000, port).syn();
            const RunResult result = is_web ? out(syn) : out_of_db(syn);
            if (result.verdict == Verdict::drop) {
                EXPECT_THAT(result.counted, ElementsAre(std::pair("flow-share", 1)));
                return port - 1;
            }
        }
    }
    // As others have them.
    void fill_common_half() {
        for (std::uint16_t port = 1; port <= kCommon; port++) {
            insert(Stage::established, Flow{.source = net.nobody,
                                            .destination = net.remote,
                                            .destination_port = port,
                                            .translated = net.node,
                                            .endpoint_id = 99});
        }
    }
    [[nodiscard]] std::size_t flows_of(std::uint32_t endpoint_id) {
        const nk_flow_counts counts = node().flow_counts(endpoint_id);
        return net.is_ipv6() ? counts.flows6 : counts.flows4;
    }
};
INSTANTIATE_TEST_SUITE_P(Family, FlowShareTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(FlowShareTest, OneThatTakesAllItCanGetLeavesSomeOfTheCommonHalf) {
    const std::size_t taken = take_all(net.db);
    EXPECT_EQ(taken, kShare + kCommon * NK_FLOW_GREED / (NK_FLOW_GREED + 1) - 1);
    EXPECT_EQ(flows_of(kDbId), taken);
    EXPECT_GT(take_all(net.web), kShare + (kCommon - taken) / 2) << "most of what was left";
}

TEST_P(FlowShareTest, AShareIsThereWhateverOthersHave) {
    fill_common_half();
    EXPECT_EQ(take_all(net.web), kShare);
    EXPECT_EQ(take_all(net.db), kShare);
}

TEST_P(FlowShareTest, WhoIsRefusedKeepsWhatItHas) {
    establish();
    fill_common_half();
    (void)take_all(net.web);
    const auto before = node().entries();
    for (int i = 0; i < 100; i++) {
        EXPECT_EQ(out(Packet().ip(net.web, net.other_remote).udp(40000, 53)).verdict, Verdict::drop);
    }
    EXPECT_THAT(node().entries(), SizeIs(before.size()));
    EXPECT_EQ(out(segment()).verdict, Verdict::redirect);
    EXPECT_EQ(in(reply()).verdict, Verdict::redirect);
}

TEST_P(FlowShareTest, AFlowThatEndsGivesItsPlaceBack) {
    fill_common_half();
    ASSERT_EQ(take_all(net.web), kShare);
    const Flow first{.source = net.web, .destination = net.other_remote, .destination_port = 1, .translated = net.node};
    const auto forgotten = node().forget(first);
    ASSERT_TRUE(forgotten && *forgotten);
    EXPECT_EQ(flows_of(kWebId), kShare - 1);
    EXPECT_EQ(out(Packet().ip(net.web, net.remote).udp(50000, 53)).verdict, Verdict::redirect);
    EXPECT_EQ(out(Packet().ip(net.web, net.remote).udp(50001, 53)).verdict, Verdict::drop);
}

// One family's flows are no part of the other's.
TEST_F(FlowTest, EachFamilyIsCountedByItself) {
    out(from_web(ipv4()));
    out(from_web_udp(ipv6()));
    out(from_web_ping(ipv6()));
    EXPECT_EQ(node().flow_counts(kWebId).flows4, 1U);
    EXPECT_EQ(node().flow_counts(kWebId).flows6, 2U);
}

TEST_F(FlowTest, AFlowThatIsForgottenByThePacketThatFindsItStaleIsNotCountedTwice) {
    out(web_segment().syn());
    NetnsTest::node().run("ip addr add 203.0.114.2/24 dev eth1; ip route replace default via 203.0.114.1 dev eth1");
    node().settings().route_generation++;
    out(web_segment().syn());
    EXPECT_THAT(node().entries(), SizeIs(2));
    EXPECT_EQ(node().flow_counts(kWebId).flows4, 1U);
}

class NoTableTest : public FlowTest {
protected:
    NoTableTest() { options.flow_entries = 1; }
};

TEST_F(NoTableTest, AFlowHasBothHalvesOrNone) {
    EXPECT_THAT(out(web_segment().syn()).counted, ElementsAre(std::pair("flow-table-full", 1)));
    EXPECT_THAT(node().entries(), IsEmpty());
    EXPECT_EQ(node().flow_counts(kWebId).flows4, 0U);
}

// As of a former version's tables, which evicted halves.

TEST_F(FlowTest, AForwardHalfThatIsMissingIsMadeAgainWithItsPort) {
    out(from_web_udp(ipv4()));
    const std::vector<std::string> both = fresh();
    ASSERT_THAT(both, SizeIs(2));
    erase(NK_FLOW_FORWARD, Flow{.protocol = IPPROTO_UDP});
    const RunResult result = out(from_web_udp(ipv4()));
    EXPECT_EQ(source_port(result), 50000);
    EXPECT_THAT(result.counted, IsEmpty()) << "it is the same flow";
    EXPECT_EQ(fresh(), both);
}

TEST_F(FlowTest, AForwardHalfThatIsMissingIsMadeAgainWhoeverMayBeginNoFlow) {
    insert(Stage::established, NK_FLOW_REVERSE, Flow{});
    node().settings().flow_share4 = node().settings().flow_common4 = 0;
    EXPECT_EQ(source_port(out(web_segment())), 50000);
    EXPECT_THAT(established(), SizeIs(2)) << "it was answered";
}

TEST_F(FlowTest, AReplyWhoseForwardHalfIsMissingIsDelivered) {
    out(from_web_udp(ipv4()));
    erase(NK_FLOW_FORWARD, Flow{.protocol = IPPROTO_UDP});
    EXPECT_EQ(in(to_node(ipv4()).udp(443, 50000)).verdict, Verdict::redirect);
    EXPECT_EQ(source_port(out(from_web_udp(ipv4()))), 50000);
    EXPECT_THAT(established(),
                ElementsAre("udp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [] endpoint 1 eth0",
                            "udp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [] endpoint 1 nkweb"));
}

TEST_F(FlowTest, AReplyToAHalfThatIsNotOfTheFlowAnswersNoOther) {
    insert(Stage::fresh, Flow{.protocol = IPPROTO_UDP});
    insert(Stage::fresh, NK_FLOW_FORWARD, Flow{.protocol = IPPROTO_UDP, .translated_port = 61000});
    EXPECT_EQ(in(to_node(ipv4()).udp(443, 50000)).verdict, Verdict::redirect);
    EXPECT_THAT(established(), AllOf(SizeIs(1), Each(HasSubstr("> 203.0.113.2:50000"))));
}

}  // namespace
}  // namespace netkitd::test
