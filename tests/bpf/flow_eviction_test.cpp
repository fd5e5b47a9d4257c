// Full tables, and flows of which the LRU evicted one half.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>
#include <vector>

#include "bpf/flow_fixture.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(FlowTest, TheEvictedReverseHalfIsMadeAgain) {
    out(web_segment().syn());
    const std::vector<std::string> both = fresh();
    erase(Stage::fresh, NK_FLOW_REVERSE, Flow{});
    EXPECT_EQ(source_port(out(web_segment())), 50000);
    EXPECT_EQ(fresh(), both);
}

TEST_F(FlowTest, TheEvictedForwardHalfIsMadeAgainWithItsPort) {
    out(from_web_udp(ipv4()));
    const std::vector<std::string> both = fresh();
    ASSERT_THAT(both, SizeIs(2));
    erase(Stage::fresh, NK_FLOW_FORWARD, Flow{.protocol = IPPROTO_UDP});
    const RunResult result = out(from_web_udp(ipv4()));
    EXPECT_EQ(source_port(result), 50000);
    EXPECT_THAT(result.counted, IsEmpty()) << "it is the same flow";
    EXPECT_EQ(fresh(), both);
}

TEST_F(FlowTest, AnEvictedHalfWhosePortWentToAnotherGetsANewPort) {
    out(web_segment());
    erase(Stage::fresh, NK_FLOW_REVERSE, Flow{});
    insert(Stage::established, Flow{.source = "10.77.0.3", .endpoint_id = kDbId});
    const RunResult result = out(web_segment());
    EXPECT_EQ(result.verdict, Verdict::redirect);
    EXPECT_NE(source_port(result), 50000);
    EXPECT_THAT(established(), SizeIs(2)) << "the other's flow is untouched";
    EXPECT_THAT(fresh(), SizeIs(2));
}

TEST_F(FlowTest, AnOrphanInTheEstablishedMapGetsItsForwardHalfBack) {
    insert(Stage::established, NK_FLOW_REVERSE, Flow{});
    EXPECT_EQ(source_port(out(web_segment())), 50000);
    EXPECT_THAT(established(), SizeIs(2));
    EXPECT_THAT(fresh(), IsEmpty());
}

TEST_F(FlowTest, AReplyWhoseForwardHalfWasEvictedStillEstablishesBoth) {
    out(from_web_udp(ipv4()));
    erase(Stage::fresh, NK_FLOW_FORWARD, Flow{.protocol = IPPROTO_UDP});
    EXPECT_EQ(in(to_node(ipv4()).udp(443, 50000)).verdict, Verdict::redirect);
    EXPECT_THAT(fresh(), IsEmpty());
    EXPECT_THAT(established(),
                ElementsAre("udp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [] endpoint 1 eth0",
                            "udp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [] endpoint 1 nkweb"));
}

// The forward half was evicted and made anew with another port; now comes the reply to the old port.
TEST_F(FlowTest, HalvesThatDoNotNameEachOtherAreNotEstablished) {
    insert(Stage::fresh, Flow{.protocol = IPPROTO_UDP});
    insert(Stage::fresh, Flow{.protocol = IPPROTO_UDP, .translated_port = 61000});
    const RunResult reply = in(to_node(ipv4()).udp(443, 50000));
    EXPECT_EQ(reply.verdict, Verdict::redirect);
    EXPECT_THAT(reply.counted, IsEmpty());
    EXPECT_THAT(established(), IsEmpty());
}

TEST_F(FlowTest, AFullTableHurtsNoEstablishedFlow) {
    for (std::uint16_t port = 1; port <= 512; port++) {
        insert(Stage::established, Flow{.source = "10.77.0.3", .destination_port = port, .endpoint_id = kDbId});
    }
    const std::vector<std::string> before = established();
    ASSERT_THAT(before, SizeIs(1024)) << "the table's size";
    out(Packet().ip("10.77.0.2", "198.51.100.1").tcp(50000, 1000).syn());
    const RunResult reply =
        in(Packet().eth(kUplinkMac, kRouterMac).ip("198.51.100.1", "203.0.113.2").tcp(1000, 50000).syn().ack());
    EXPECT_THAT(reply.counted, ElementsAre(std::pair("flow-table-full", 1)));
    EXPECT_EQ(established(), before);
    EXPECT_THAT(fresh(), SizeIs(1)) << "the flow can be established once there is room";
}

class OneFreeEntryTest : public FlowTest {
protected:
    OneFreeEntryTest() { options.established_flows = 1; }
};

TEST_F(OneFreeEntryTest, EstablishesBothHalvesOrNone) {
    out(web_segment().syn());
    EXPECT_EQ(in(reply_to_web(ipv4())).verdict, Verdict::drop);
    EXPECT_THAT(established(), IsEmpty());
}

class SmallLruTest : public FlowTest {
protected:
    SmallLruTest() { options.fresh_flows = 64; }
};

// Far more new connections than the LRU map holds: strangers go, the established flow stays, every packet gets out.
TEST_F(SmallLruTest, AFloodOnlyEvictsStrangers) {
    out(web_segment().syn());
    in(reply_to_web(ipv4()));
    const std::vector<std::string> before = established();
    for (std::uint16_t port = 1; port <= 2000; port++) {
        const RunResult result = out_of_db(Packet().ip("10.77.0.3", "198.51.100.9").tcp(50000, port).syn());
        ASSERT_EQ(result.verdict, Verdict::redirect) << "connection " << port;
    }
    EXPECT_EQ(established(), before);
    EXPECT_LE(fresh().size(), 64U);
    EXPECT_EQ(source_port(out(web_segment())), 50000);
}

}  // namespace
}  // namespace netkitd::test
