// The fast path of established flows: it writes what the slow path writes, and takes nothing that it must not.
#include <gtest/gtest.h>

#include <span>
#include <string>

#include "bpf/flow_fixture.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

TEST_P(BothFamiliesTest, TheKnownWayStillChecksWhoSendsAndWhat) {
    establish();
    EXPECT_TRUE(knows_the_way());
    EXPECT_EQ(out_of_db(segment()).verdict, Verdict::drop);
    EXPECT_EQ(out(segment().ttl(1)).verdict, Verdict::redirect);
    EXPECT_EQ(out(segment().fragment(100, false)).verdict, Verdict::drop) << "its first one was not seen";
    EXPECT_EQ(out(segment().tcp_header_words(4)).verdict, Verdict::drop);
    EXPECT_EQ(out(segment().ip_total_length(39)).verdict, Verdict::drop);
    EXPECT_EQ(out(segment().ip_total_length(1000)).verdict, Verdict::drop);
}

// Both ways, by the long way and by the short one: the same packet.
TEST_P(BothFamiliesTest, TheShortWayWritesWhatTheLongOneWrites) {
    node().settings().port_first = node().settings().port_last = 61000;
    const Packet query = Packet().ip(net.web, net.remote).udp(1000, 53).payload("query");
    const Packet answer = to_node(net).udp(53, 61000).payload("answer");
    const auto of = [](const RunResult& result) { return describe(std::span(result.packet).subspan(12)); };
    const std::string asked = of(out(query));
    const std::string answered = of(in(answer));
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(of(out(query)), asked);
        EXPECT_EQ(of(in(answer)), answered);
        EXPECT_EQ(describe(in(Packet(answer).without_udp_checksum()).packet),
                  describe(forwarded(Packet(answer).without_udp_checksum().to(net.web, 1000)).bytes()));
    }
}

TEST_P(BothFamiliesTest, AFinOnTheShortWayIsNoted) {
    establish();
    EXPECT_TRUE(knows_the_way());
    out(segment().fin());
    in(reply());
    in(reply().fin());
    for (const auto& [key, value] : node().entries(Stage::established)) {
        EXPECT_EQ(value.flags, NK_FLOW_SYN | NK_FLOW_FIN | NK_FLOW_ANSWERED);
    }
}

TEST_P(BothFamiliesTest, NothingIsDeliveredOnTheShortWayThatWasNotForUs) {
    establish();
    in(reply());
    EXPECT_EQ(in(reply().eth(kRouterMac, kUplinkMac)).verdict, Verdict::pass);
    EXPECT_EQ(in(reply().ttl(1)).verdict, Verdict::drop);
    EXPECT_EQ(in(reply().fragment(100, false)).verdict, Verdict::pass) << "nor was its";
    node().settings().port_first = node().settings().port_last = 61000;
    EXPECT_EQ(in(reply()).verdict, Verdict::pass) << "its port is the host's again";
}

}  // namespace
}  // namespace netkitd::test
