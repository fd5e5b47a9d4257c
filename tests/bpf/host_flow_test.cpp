// The host's own flows from ports of the pool (bpf/lib/nat/host_flow.h): what comes back to them is the host's,
// whatever containers have or want.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <utility>
#include <vector>

#include "bpf/flow_fixture.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Pair;
using ::testing::SizeIs;

// RFC 9260, 3.1
constexpr std::uint8_t kInit = 1;
constexpr std::uint8_t kInitAck = 2;
constexpr std::uint8_t kAbort = 6;

class HostFlowTest : public BothFamiliesTest {
protected:
    // NOLINTNEXTLINE(modernize-use-nodiscard): most packets are sent for what they do.
    RunResult leave(const Packet& packet) { return run(Program::uplink_egress, "eth0", packet); }
    [[nodiscard]] Packet of_host() const { return Packet().eth(kRouterMac, kUplinkMac).ip(net.node, net.remote); }
    [[nodiscard]] std::uint32_t count_of(std::uint32_t endpoint_id) {
        const nk_flow_counts counts = node().flow_counts(endpoint_id);
        return net.is_ipv6() ? counts.flows6 : counts.flows4;
    }
    [[nodiscard]] std::uint32_t flags_of_the_only_entry() {
        const auto entries = node().entries();
        EXPECT_THAT(entries, SizeIs(1));
        return entries.empty() ? 0 : entries.front().second.flags;
    }
    // So much earlier.
    void age_the_only_entry(std::chrono::nanoseconds by) {
        auto entries = node().entries();
        ASSERT_THAT(entries, SizeIs(1));
        auto& [key, value] = entries.front();
        value.created_ns -= static_cast<std::uint64_t>(by.count());
        ASSERT_TRUE(node().update(key, value));
    }
    struct Exchange {
        const char* name;
        Packet question;
        Packet answer;
    };
    [[nodiscard]] std::vector<Exchange> exchanges() const {
        return {
            {"TCP", of_host().tcp(50000, 443).syn(), to_node(net).tcp(443, 50000).syn().ack()},
            {"TCP that goes on", of_host().tcp(50001, 443).ack(), to_node(net).tcp(443, 50001).ack()},
            {"UDP", of_host().udp(50000, 53), to_node(net).udp(53, 50000)},
            {"UDP-Lite", of_host().udplite(50000, 53), to_node(net).udplite(53, 50000)},
            {"SCTP", of_host().sctp(50000, 443, kInit), to_node(net).sctp(443, 50000, kInitAck)},
            {"echo", of_host().echo_request(50000), to_node(net).echo_reply(50000)},
            {"a first fragment", of_host().udp(50002, 53).fragment(0, true),
             to_node(net).udp(53, 50002).fragment(0, true)},
        };
    }
};
INSTANTIATE_TEST_SUITE_P(Family, HostFlowTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(HostFlowTest, WhatAnswersTheHostGoesToTheHost) {
    std::uint32_t count = 0;
    for (const auto& [name, question, answer] : exchanges()) {
        const RunResult left = leave(question);
        EXPECT_EQ(left.verdict, Verdict::pass) << name;
        EXPECT_EQ(left.packet, question.bytes()) << name;
        EXPECT_THAT(left.counted, ElementsAre(Pair("host-flow", 1))) << name;
        EXPECT_EQ(count_of(NK_HOST_ID) + count_of(NK_HOST_ANSWERS_ID), ++count) << name;
        EXPECT_THAT(leave(question).counted, IsEmpty()) << name << " once more";
        const RunResult came = in(answer);
        EXPECT_EQ(came.verdict, Verdict::pass) << name;
        EXPECT_EQ(came.packet, answer.bytes()) << name;
    }
}

TEST_P(HostFlowTest, AContainerGetsAnotherPort) {
    leave(of_host().udp(50000, 443));
    const RunResult sent = out(from_web_udp(net));
    EXPECT_EQ(sent.verdict, Verdict::redirect);
    EXPECT_THAT(sent.counted, Contains(Key("port-changed")));
    EXPECT_EQ(in(to_node(net).udp(443, 50000)).verdict, Verdict::pass);
}

TEST_P(HostFlowTest, AContainersFlowWithThatPortIsEnded) {
    establish();
    EXPECT_THAT(leave(of_host().tcp(50000, 443).syn()).counted,
                ElementsAre(Pair("host-flow", 1), Pair("host-took-port", 1)));
    EXPECT_THAT(node().entries(), SizeIs(1)) << "both of the container's halves are gone";
    EXPECT_EQ(count_of(kWebId), 0U);
    EXPECT_EQ(in(reply()).verdict, Verdict::pass);
    EXPECT_THAT(out(segment()).counted, Contains(Key("port-changed")));
    EXPECT_EQ(in(reply()).verdict, Verdict::pass);
}

TEST_P(HostFlowTest, ErrorsAboutWhatTheHostSentAreTheHosts) {
    const Packet question = of_host().udp(50000, 443);
    leave(question);
    const Packet error = Packet(to_node(net)).icmp(net.is_ipv6() ? 1 : 3, 1).quoting(question);
    const RunResult came = in(error);
    EXPECT_EQ(came.verdict, Verdict::pass);
    EXPECT_EQ(came.packet, error.bytes());
    EXPECT_EQ(in(to_node(net).udp(443, 50000).ttl(1)).verdict, Verdict::pass);
}

// As somebody outside began it: to a port that the host serves, or another runtime publishes.
TEST_P(HostFlowTest, WhoConnectsToAPortOfTheHostsReachesItWhateverFlowAContainerHasThere) {
    establish();
    EXPECT_EQ(in(to_node(net).tcp(443, 50000).syn()).verdict, Verdict::pass);
    EXPECT_EQ(in(reply()).verdict, Verdict::redirect) << "nobody has answered that yet";
    EXPECT_THAT(leave(of_host().tcp(50000, 443).syn().ack()).counted,
                ElementsAre(Pair("host-flow", 1), Pair("host-took-port", 1)));
    EXPECT_EQ(in(reply()).verdict, Verdict::pass);
    EXPECT_THAT(out(segment()).counted, Contains(Key("port-changed"))) << "nor gets a container it before it goes on";
}

// Or anybody could fill the host's share, and take containers' ports.
TEST_P(HostFlowTest, WhatAnswersAnybodyBeginsNone) {
    establish();
    for (const Packet& packet :
         {of_host().tcp(50000, 443).rst(), of_host().sctp(50000, 443, kAbort), of_host().echo_reply(50000),
          of_host().icmp(net.is_ipv6() ? 1 : 3, 1).quoting(reply())}) {
        const RunResult left = leave(packet);
        EXPECT_EQ(left.verdict, Verdict::pass);
        EXPECT_THAT(left.counted, IsEmpty());
    }
    EXPECT_EQ(in(reply()).verdict, Verdict::redirect);
}

TEST_P(HostFlowTest, WhatHasNoPortOfThePoolBeginsNone) {
    for (const Packet& packet :
         {of_host().tcp(40000, 443).syn(), of_host().udp(49151, 53), of_host().udp(50000, 53).fragment(100, false),
          of_host().protocol(50), of_host().echo_request(7), of_host().udp(50000, 53).vlan(5),
          of_host().tcp(50000, 443).syn().cut_to(net.is_ipv6() ? 56 : 36)}) {
        EXPECT_EQ(leave(packet).verdict, Verdict::pass);
    }
    EXPECT_THAT(node().entries(), IsEmpty());
}

TEST_P(HostFlowTest, WhileAProgramMayNotMarkNoneBegins) {
    node().settings().marking = 0;
    establish();
    EXPECT_THAT(leave(of_host().tcp(50000, 443).ack()).counted, IsEmpty());
    EXPECT_EQ(in(reply()).verdict, Verdict::redirect);
}

// RFC 5382, REQ-4: whoever connects to the port that it sees is not told that nobody is there.
TEST_P(HostFlowTest, TheHostsResetOfAConnectionToAPortOfThePoolDoesNotLeave) {
    const Packet reset = of_host().tcp(50000, 443).rst().ack().tcp_sequence(0);
    const RunResult left = leave(reset);
    EXPECT_EQ(left.verdict, Verdict::drop);
    EXPECT_THAT(left.counted, ElementsAre(Pair("no-flow", 1)));
    EXPECT_EQ(leave(Packet(reset).from(net.node, 49151)).verdict, Verdict::pass);
    EXPECT_EQ(leave(Packet(reset).tcp_sequence(1)).verdict, Verdict::pass) << "in the middle of a connection";
    leave(of_host().tcp(50000, 443).syn());
    EXPECT_EQ(leave(reset).verdict, Verdict::pass) << "of a flow of the host's";
}

TEST_P(HostFlowTest, AConnectionsStateIsWhatTheHostSent) {
    leave(of_host().tcp(50000, 443).syn());
    EXPECT_EQ(flags_of_the_only_entry(), NK_FLOW_SYN);
    in(to_node(net).tcp(443, 50000).rst());
    in(to_node(net).tcp(443, 50000).fin().ack());
    EXPECT_EQ(flags_of_the_only_entry(), NK_FLOW_SYN) << "whatever comes from outside";
    leave(of_host().tcp(50000, 443).ack());
    EXPECT_EQ(flags_of_the_only_entry(), NK_FLOW_SYN | NK_FLOW_ANSWERED);
    leave(of_host().tcp(50000, 443).fin().ack());
    EXPECT_EQ(flags_of_the_only_entry(), NK_FLOW_SYN | NK_FLOW_ANSWERED | NK_FLOW_FIN);
    leave(of_host().tcp(50000, 443).rst());
    EXPECT_EQ(flags_of_the_only_entry(), NK_FLOW_SYN | NK_FLOW_ANSWERED | NK_FLOW_FIN | NK_FLOW_RST);
    leave(of_host().tcp(50000, 443).syn());
    EXPECT_EQ(flags_of_the_only_entry(), NK_FLOW_SYN) << "a new one";
}

class HostAnswersTest : public HostFlowTest {
protected:
    HostAnswersTest() { options.flow_entries = 2 * NK_HOST_ANSWERS; }
};
INSTANTIATE_TEST_SUITE_P(Family, HostAnswersTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

// Somebody outside may have begun it; he could fill the host's share with connections.
TEST_P(HostAnswersTest, ConnectionsWhoseBeginningWasNotSeenAreSoManyAtMostAndTheOldestGivesWay) {
    node().settings().flow_share4 = node().settings().flow_share6 = 1;
    node().settings().flow_common4 = node().settings().flow_common6 = 0;
    leave(of_host().tcp(50000, 443).syn());
    constexpr std::uint16_t kMost = NK_HOST_ANSWERS;
    for (std::uint16_t i = 0; i <= kMost; i++) {
        ASSERT_THAT(leave(of_host().tcp(static_cast<std::uint16_t>(51000 + i), 443).ack()).counted,
                    ElementsAre(Pair("host-flow", 1)));
    }
    EXPECT_EQ(count_of(NK_HOST_ID), 1U);
    EXPECT_EQ(count_of(NK_HOST_ANSWERS_ID), kMost);
    EXPECT_THAT(leave(of_host().tcp(51001, 443).ack()).counted, IsEmpty()) << "the second is there";
    EXPECT_THAT(leave(of_host().tcp(51000, 443).ack()).counted, ElementsAre(Pair("host-flow", 1)))
        << "the first is not";
}

// Who begins connections to a service of the host's drives nobody out who goes on with his.
TEST_P(HostAnswersTest, ConnectionsThatSomebodyHasOnlyBegunAreSoManyBesideThoseThatGoOn) {
    const auto begun = [this](int port) { return of_host().tcp(static_cast<std::uint16_t>(port), 443).syn().ack(); };
    leave(begun(50000));
    EXPECT_EQ(count_of(NK_HOST_ASKED_ID), 1U);
    leave(of_host().tcp(50000, 443).ack());
    EXPECT_EQ(count_of(NK_HOST_ASKED_ID), 0U);
    EXPECT_EQ(count_of(NK_HOST_ANSWERS_ID), 1U);
    constexpr int kMost = NK_HOST_ANSWERS;
    for (int i = 0; i <= kMost; i++) {
        ASSERT_THAT(leave(begun(51000 + i)).counted, ElementsAre(Pair("host-flow", 1)));
    }
    EXPECT_EQ(count_of(NK_HOST_ASKED_ID), NK_HOST_ANSWERS);
    EXPECT_EQ(count_of(NK_HOST_ANSWERS_ID), 1U);
    EXPECT_THAT(leave(begun(51001)).counted, IsEmpty()) << "the second is there";
    EXPECT_THAT(leave(begun(51000)).counted, ElementsAre(Pair("host-flow", 1))) << "the first is not";
}

TEST_P(HostFlowTest, DatagramsGoOnAfterTwoSeconds) {
    leave(of_host().udp(50000, 443));
    leave(of_host().udp(50000, 443));
    EXPECT_EQ(flags_of_the_only_entry(), 0U);
    age_the_only_entry(std::chrono::seconds(3));
    leave(of_host().udp(50000, 443));
    EXPECT_EQ(flags_of_the_only_entry(), NK_FLOW_ANSWERED);
}

TEST_P(HostFlowTest, TheHostHasAShareLikeOthersAndIsNeverDropped) {
    node().settings().flow_share4 = node().settings().flow_share6 = 2;
    node().settings().flow_common4 = node().settings().flow_common6 = 0;
    establish();
    for (std::uint16_t port = 60000; port < 60004; port++) {
        EXPECT_EQ(leave(of_host().udp(port, 53)).verdict, Verdict::pass);
    }
    EXPECT_EQ(count_of(NK_HOST_ID), 2U);
    EXPECT_THAT(leave(of_host().udp(60009, 53)).counted, ElementsAre(Pair("host-flow-refused", 1)));
    EXPECT_EQ(out(from_web_udp(net)).verdict, Verdict::redirect) << "a container's share is its own";
    leave(of_host().tcp(50000, 443).ack());
    EXPECT_EQ(in(reply()).verdict, Verdict::pass) << "a container's flow is ended all the same";
}

TEST_F(FlowTest, IpOptionsDoNotHideAHostsFlow) {
    const Packet packet = Packet().ip("203.0.113.2", "198.51.100.1").ip_options(Bytes(8, 1)).udp(50000, 53);
    EXPECT_THAT(run(Program::uplink_egress, "eth0", packet).counted, ElementsAre(Pair("host-flow", 1)));
}

}  // namespace
}  // namespace netkitd::test
