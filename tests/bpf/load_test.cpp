// Many flows: that none is lost, refused or mixed up with another. What it takes is tests/bench/run's to say.
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/in.h>

#include <chrono>
#include <thread>

#include "base/format.h"
#include "bpf/bpf_test.h"
#include "bpf/flow_fixture.h"
#include "bpf/nat_model.h"
#include "bpf/packets.h"
#include "harness/daemon_view.h"
#include "nat/flow_sweeper.h"

namespace netkitd::test {
namespace {

class LoadTest : public BpfTest, public ::testing::WithParamInterface<const Net*> {
protected:
    LoadTest() { options.flow_entries = 524288; }

    void SetUp() override {
        BpfTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) {
            return;
        }
        pin_to_cpu(0);
        model_.emplace(NatModel::Options{.port_first = options.port_first, .port_last = options.port_last});
    }

    // Of two containers by turns, which use the same ports: every second one has to get another.
    [[nodiscard]] Conversation conversation(std::size_t number) const {
        return {.protocol = IPPROTO_TCP,
                .container = number % 2 == 0 ? net.web : net.db,
                .port = static_cast<std::uint16_t>(options.port_first + number % flows_to_a_remote_ / 2),
                .remote = formatted("{}{}", v6() ? "2001:db8:51::" : "198.51.100.", 1 + number / flows_to_a_remote_),
                .remote_port = 443};
    }

    // What is wrong with what became of it; empty: nothing.
    [[nodiscard]] std::string out(const Conversation& c, Packet packet, bool syn = false, bool fin = false) {
        packet.ip(c.container, c.remote).tcp(c.port, c.remote_port);
        const Sent sent = segment(std::move(packet), syn, fin, !syn);
        const auto seen = run(Program::veth_ingress, c.container == net.web ? "nkweb" : "nkdb", sent);
        return seen ? model_->out(c, sent, *seen) : seen.error().message();
    }
    [[nodiscard]] std::string in(const Conversation& c, Packet packet, bool syn = false, bool fin = false) {
        const NatModel::State* known = model_->find(c);
        if (known == nullptr) {
            return "it has no port";
        }
        packet.eth(kUplinkMac, kRouterMac).ip(c.remote, net.node).tcp(c.remote_port, known->port);
        const Sent sent = segment(std::move(packet), syn, fin, true);
        const auto seen = run(Program::uplink_ingress, "eth0", sent);
        return seen ? model_->in(c, known->port, sent, *seen) : seen.error().message();
    }
    void establish(const Conversation& c) {
        ASSERT_EQ(out(c, Packet(), true), "") << to_string(c);
        ASSERT_EQ(in(c, Packet(), true), "") << to_string(c);
    }
    void exchange(const Conversation& c) {
        ASSERT_EQ(out(c, Packet().payload("question")), "") << to_string(c);
        ASSERT_EQ(in(c, Packet().payload("answer")), "") << to_string(c);
    }
    // Packets of which only where they go is looked at.
    [[nodiscard]] Verdict send(std::string_view device, const Bytes& frame) {
        const auto ran = node().run_frame(Program::veth_ingress, ifindex(device), frame, seen_);
        return ran ? ran->verdict : Verdict::drop;
    }
    [[nodiscard]] Verdict arrive(const Bytes& frame) {
        const auto ran = node().run_frame(Program::uplink_ingress, ifindex("eth0"), frame, seen_);
        return ran ? ran->verdict : Verdict::drop;
    }

    [[nodiscard]] bool v6() const { return net.name == "V6"; }
    [[nodiscard]] std::size_t flows_of(std::uint32_t endpoint_id) {
        const nk_flow_counts counts = node().flow_counts(endpoint_id);
        return v6() ? counts.flows6 : counts.flows4;
    }

    const Net& net = *GetParam();
    std::size_t flows_to_a_remote_ = 8000;

private:
    [[nodiscard]] Sent segment(Packet packet, bool syn, bool fin, bool ack) const {
        syn ? packet.syn() : packet;
        fin ? packet.fin() : packet;
        ack ? packet.ack() : packet;
        return {.packet = std::move(packet),
                .protocol = IPPROTO_TCP,
                .transport_offset = std::size_t{ETH_HLEN} + net.header_size,
                .syn = syn,
                .ack = ack,
                .fin = fin};
    }
    [[nodiscard]] Result<Seen> run(Program program, std::string_view device, const Sent& sent) {
        const auto ran = NK_TRY(node().run_frame(program, ifindex(device), sent.frame(), seen_));
        return Seen{.verdict = ran.verdict, .drop = "one of the reasons", .frame = seen_};
    }
    [[nodiscard]] std::uint32_t ifindex(std::string_view device) {
        auto& known = ifindexes_[std::string(device)];
        known = known != 0 ? known : if_nametoindex(std::string(device).c_str());
        return known;
    }

    std::optional<NatModel> model_;
    std::map<std::string, std::uint32_t> ifindexes_;
    Bytes seen_;
};

INSTANTIATE_TEST_SUITE_P(Family, LoadTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(LoadTest, AHundredThousandFlowsAtOnce) {
    constexpr std::size_t kFlows = 100'000;
    for (std::size_t i = 0; i < kFlows; i++) {
        ASSERT_NO_FATAL_FAILURE(establish(conversation(i)));
    }
    for (std::size_t i = 0; i < kFlows; i++) {
        ASSERT_NO_FATAL_FAILURE(exchange(conversation(i)));
    }
    EXPECT_EQ(node().entries(Stage::established).size(), 2 * kFlows);
    EXPECT_EQ(flows_of(kWebId) + flows_of(kDbId), kFlows);
    EXPECT_EQ(node().counted()["flow-established"], kFlows);
}

class OneDestinationTest : public LoadTest {
protected:
    OneDestinationTest() {
        options.port_first = 32768;  // the default pool has 16,384
        flows_to_a_remote_ = 20'000;
    }
};
INSTANTIATE_TEST_SUITE_P(Family, OneDestinationTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(OneDestinationTest, TwentyThousandConnectionsToOnePort) {
    constexpr std::size_t kFlows = 20'000;
    for (std::size_t i = 0; i < kFlows; i++) {
        ASSERT_NO_FATAL_FAILURE(establish(conversation(i)));
    }
    for (std::size_t i = 0; i < kFlows; i++) {
        ASSERT_EQ(conversation(i).remote, conversation(0).remote);
        ASSERT_NO_FATAL_FAILURE(exchange(conversation(i)));
    }
    EXPECT_GE(node().counted()["port-changed"], kFlows / 2);
    EXPECT_FALSE(node().counted().contains("ports-exhausted"));
}

// The `number`-th SYN of a flood: from db, each to another place, with ports that are kept.
Bytes flood_frame(const Net& net, std::size_t number) {
    constexpr std::size_t kPorts = 12288;
    const bool v6 = net.name == "V6";
    const auto port = static_cast<std::uint16_t>(49152 + number % kPorts);
    const std::string remote =
        v6 ? formatted("2001:db8:52::{:x}", 1 + number / kPorts) : formatted("198.18.0.{}", 1 + number / kPorts);
    return Packet().ip(net.db, remote).tcp(port, 80).syn().bytes();
}

TEST_P(LoadTest, AFloodOfSynsHurtsNobodyElse) {
    constexpr std::size_t kFlood = 300'000;
    constexpr std::size_t kBetween = 1000;
    constexpr std::size_t kVictims = 1000;
    const auto of_web = [this](std::size_t number) { return conversation(2 * number); };
    for (std::size_t i = 0; i < kVictims; i++) {
        ASSERT_NO_FATAL_FAILURE(establish(of_web(i)));
    }
    std::size_t begun = 0;
    for (std::size_t i = 0; i < kFlood; i++) {
        begun += send("nkdb", flood_frame(net, i)) == Verdict::redirect ? 1U : 0U;
        if (i % kBetween != 0) {
            continue;
        }
        for (std::size_t j = 0; j < 5; j++) {
            ASSERT_NO_FATAL_FAILURE(exchange(of_web((i / kBetween * 5 + j) % kVictims)));
        }
        // One that begins meanwhile: its answer comes after as many SYNs as there are between.
        const std::size_t round = i / kBetween;
        if (round > 0) {
            ASSERT_EQ(in(of_web(kVictims + round - 1), Packet(), true), "") << "after " << i << " SYNs";
        }
        ASSERT_EQ(out(of_web(kVictims + round), Packet(), true), "");
    }
    EXPECT_GT(begun, kFlood / 4) << "as many as one gets";
    EXPECT_LT(begun, options.flow_entries / 4) << "not more than the common half";
    EXPECT_EQ(node().counted()["flow-share"], kFlood - begun);
    EXPECT_FALSE(node().counted().contains("flow-table-full"));
    for (std::size_t i = 0; i < kVictims; i++) {
        ASSERT_NO_FATAL_FAILURE(exchange(of_web(i)));
    }
}

// As many connections as one container could have more than twice, each over at once, 40,000 a second if this machine
// makes as many; and the sweep beside them as the daemon does it.
TEST_P(LoadTest, TheSweepKeepsUpWithFlowsThatComeAndGo) {
    constexpr std::size_t kNew = 300'000;
    constexpr std::size_t kKept = 1000;
    const auto view = DaemonView::open(node());
    ASSERT_TRUE(view) << view.error().message();
    nat::FlowSweeper sweeper(view->datapath());
    for (std::size_t i = 0; i < kKept; i++) {
        ASSERT_NO_FATAL_FAILURE(establish(conversation(i)));
    }
    constexpr std::size_t kAtOnce = 1000;
    constexpr std::chrono::milliseconds kForThese{25};
    const auto begin = std::chrono::steady_clock::now();
    auto next_step = begin;
    for (std::size_t i = 0; i < kNew; i++) {
        if (i % kAtOnce == 0) {
            std::this_thread::sleep_until(begin + kForThese * (i / kAtOnce));
        }
        // Of one container to remotes of its own: all keep their ports.
        const auto port = static_cast<std::uint16_t>(49152 + i % 8000);
        const std::string remote = formatted("{}{}", v6() ? "2001:db8:51::" : "198.51.100.", 10 + i / 8000);
        const Packet out = Packet().ip(net.web, remote).tcp(port, 80);
        const Packet in = Packet().eth(kUplinkMac, kRouterMac).ip(remote, net.node).tcp(80, port);
        ASSERT_EQ(send("nkweb", Packet(out).syn().bytes()), Verdict::redirect) << i;
        ASSERT_EQ(arrive(Packet(in).syn().ack().bytes()), Verdict::redirect) << i;
        ASSERT_EQ(send("nkweb", Packet(out).fin().ack().bytes()), Verdict::redirect) << i;
        ASSERT_EQ(arrive(Packet(in).fin().ack().bytes()), Verdict::redirect) << i;
        if (std::chrono::steady_clock::now() >= next_step) {
            const auto wait = sweeper.step({});
            ASSERT_TRUE(wait) << wait.error().message();
            next_step = std::chrono::steady_clock::now() + *wait;
        }
    }
    EXPECT_EQ(node().counted()["flow-established"], kNew + kKept) << "none was refused";
    EXPECT_GT(sweeper.removed(), kNew - options.flow_entries / 4) << "more than there is room for";
    for (std::size_t i = 0; i < kKept; i++) {
        ASSERT_NO_FATAL_FAILURE(exchange(conversation(i)));
    }
}

}  // namespace
}  // namespace netkitd::test
