// Flows whose container, uplink or address is not what it was.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <string>

#include "base/format.h"
#include "bpf/flow_fixture.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::SizeIs;

// An address was given to a new container while flows of the old one were still in the table.
class OldEndpointTest : public FlowTest, public ::testing::WithParamInterface<Stage> {};

// Its other end may not know yet that it is over: with the same port, the new container could go on with it.
TEST_P(OldEndpointTest, ItsFlowIsNotTakenOver) {
    for (const std::uint8_t protocol : {IPPROTO_TCP, IPPROTO_UDP}) {
        insert(GetParam(), Flow{.protocol = protocol, .endpoint_id = 99});
    }
    for (const Packet& packet : {web_segment().syn(), from_web_udp(ipv4())}) {
        const RunResult result = out(packet);
        EXPECT_NE(source_port(result), 50000);
        EXPECT_THAT(result.counted, Contains(Key("port-changed")));
        EXPECT_EQ(source_port(out(packet)), source_port(result)) << "of the new flow";
    }
    EXPECT_EQ(std::ranges::count_if(node().entries(), [](const auto& entry) { return entry.second.endpoint_id == 99; }),
              2)
        << "their ports are taken";
}

INSTANTIATE_TEST_SUITE_P(Stages, OldEndpointTest, ::testing::Values(Stage::fresh, Stage::established),
                         [](const auto& param_info) {
                             return param_info.param == Stage::fresh ? "Unanswered" : "Established";
                         });

// Its reverse half is gone, and the port is another container's now: that one keeps it.
TEST_P(OldEndpointTest, AnothersHalfUnderItsFormerPortStays) {
    const Flow of_db{.source = "10.77.0.3", .source_port = 40000, .translated_port = 61000, .endpoint_id = kDbId};
    insert(GetParam(), NK_FLOW_FORWARD, Flow{.translated_port = 61000, .endpoint_id = 99});
    insert(GetParam(), NK_FLOW_REVERSE, of_db);
    EXPECT_EQ(source_port(out(web_segment().syn())), 50000);
    EXPECT_EQ(node().entries(GetParam()).size(), GetParam() == Stage::fresh ? 3U : 1U);
    EXPECT_TRUE(std::ranges::any_of(node().entries(GetParam()),
                                    [](const auto& entry) { return entry.second.endpoint_id == kDbId; }));
}

// Its reverse half alone is left: what comes back would go to a device that is gone.
TEST_P(OldEndpointTest, ItsPortIsNotTakenOver) {
    insert(GetParam(), NK_FLOW_REVERSE, Flow{.endpoint_id = 99});
    const RunResult result = out(web_segment().syn());
    EXPECT_NE(source_port(result), 50000);
    EXPECT_THAT(result.counted, Contains(Key("port-changed")));
}

// It comes when another container, with its address, has begun the same connection.
TEST_F(FlowTest, ALateReplyToAnEndpointThatIsGoneAnswersNoOthersFlow) {
    insert(Stage::fresh, NK_FLOW_REVERSE, Flow{.endpoint_id = 99});
    const std::uint16_t port = source_port(out(web_segment().syn()));
    in(reply_to_web(ipv4()));
    EXPECT_THAT(established(), Each(HasSubstr("endpoint 99")));
    in(to_node(ipv4()).tcp(443, port).syn().ack());
    EXPECT_THAT(established(),
                AllOf(Contains(formatted(
                          "tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:{} [SYN] endpoint 1 eth0", port)),
                      Contains(formatted(
                          "tcp 198.51.100.1:443 > 203.0.113.2:{} to 10.77.0.2:50000 [SYN] endpoint 1 nkweb", port))));
}

// A reset that comes to what is left of the former container's connection says nothing of its successor's.
TEST_F(FlowTest, AResetToAnEndpointThatIsGoneMarksNoOthersFlow) {
    insert(Stage::established, Flow{.endpoint_id = 99});
    const std::uint16_t port = source_port(out(web_segment().syn()));
    ASSERT_NE(port, 50000);
    in(to_node(ipv4()).tcp(443, port).syn().ack());
    in(to_node(ipv4()).tcp(443, 50000).rst());
    for (const auto& [key, value] : node().entries()) {
        EXPECT_EQ((value.flags & NK_FLOW_RST) != 0, value.endpoint_id == 99);
    }
}

TEST_P(BothFamiliesTest, TheFlowOfAnEndpointThatIsGoneIsForgotten) {
    insert(Stage::established, Flow{.protocol = IPPROTO_UDP,
                                    .source = net.web,
                                    .destination = net.remote,
                                    .translated = net.node,
                                    .translated_port = 61000,
                                    .endpoint_id = 99});
    EXPECT_THAT(out(from_web_udp(net)).counted, ElementsAre(std::pair("flow-created", 1)));
    EXPECT_THAT(established(), SizeIs(1)) << "its port, which is 61000";
}

// The default route moves to another uplink, as when a cable is pulled.
class OtherUplinkTest : public FlowTest, public ::testing::WithParamInterface<Stage> {};

TEST_P(OtherUplinkTest, AFlowThatLeavesByAnotherUplinkBeginsAnewWithItsAddress) {
    insert(GetParam(), Flow{});
    NetnsTest::node().run("ip addr add 203.0.114.2/24 dev eth1; ip route replace default via 203.0.114.1 dev eth1");
    out(web_segment());
    EXPECT_THAT(established(), IsEmpty());
    EXPECT_THAT(fresh(),
                ElementsAre("tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.114.2:50000 [] endpoint 1 eth1",
                            "tcp 198.51.100.1:443 > 203.0.114.2:50000 to 10.77.0.2:50000 [] endpoint 1 nkweb"));
}

INSTANTIATE_TEST_SUITE_P(Stages, OtherUplinkTest, ::testing::Values(Stage::fresh, Stage::established),
                         [](const auto& stage) { return stage.param == Stage::fresh ? "Unanswered" : "Established"; });

// Two uplinks, and a router outside that sends by the other one.
TEST_F(FlowTest, AReplyByAnotherUplinkDoesNotMoveTheFlow) {
    out(from_web(ipv4()));
    run(Program::uplink_ingress, "eth1", reply_to_web(ipv4()));
    EXPECT_THAT(established(),
                ElementsAre("tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [SYN] endpoint 1 eth0",
                            "tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [SYN] endpoint 1 nkweb"));
}

// No daemon tells of it here: what a flow does by itself when its address is not the one that it would get now.
class FormerAddressTest : public BothFamiliesTest {
protected:
    void SetUp() override {
        BothFamiliesTest::SetUp();
        establish();
    }
    // The address of the established flow's next packet.
    [[nodiscard]] std::string source_of_next_packet() {
        node().settings().route_generation++;  // as when the clock ticks
        const RunResult result = out(segment());
        for (const std::string& source : {net.node, net.other_node}) {
            if (describe(result.packet) == describe(forwarded(segment().from(source, 50000)).bytes())) {
                return source;
            }
        }
        return "another packet: " + describe(result.packet);
    }
    void add_other_address() {
        NetnsTest::node().run(
            "ip addr add 203.0.113.9/24 dev eth0; ip addr add 2001:db8:113::9/64 dev eth0 nodad;"
            "echo 1 > /proc/sys/net/ipv4/conf/eth0/promote_secondaries");
        NetnsTest::node().await_address("2001:db8:113::9");
    }
    void prefer_other_address() {
        NetnsTest::node().run(
            "ip route replace default via 203.0.113.1 src 203.0.113.9;"
            "ip route replace default via 2001:db8:113::1 src 2001:db8:113::9");
    }
    void remove_first_address() {
        NetnsTest::node().run("ip addr del 203.0.113.2/24 dev eth0; ip addr del 2001:db8:113::2/64 dev eth0");
        NetnsTest::node().run(
            "ip route replace default via 203.0.113.1; ip route replace default via 2001:db8:113::1;"
            "ip neigh replace 203.0.113.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent;"
            "ip neigh replace 2001:db8:113::1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent");
    }
};
INSTANTIATE_TEST_SUITE_P(Family, FormerAddressTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(FormerAddressTest, ASecondAddressChangesNothing) {
    add_other_address();
    EXPECT_EQ(source_of_next_packet(), net.node);
    prefer_other_address();
    EXPECT_EQ(source_of_next_packet(), net.node) << "the host still has it";
    EXPECT_THAT(established(), SizeIs(2));
}

TEST_P(FormerAddressTest, OneThatIsGoneEndsTheFlowAndTheNextPacketHasTheOther) {
    add_other_address();
    prefer_other_address();
    EXPECT_EQ(source_of_next_packet(), net.node);
    remove_first_address();
    EXPECT_EQ(source_of_next_packet(), net.other_node);
    EXPECT_THAT(established(), IsEmpty());
    EXPECT_THAT(fresh(), SizeIs(2));
}

// Without a default route the host's own addresses and those of nobody look alike in the FIB.
TEST_P(FormerAddressTest, OneThatNoRouteLeadsToEndsTheFlowToo) {
    NetnsTest::node().run(
        "ip addr add 192.0.2.250/32 dev eth0; ip addr add 2001:db8:250::1/128 dev eth0 nodad;"
        "ip route del default; ip -6 route del default;"
        "ip addr del 203.0.113.2/24 dev eth0; ip addr del 2001:db8:113::2/64 dev eth0;"
        "ip route add 203.0.113.1 dev eth0; ip -6 route add 2001:db8:113::1 dev eth0;"
        "ip route add 198.51.100.0/24 via 203.0.113.1 src 192.0.2.250;"
        "ip -6 route add 2001:db8:51::/64 via 2001:db8:113::1 dev eth0 src 2001:db8:250::1");
    node().settings().route_generation++;
    EXPECT_THAT(out(segment()).counted, Contains(Key("flow-created")));
    EXPECT_THAT(established(), IsEmpty());
}

}  // namespace
}  // namespace netkitd::test
