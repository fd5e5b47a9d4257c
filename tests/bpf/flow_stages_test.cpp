// A flow's life: its first packet, the first reply, its end, and another one after that.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>

#include <array>
#include <barrier>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "bpf/flow_fixture.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

TEST_F(FlowTest, AConnectionFromSynToItsReply) {
    out(from_web(ipv4()));
    EXPECT_THAT(established(), IsEmpty());
    EXPECT_THAT(fresh(),
                ElementsAre("tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [SYN] endpoint 1 eth0",
                            "tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [] endpoint 1 nkweb"));
    EXPECT_THAT(out(from_web(ipv4())).counted, IsEmpty()) << "sent again: the same flow";
    EXPECT_THAT(fresh(), SizeIs(2));
    in(reply_to_web(ipv4()));
    EXPECT_THAT(fresh(), IsEmpty());
    EXPECT_THAT(established(),
                ElementsAre("tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [SYN] endpoint 1 eth0",
                            "tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [SYN] endpoint 1 nkweb"));
}

// What went out and came back mirrored is, in the container, the mirror image of what it sent.
TEST_F(FlowTest, RoundTripRestoresTheOriginal) {
    node().settings().port_first = node().settings().port_last = 61000;
    out(from_web_udp(ipv4()));
    const auto answer = Packet().eth(kUplinkMac, kRouterMac).ip("198.51.100.1", "203.0.113.2").udp(443, 61000);
    const RunResult udp = in(Packet(answer).payload("answer"));
    EXPECT_EQ(describe(udp.packet), describe(Packet(answer).payload("answer").to("10.77.0.2", 50000).ttl(63).bytes()));

    out(from_web_ping(ipv4()));
    const auto pong = Packet().eth(kUplinkMac, kRouterMac).ip("198.51.100.1", "203.0.113.2").echo_reply(61000);
    const RunResult ping = in(pong);
    EXPECT_EQ(describe(ping.packet), describe(Packet(pong).to("10.77.0.2", 50000).ttl(63).bytes()));
    EXPECT_THAT(established(), SizeIs(4));
}

TEST_F(FlowTest, PingHasItsIdWhereAPortWouldBe) {
    out(from_web_ping(ipv4()));
    EXPECT_THAT(fresh(), ElementsAre("icmp 10.77.0.2:50000 > 198.51.100.1:0 from 203.0.113.2:50000 [] endpoint 1 eth0",
                                     "icmp 198.51.100.1:0 > 203.0.113.2:50000 to 10.77.0.2:50000 [] endpoint 1 nkweb"));
}

TEST_F(FlowTest, FinIsNotedInItsOwnHalf) {
    insert(Stage::established, Flow{.forward_flags = NK_FLOW_SYN, .reverse_flags = NK_FLOW_SYN});
    out(web_segment().fin().ack());
    EXPECT_THAT(established(),
                ElementsAre("tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [SYN FIN] endpoint 1 eth0",
                            "tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [SYN] endpoint 1 nkweb"));
    in(reply_segment().fin().ack());
    EXPECT_THAT(established(),
                Contains("tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [SYN FIN] endpoint 1 nkweb"));
}

// The other end's may be anybody's.
TEST_F(FlowTest, TheContainersResetIsNotedInBothHalvesAndTheOtherEndsInItsOwn) {
    insert(Stage::established, Flow{});
    in(reply_segment().rst());
    EXPECT_THAT(established(),
                ElementsAre("tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [] endpoint 1 eth0",
                            "tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [RST] endpoint 1 nkweb"));
    insert(Stage::established, Flow{});
    out(web_segment().rst());
    EXPECT_THAT(established(),
                ElementsAre("tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [RST] endpoint 1 eth0",
                            "tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [RST] endpoint 1 nkweb"));
}

TEST_F(FlowTest, ARefusedConnectionIsNotAnswered) {
    out(web_segment().syn());
    EXPECT_EQ(in(reply_segment().rst().ack()).verdict, Verdict::redirect);
    EXPECT_THAT(established(), IsEmpty());
    EXPECT_THAT(fresh(),
                ElementsAre("tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [SYN] endpoint 1 eth0",
                            "tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [RST] endpoint 1 nkweb"));
}

// Anybody can send one, with the remote's address and any sequence number.
TEST_F(FlowTest, AResetBeforeTheAnswerEndsNoConnection) {
    out(web_segment().syn());
    in(reply_segment().rst().ack());
    in(reply_segment().syn().ack());
    EXPECT_THAT(established(), AllOf(SizeIs(2), Each(HasSubstr("[SYN]"))));
}

// The container may send more than once before it: the reply takes the slow path all the same, and only the first does.
TEST_P(BothFamiliesTest, TheFirstReplyIsNoticedOnce) {
    out(from_web_udp(net));
    out(from_web_udp(net));
    EXPECT_THAT(in(to_node(net).udp(443, 50000)).counted, ElementsAre(std::pair("flow-established", 1)));
    EXPECT_THAT(in(to_node(net).udp(443, 50000)).counted, IsEmpty());
    EXPECT_THAT(established(), SizeIs(2));
}

TEST_F(FlowTest, AnotherAttemptAfterARefusedOneIsAConnectionLikeOthers) {
    out(web_segment().syn());
    in(reply_segment().rst().ack());
    out(web_segment().syn());
    in(reply_segment().syn().ack());
    EXPECT_THAT(established(), AllOf(SizeIs(2), Each(Not(HasSubstr("RST")))));
}

struct ClosedCase {
    const char* name;
    std::uint32_t forward_flags;
    std::uint32_t reverse_flags;
    bool closed;
};

class SynReuseTest : public FlowTest, public ::testing::WithParamInterface<ClosedCase> {};

// A SYN on a connection that is over begins a new one under the same ports; on a live one it is a retransmission.
TEST_P(SynReuseTest, RestartsOnlyWhatIsOver) {
    const ClosedCase& param = GetParam();
    insert(Stage::established, Flow{.forward_flags = param.forward_flags, .reverse_flags = param.reverse_flags});
    EXPECT_EQ(source_port(out(web_segment().syn())), 50000);
    for (const auto& [key, value] : node().entries()) {
        const bool forward = key.direction == NK_FLOW_FORWARD;
        const std::uint32_t kept = forward ? param.forward_flags | NK_FLOW_SYN : param.reverse_flags;
        const std::uint32_t restarted = forward ? std::uint32_t{NK_FLOW_SYN} : 0;
        EXPECT_EQ(value.flags, param.closed ? restarted : kept | NK_FLOW_ANSWERED) << (forward ? "forward" : "reverse");
        EXPECT_EQ(value.created_ns != 1, param.closed) << "a new connection has a new age";
    }
    EXPECT_THAT(node().entries(), SizeIs(2));
}

INSTANTIATE_TEST_SUITE_P(
    States, SynReuseTest,
    ::testing::Values(ClosedCase{"Live", NK_FLOW_SYN, NK_FLOW_SYN, false},
                      // The new one's socket may be another, which can't be asked.
                      ClosedCase{"WithAWitness", NK_FLOW_SYN | NK_FLOW_FIN | NK_FLOW_WITNESS, NK_FLOW_SYN | NK_FLOW_FIN,
                                 true},
                      ClosedCase{"ContainerFinished", NK_FLOW_SYN | NK_FLOW_FIN, NK_FLOW_SYN, false},
                      ClosedCase{"RemoteFinished", NK_FLOW_SYN, NK_FLOW_SYN | NK_FLOW_FIN, false},
                      ClosedCase{"BothFinished", NK_FLOW_SYN | NK_FLOW_FIN, NK_FLOW_SYN | NK_FLOW_FIN, true},
                      ClosedCase{"ResetByTheRemote", NK_FLOW_SYN, NK_FLOW_SYN | NK_FLOW_RST, true},
                      ClosedCase{"Reset", NK_FLOW_SYN | NK_FLOW_RST, NK_FLOW_SYN | NK_FLOW_RST, true}),
    [](const auto& param_info) { return param_info.param.name; });

// Anybody can send data, and would have kept a flow alive for hours.
TEST_F(FlowTest, DataIsNoAnswerToASyn) {
    out(web_segment().syn());
    EXPECT_EQ(in(reply_segment()).verdict, Verdict::redirect);
    EXPECT_THAT(fresh(), SizeIs(2));
    in(reply_segment().syn().ack());
    EXPECT_THAT(established(), SizeIs(2));
}

TEST_F(FlowTest, EveryPacketRenewsItsHalf) {
    insert(Stage::established, Flow{});
    out(web_segment());
    for (const auto& [key, value] : node().entries(Stage::established)) {
        EXPECT_EQ(value.last_seen_ns > 1, key.direction == NK_FLOW_FORWARD);
    }
    in(reply_segment());
    for (const auto& [key, value] : node().entries(Stage::established)) {
        EXPECT_GT(value.last_seen_ns, 1U);
        EXPECT_EQ(value.created_ns, 1U);
    }
}

TEST_F(FlowTest, ARefusedPacketLeavesNoFlowBehind) {
    out(web_segment().ttl(1));
    out(web_segment().fragment(100, false));
    out(web_segment().rst());
    out(Packet().ip("10.77.0.2", "192.0.2.4").tcp(50000, 443));
    in(reply_to_web(ipv4()));
    EXPECT_THAT(fresh(), IsEmpty());
    EXPECT_THAT(established(), IsEmpty());
}

TEST_F(FlowTest, AReplyThatIsDroppedEstablishesNothing) {
    out(web_segment().syn());
    in(reply_to_web(ipv4()).ttl(1));
    in(reply_to_web(ipv4()).fragment(100, false));
    EXPECT_THAT(established(), IsEmpty());
}

TEST_P(BothFamiliesTest, WhatComesBackMirroredIsTheMirrorImageOfWhatWasSent) {
    node().settings().port_first = node().settings().port_last = 61000;
    out(from_web(net));
    out(from_web_udp(net));
    out(from_web_ping(net));
    for (const Packet& answer : {to_node(net).tcp(443, 61000).syn().ack(),
                                 to_node(net).udp(443, 61000).payload("answer"), to_node(net).echo_reply(61000)}) {
        EXPECT_EQ(describe(in(answer).packet), describe(forwarded(Packet(answer).to(net.web, 50000)).bytes()));
    }
    EXPECT_THAT(established(), SizeIs(6));
    EXPECT_THAT(fresh(), IsEmpty());
}

// Two packets of a new flow at once, as from an application that sends before it is answered.
TEST_P(BothFamiliesTest, AnAssociationBeginsAndEndsLikeAConnection) {
    const auto sent = [&](std::uint8_t chunk) { return Packet().ip(net.web, net.remote).sctp(50000, 443, chunk); };
    const auto received = [&](std::uint8_t chunk) { return to_node(net).sctp(443, 50000, chunk); };
    const std::uint8_t init = 1;
    const std::uint8_t init_ack = 2;
    const std::uint8_t abort = 6;
    const std::uint8_t shutdown_complete = 14;
    out(sent(init));
    EXPECT_THAT(fresh(), SizeIs(2));
    in(received(init_ack));
    EXPECT_THAT(fresh(), IsEmpty());
    EXPECT_THAT(established(), Each(AllOf(StartsWith("sctp "), HasSubstr("[SYN]"))));
    in(received(abort));
    in(received(shutdown_complete));
    EXPECT_THAT(established(), Each(Not(HasSubstr("RST")))) << "anybody can send those: there is no witness of it";
    out(sent(shutdown_complete));
    EXPECT_THAT(established(), AllOf(SizeIs(2), Each(HasSubstr("[SYN RST]"))));
    out(sent(init));
    EXPECT_THAT(fresh(), AllOf(SizeIs(2), Each(Not(HasSubstr("RST"))))) << "a new one under the same ports";
}

// It is more easily forged than a packet of the flow.
TEST_P(BothFamiliesTest, AnIcmpErrorNeitherKeepsAFlowAliveNorEstablishesIt) {
    const bool v4 = net.name == "V4";
    const auto error = [&](Packet packet, const Packet& quoted) {
        return packet.icmp(v4 ? 3 : 1, v4 ? 3 : 4).quoting(quoted);
    };
    const Packet to_web = error(to_node(net), Packet().ip(net.node, net.remote).udp(50000, 443));
    const Packet of_web = error(Packet().ip(net.web, net.remote), Packet().ip(net.remote, net.web).udp(443, 50000));
    for (const Stage stage : {Stage::fresh, Stage::established}) {
        insert(stage,
               Flow{.protocol = IPPROTO_UDP, .source = net.web, .destination = net.remote, .translated = net.node});
        EXPECT_EQ(in(to_web).verdict, Verdict::redirect);
        const RunResult sent = out(of_web);
        EXPECT_EQ(sent.verdict, Verdict::redirect) << testing::PrintToString(sent.counted);
        EXPECT_THAT(node().entries(stage), SizeIs(2));
        for (const auto& [key, value] : node().entries(stage)) {
            EXPECT_EQ(value.last_seen_ns, 1U);
            EXPECT_EQ(value.flags, stage == Stage::established ? std::uint32_t{NK_FLOW_ANSWERED} : 0);
            EXPECT_EQ(value.stamp, 0U);
        }
    }
}

// Or its answers would be the host's, and its port another container's.
TEST_P(BothFamiliesTest, AFlowThatIsRemovedWhileItGoesOnKeepsNoForwardHalfAlone) {
    const Flow flow{.source = net.web, .destination = net.remote, .translated = net.node};
    const Bytes frame = segment().bytes();
    const std::uint32_t ifindex = if_nametoindex("nkweb");
    establish();
    const std::jthread sender([&](const std::stop_token& stop) {
        NetnsTest::node().inside([&] {
            pin_to_cpu(1);
            for (Bytes sent; !stop.stop_requested();) {
                (void)node().run_frame(Program::veth_ingress, ifindex, frame, sent);
            }
        });
    });
    pin_to_cpu(0);
    int removed = 0;
    for (const auto end = std::chrono::steady_clock::now() + 5s;
         removed < 10'000 && std::chrono::steady_clock::now() < end;) {
        removed += node().forget(flow, NK_FLOW_FORWARD).value_or(false) ? 1 : 0;
        ASSERT_TRUE(!node().find(NK_FLOW_FORWARD, flow) || node().find(NK_FLOW_REVERSE, flow)) << "after " << removed;
    }
    EXPECT_GT(removed, 0);
}

TEST_P(BothFamiliesTest, TwoCpusMakeOneFlow) {
    constexpr int kRounds = 300;
    for (int round = 0; round < kRounds; round++) {
        node().reset(options);
        // No port of the pool is the container's own: each packet tries ports of its own choice.
        const Packet packet = Packet().ip(net.web, net.remote).udp(1000, 443);
        std::barrier start(2);
        std::array<RunResult, 2> results;
        const auto send = [&](std::size_t cpu) {
            NetnsTest::node().inside([&] {
                pin_to_cpu(cpu);
                start.arrive_and_wait();
                results.at(cpu) = out(packet);
            });
        };
        {
            const std::jthread other([&] { send(1); });
            send(0);
        }
        const auto port = [](const RunResult& result) {
            return Bytes(result.packet.end() - 8, result.packet.end() - 6);
        };
        ASSERT_EQ(port(results[0]), port(results[1]));
        ASSERT_THAT(fresh(), SizeIs(2)) << "and nothing left of the one that came second";
        const nk_flow_counts counts = node().flow_counts(kWebId);
        ASSERT_EQ(counts.flows4 + counts.flows6, 1U);
    }
}

}  // namespace
}  // namespace netkitd::test
