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

}  // namespace
}  // namespace netkitd::test
