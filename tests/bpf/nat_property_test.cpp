// Random packets and conversations, a million of them, through the programs and through a plain model of what they are
// to do (nat_model.h): whatever goes out comes out translated, what comes back comes back to who asked for it, and
// every byte of it is right. Of every protocol that is masqueraded, whole and in fragments (nat_fragments.h), and the
// ICMP errors about them (nat_errors.h). Some conversations are begun by who is outside, or by another container, to
// ports that are published (nat_published.h), and that go from one container to another.
//
// Every run says its seed. NETKITD_SEED=N repeats one, NETKITD_PACKETS=N makes it longer or shorter, NETKITD_SHORT=1
// short. A failure is shown with the fewest steps that were found to lead to it, all their packets printed. (Which free
// port a new conversation gets is the kernel's choice each time, so that a rare one may not come again.)
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "bpf/bpf_test.h"
#include "bpf/nat_player.h"
#include "bpf/nat_world.h"

namespace netkitd::test {
namespace {

class NatPropertyTest : public BpfTest {
protected:
    NatPropertyTest() {
        options.flow_entries = 65536;
        options.loopback_egress = true;
    }

    void SetUp() override {
        BpfTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) {
            return;
        }
        pin_to_cpu(0);
        player_.emplace(NetnsTest::node(), node(), options);
    }

    void play_until(std::uint64_t packets);
    // That what the test is about did happen: by the programs' counters, and as a share of the packets that came out
    // translated.
    void expect_counted(std::initializer_list<const char*> names) {
        const auto counted = node().counted();
        for (const char* name : names) {
            EXPECT_TRUE(counted.contains(name)) << name;
        }
    }
    void expect_shares(std::initializer_list<std::pair<const char*, double>> percents) const;

private:
    // The fewest steps that were found to lead to it.
    World shrink(World world, const WorldPlayer::Failure& failure);

    std::optional<WorldPlayer> player_;
};

World NatPropertyTest::shrink(World world, const WorldPlayer::Failure& failure) {
    constexpr int kAttempts = 400;
    world.steps.resize(failure.step + 1);
    std::size_t chunk = world.steps.size() / 2;
    for (int attempt = 0; attempt < kAttempts && chunk > 0;) {
        bool shorter = false;
        for (std::size_t begin = 0; begin + 1 < world.steps.size() && attempt < kAttempts; attempt++) {
            World less = world;
            const auto from = less.steps.begin() + static_cast<std::ptrdiff_t>(begin);
            const auto size = std::min(chunk, less.steps.size() - 1 - begin);  // the last one is it
            less.steps.erase(from, from + static_cast<std::ptrdiff_t>(size));
            if (const auto again = player_->play(less)) {
                less.steps.resize(again->step + 1);
                world = std::move(less);
                shorter = true;
            } else {
                begin += chunk;
            }
        }
        chunk = shorter ? std::min(chunk, world.steps.size() / 2) : chunk / 2;
    }
    return world;
}

void NatPropertyTest::play_until(std::uint64_t packets) {
    constexpr std::size_t kMostSteps = 20'000;
    const std::uint64_t seed = seed_of_this_run();
    Random random(seed);
    const std::size_t steps = std::min<std::size_t>(kMostSteps, packets / 3);  // a world of each kind
    for (std::uint64_t done = 0; done < packets; done += steps) {
        const World world = random_world(random, done / steps, steps);
        if (const auto failure = player_->play(world)) {
            const World least = shrink(world, *failure);
            std::string trace;
            const auto again = player_->play(least, &trace);
            FAIL() << "NETKITD_SEED=" << seed << ", step " << done + failure->step << ", ports "
                   << world.options.port_first << " to " << world.options.port_last << ": " << failure->what
                   << "\n--- of " << least.steps.size() << " steps that lead there:\n"
                   << trace << (again ? again->what : "this time it did not come again");
        }
    }
}

void NatPropertyTest::expect_shares(std::initializer_list<std::pair<const char*, double>> percents) const {
    std::uint64_t all = 0;
    for (const auto& [kind, packets] : player_->translated()) {
        all += packets;
    }
    for (const auto& [kind, least] : percents) {
        const auto found = player_->translated().find(kind);
        const auto packets = found == player_->translated().end() ? 0 : found->second;
        const double percent = 100.0 * static_cast<double>(packets) / static_cast<double>(all);
        std::printf("[ share  ] %s: %.1f %% of %lu\n", kind, percent, all);
        EXPECT_GE(percent, least) << kind;
    }
}

TEST_F(NatPropertyTest, AMillionPackets) {
    ASSERT_NO_FATAL_FAILURE(play_until(packets_to_run()));
    expect_counted({"flow-created", "flow-established", "port-changed", "ports-exhausted", "no-flow", "protocol",
                    "sctp-port", "ttl-expired", "stack-ttl", "fragment", "icmp-error", "host-flow", "host-took-port",
                    "flow-arrived", "not-allowed", "port-clash"});
    // Whose port is taken, by the container before or by the host, is refused.
    expect_shares({{"sctp", 1.2},
                   {"published out", 1.5},
                   {"published in", 1.5},
                   {"inside out", 1},
                   {"inside in", 1},
                   {"program out", 0.2},
                   {"program in", 0.005},
                   {"icmp error in", 2},
                   {"icmp error out", 2},
                   {"first fragment out", 2},
                   {"later fragment out", 2},
                   {"first fragment in", 2},
                   {"later fragment in", 2}});
}

// A table that is far too small: what is in it must not notice.
class NatPropertyUnderPressureTest : public NatPropertyTest {
protected:
    NatPropertyUnderPressureTest() { options.flow_entries = 256; }
};

TEST_F(NatPropertyUnderPressureTest, EachGetsItsShareAndNothingOfOthers) {
    ASSERT_NO_FATAL_FAILURE(play_until(packets_to_run() / 5));
    expect_counted(
        {"flow-created", "flow-established", "port-changed", "ports-exhausted", "flow-share", "flow-arrived"});
}

// One that is used up: those that somebody outside began, too, wait for room then, and take nobody's.
class NatPropertyFullTableTest : public NatPropertyTest {
protected:
    NatPropertyFullTableTest() { options.flow_entries = 32; }
};

TEST_F(NatPropertyFullTableTest, WhatIsInItGoesOn) {
    constexpr std::uint64_t kUntilItIsFull = 20'000;
    ASSERT_NO_FATAL_FAILURE(play_until(std::max(packets_to_run() / 20, kUntilItIsFull)));
    expect_counted({"flow-created", "flow-arrived", "flow-table-full"});
}

}  // namespace
}  // namespace netkitd::test
