// What each CPU remembers of the flows whose packets it has just seen (bpf/lib/nat/flow_slots.h).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "bpf/flow_fixture.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using ::testing::Contains;
using ::testing::Key;

class FlowSlotsTest : public BothFamiliesTest {
protected:
    void SetUp() override {
        BothFamiliesTest::SetUp();
        pin_to_cpu(0);
        establish();
    }
    // Both ways: the first of them are found in the table and the last are not, until the clock ticks.
    void send_some() {
        for (int i = 0; i < 8; i++) {
            out(segment());
            in(reply());
        }
    }
    [[nodiscard]] Flow flow() const { return {.source = net.web, .destination = net.remote, .translated = net.node}; }
    // Whether there is a flow, for all that its packets show: the answer first, as a packet out would begin one.
    [[nodiscard]] bool goes_on() {
        return in(reply()).verdict == Verdict::redirect && !out(segment()).counted.contains("flow-created");
    }
    // The clock may tick at any time: what is shown once is shown.
    [[nodiscard]] bool goes_on_without_the_table() {
        for (int i = 0; i < 5; i++) {
            send_some();
            node().lose_flows();
            if (goes_on()) {
                return true;
            }
            node().reset(options);
            establish();
        }
        return false;
    }
};
INSTANTIATE_TEST_SUITE_P(Family, FlowSlotsTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(FlowSlotsTest, WhatWasJustSeenIsNotLookedForInTheTable) {
    EXPECT_TRUE(goes_on_without_the_table());
}

TEST_P(FlowSlotsTest, AConnectionOfAFewPacketsIsNotCopied) {
    for (int i = 0; i < 3; i++) {
        out(segment());
        in(reply());
    }
    node().lose_flows();
    EXPECT_FALSE(goes_on());
}

TEST_P(FlowSlotsTest, NothingIsRememberedWhileAProgramOfAnotherVersionMayRun) {
    node().settings().marking = 0;
    send_some();
    node().lose_flows();
    EXPECT_FALSE(goes_on());
}

TEST_P(FlowSlotsTest, WhatIsRememberedIsForgottenWhenTheClockTicksOrTheDaemonSaysSo) {
    send_some();
    node().lose_flows();
    node().settings().route_generation++;
    EXPECT_FALSE(goes_on());
}

TEST_P(FlowSlotsTest, WhatIsRemovedIsForgottenByEveryCpu) {
    const unsigned cpus = std::thread::hardware_concurrency();
    for (unsigned asked = 0; asked < cpus; asked++) {
        for (unsigned cpu = 0; cpu < cpus; cpu++) {
            pin_to_cpu(cpu);
            send_some();
        }
        const auto removed = node().forget(flow());
        ASSERT_TRUE(removed && *removed);
        for (unsigned cpu = 0; cpu < cpus; cpu++) {
            pin_to_cpu(cpu);
            EXPECT_NE(in(reply()).verdict, Verdict::redirect) << "CPU " << cpu;
        }
        pin_to_cpu(asked);
        EXPECT_THAT(out(segment()).counted, Contains(Key("flow-created"))) << "CPU " << asked;
        in(reply());
    }
}

// Of two flows with one slot, the first has it; the other one is found in the table all the same.
TEST_P(FlowSlotsTest, AnotherFlowWithThatSlotIsNotTakenForIt) {
    const Packet other_segment = Packet().ip(net.web, net.remote).tcp(50512, 443).ack();
    const Packet other_reply = to_node(net).tcp(443, 50512).ack();
    out(Packet().ip(net.web, net.remote).tcp(50512, 443).syn());
    in(Packet(other_reply).syn());
    for (int i = 0; i < 3; i++) {
        send_some();
        EXPECT_TRUE(left_as(out(other_segment).packet, forwarded(Packet(other_segment).from(net.node, 50512))));
        EXPECT_TRUE(left_as(in(other_reply).packet, forwarded(Packet(other_reply).to(net.web, 50512))));
    }
}

// What the flow is to hear of, it hears of.
TEST_P(FlowSlotsTest, TheEndOfAConnectionIsNoted) {
    send_some();
    out(segment().fin());
    in(reply().fin());
    for (const auto& [key, value] : node().entries(Stage::established)) {
        EXPECT_EQ(value.flags & NK_FLOW_FIN, NK_FLOW_FIN);
    }
    out(segment().rst());
    EXPECT_THAT(node().find(NK_FLOW_FORWARD, flow())->flags & NK_FLOW_RST, NK_FLOW_RST);
}

// Datagrams of a client outside, to a published port. Once a flow of theirs is lost, it begins anew with the next one,
// which is told by what that counts.
class DatagramSlotsTest : public BpfTest, public ::testing::WithParamInterface<const Net*> {
protected:
    static constexpr std::uint16_t kClientPort = 50000;
    static constexpr std::uint16_t kPort = 8080;
    static constexpr std::uint16_t kContainerPort = 80;

    void SetUp() override {
        BpfTest::SetUp();
        pin_to_cpu(0);
        publish(frontend_of_web(net, IPPROTO_UDP, kPort, kContainerPort));
    }
    RunResult ask() { return in(to_node(net).udp(kClientPort, kPort)); }
    RunResult answer() { return out(Packet().ip(net.web, net.remote).udp(kContainerPort, kClientPort)); }
    void talk() {
        for (int i = 0; i < 8; i++) {
            ask();
            answer();
        }
    }
    // The answer first, as what comes in would begin the flow for both.
    [[nodiscard]] bool goes_on() {
        const RunResult answered = answer();
        return !answered.counted.contains("flow-created") && !ask().counted.contains("flow-arrived");
    }

    const Net& net = *GetParam();
};
INSTANTIATE_TEST_SUITE_P(Family, DatagramSlotsTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(DatagramSlotsTest, WhoComesAgainAfterAnAnswerIsNotLookedForInTheTable) {
    bool went_on = false;
    for (int i = 0; i < 5 && !went_on; i++) {  // The clock may tick meanwhile.
        talk();
        node().lose_flows();
        went_on = goes_on();
    }
    EXPECT_TRUE(went_on);
}

// A flood's flows are removed without a word to the slots.
TEST_P(DatagramSlotsTest, WhatIsOnlyAnsweredIsLookedForInTheTable) {
    ask();
    for (int i = 0; i < 8; i++) {
        answer();
    }
    node().lose_flows();
    EXPECT_THAT(answer().counted, Contains(Key("flow-created")));
}

TEST_P(DatagramSlotsTest, WhatIsRemovedIsForgotten) {
    talk();
    const auto removed = node().forget({.protocol = IPPROTO_UDP,
                                        .source = net.web,
                                        .source_port = kContainerPort,
                                        .destination = net.remote,
                                        .destination_port = kClientPort,
                                        .translated = net.node,
                                        .translated_port = kPort});
    ASSERT_TRUE(removed && *removed);
    EXPECT_THAT(answer().counted, Contains(Key("flow-created")));
}

}  // namespace
}  // namespace netkitd::test
