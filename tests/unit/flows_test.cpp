#include "nat/flows.h"

#include "nat/sweep_schedule.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include "datapath/flow_capacity.h"

namespace netkitd::nat {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kAnswered = NK_FLOW_ANSWERED;

FlowState tcp(std::uint32_t forward, std::uint32_t reverse) {
    return flow_state(IPPROTO_TCP, forward, reverse);
}

TEST(FlowState, IsNewUntilAReplyWasSeen) {
    EXPECT_EQ(tcp(NK_FLOW_SYN, 0), FlowState::fresh);
    EXPECT_EQ(tcp(NK_FLOW_SYN | kAnswered, NK_FLOW_SYN | kAnswered), FlowState::established);
    EXPECT_EQ(tcp(NK_FLOW_SYN, NK_FLOW_SYN | kAnswered), FlowState::established);
    EXPECT_EQ(flow_state(IPPROTO_UDP, 0, 0), FlowState::fresh);
    EXPECT_EQ(flow_state(IPPROTO_UDP, kAnswered, kAnswered), FlowState::established);
    EXPECT_EQ(flow_state(IPPROTO_SCTP, NK_FLOW_SYN | kAnswered, NK_FLOW_SYN | kAnswered), FlowState::established);
    EXPECT_EQ(flow_state(IPPROTO_SCTP, NK_FLOW_RST | kAnswered, NK_FLOW_RST | kAnswered), FlowState::closed) << "ABORT";
}

TEST(FlowState, ClosesByBothFinsOrOneReset) {
    EXPECT_EQ(tcp(NK_FLOW_FIN | kAnswered, kAnswered), FlowState::half_closed);
    EXPECT_EQ(tcp(kAnswered, NK_FLOW_FIN | kAnswered), FlowState::half_closed);
    EXPECT_EQ(tcp(NK_FLOW_FIN | kAnswered, NK_FLOW_FIN | kAnswered), FlowState::closed);
    EXPECT_EQ(tcp(NK_FLOW_RST | kAnswered, kAnswered), FlowState::closed);
    EXPECT_EQ(tcp(0, NK_FLOW_RST), FlowState::closed);
}

// Anybody can send one with the remote's address.
TEST(FlowState, AResetFromOutsideAloneClosesAConnectionByHalf) {
    EXPECT_EQ(tcp(kAnswered, NK_FLOW_RST | kAnswered), FlowState::half_closed);
    EXPECT_EQ(tcp(kAnswered, NK_FLOW_RST | NK_FLOW_FIN | kAnswered), FlowState::half_closed);
    EXPECT_EQ(tcp(NK_FLOW_FIN | kAnswered, NK_FLOW_RST | kAnswered), FlowState::closed);
}

TEST(FlowLifetime, KeepsIdleTcpForTwoHoursAndClosedOnesBriefly) {
    const FlowLifetimes lifetimes;
    EXPECT_GE(lifetime(lifetimes, FlowState::established, IPPROTO_TCP), 2h + 4min);
    EXPECT_GE(lifetime(lifetimes, FlowState::half_closed, IPPROTO_TCP), 4min);
    EXPECT_EQ(lifetime(lifetimes, FlowState::closed, IPPROTO_TCP), 10s);
    EXPECT_EQ(lifetime(lifetimes, FlowState::established, IPPROTO_UDP), 5min);
    EXPECT_EQ(lifetime(lifetimes, FlowState::established, IPPROTO_UDPLITE), 5min);
    EXPECT_GE(lifetime(lifetimes, FlowState::established, IPPROTO_SCTP), 5min) << "many heartbeats, of 30 s";
    EXPECT_EQ(lifetime(lifetimes, FlowState::established, IPPROTO_ICMP), 60s);
    EXPECT_EQ(lifetime(lifetimes, FlowState::fresh, IPPROTO_UDP), 60s);
}

TEST(ClosedLife, ShrinksFromHalfFullToNothing) {
    const FlowLifetimes lifetimes;
    EXPECT_EQ(closed_life(lifetimes, {.entries = 0, .capacity = 100}), 10s);
    EXPECT_EQ(closed_life(lifetimes, {.entries = 50, .capacity = 100}), 10s);
    EXPECT_NEAR(static_cast<double>(closed_life(lifetimes, {.entries = 75, .capacity = 100}).count()), 5e9, 1e6);
    EXPECT_EQ(closed_life(lifetimes, {.entries = 100, .capacity = 100}), 0s);
    EXPECT_EQ(closed_life(lifetimes, {.entries = 0, .capacity = 0}), 10s);
}

class ScheduleTest : public testing::Test {
protected:
    // Ticks once a second, as the daemon does, up to `until`; when a walk was due.
    std::vector<std::int64_t> walks(std::chrono::seconds until, std::uint64_t removed = 0) {
        std::vector<std::int64_t> result;
        for (; now < until; now += 1s) {
            if (schedule.is_due(now, load, {})) {
                result.push_back(now.count());
                schedule.walked(now, removed, next_end, {});
            }
        }
        return result;
    }

    SweepSchedule schedule;
    SweepSchedule::Load load;
    std::optional<std::chrono::nanoseconds> next_end;
    std::chrono::seconds now{1000};
};

TEST_F(ScheduleTest, AnEmptyTableIsNeverWalked) {
    load.begun = 7;
    EXPECT_EQ(walks(10000s), std::vector<std::int64_t>());
}

// What a daemon that was started finds is looked through at once.
TEST_F(ScheduleTest, WhereNothingHappensWalksBecomeRare) {
    load.entries = 2;
    EXPECT_EQ(walks(3000s),
              (std::vector<std::int64_t>{1000, 1010, 1030, 1070, 1150, 1310, 1610, 1910, 2210, 2510, 2810}));
}

TEST_F(ScheduleTest, TheFirstFlowThatIsOverIsWaitedFor) {
    load.entries = 2;
    ASSERT_EQ(walks(1100s), (std::vector<std::int64_t>{1000, 1010, 1030, 1070}));
    next_end = 1190s;
    EXPECT_EQ(walks(1200s), (std::vector<std::int64_t>{1150, 1190}));
}

TEST_F(ScheduleTest, ANewFlowBringsTheNextWalkForward) {
    load.entries = 2;
    ASSERT_EQ(walks(1330s).back(), 1310);
    load.begun++;
    EXPECT_EQ(walks(1400s), (std::vector<std::int64_t>{1333, 1343, 1363}));
}

TEST_F(ScheduleTest, WhileThereIsSomethingToForgetItGoesOn) {
    load.entries = 2;
    EXPECT_EQ(walks(1060s, 1), (std::vector<std::int64_t>{1000, 1010, 1020, 1030, 1040, 1050}));
}

TEST_F(ScheduleTest, ATableThatIsFillingUpIsWalkedWhenEnoughHasCome) {
    load.entries = 1200;
    load.fullest = {.entries = 1200, .capacity = 1600};
    std::vector<std::int64_t> seen;
    for (std::chrono::seconds second = 1001s; second < 1009s; second += 1s) {
        load.begun += 50;  // 100 entries: it would be full in less than five seconds
        for (const std::int64_t walk : walks(second)) {
            seen.push_back(walk);
        }
    }
    EXPECT_EQ(seen, (std::vector<std::int64_t>{1000, 1002, 1004, 1006}));
    EXPECT_EQ(schedule.until_the_next_question(), 50ms);
    load.fullest.entries = 1550;
    load.begun += 50;
    EXPECT_EQ(walks(1009s), (std::vector<std::int64_t>{1008})) << "there is no time to lose";
}

TEST_F(ScheduleTest, ATableThatIsFillingUpIsWalkedBeforeItIsFull) {
    load.entries = 60;
    load.fullest = {.entries = 60, .capacity = 100};
    EXPECT_EQ(walks(1005s), (std::vector<std::int64_t>{1000})) << "more than half full, and nothing comes";
    load.begun = 100;
    EXPECT_EQ(walks(1006s), (std::vector<std::int64_t>{1005}));
    EXPECT_EQ(walks(1009s), std::vector<std::int64_t>()) << "nothing more comes";
    load.fullest.entries = 40;
    load.begun = 200;
    EXPECT_EQ(walks(1010s), std::vector<std::int64_t>()) << "there is room for seconds";
}

// Whoever has more than its share waits for room, and begins nothing meanwhile.
TEST_F(ScheduleTest, AFullTableIsWalkedEveryTwoSeconds) {
    load.entries = 95;
    load.fullest = {.entries = 95, .capacity = 100};
    EXPECT_EQ(walks(1009s), (std::vector<std::int64_t>{1000, 1002, 1004, 1006, 1008}));
}

TEST_F(ScheduleTest, WhereNothingHappensItIsAskedOnceASecond) {
    load.fullest = {.entries = 0, .capacity = 262144};
    EXPECT_EQ(walks(1010s), std::vector<std::int64_t>());
    EXPECT_EQ(schedule.until_the_next_question(), 1s);
}

// Nothing comes for a while, and then, from right after a question, as much as is promised.
TEST_F(ScheduleTest, AFloodAfterAPauseIsNoticedBeforeTheTableIsFull) {
    constexpr std::uint64_t kFlowsPerSecond = 50'000;
    for (const std::uint64_t capacity : {65536U, 131072U, 262144U}) {
        for (const std::uint64_t percent : {1U, 30U, 49U, 51U, 70U, 85U}) {
            schedule = {};
            load = {.entries = capacity * percent / 100, .begun = 0, .fullest = {}};
            std::chrono::milliseconds time = 1000s;
            const auto is_due = [&] {
                load.fullest = {.entries = load.entries, .capacity = capacity};
                return schedule.is_due(time, load, {});
            };
            for (int i = 0; i < 5 && !is_due(); ++i) {
                time += schedule.until_the_next_question();
            }
            do {
                const std::chrono::milliseconds wait = schedule.until_the_next_question();
                time += wait;
                load.begun += kFlowsPerSecond * static_cast<std::uint64_t>(wait.count()) / 1000;
                load.entries = capacity * percent / 100 + 2 * load.begun;
            } while (!is_due() && load.entries < capacity);
            EXPECT_LT(load.entries, capacity - capacity / 20) << percent << " % of " << capacity;
        }
    }
}

TEST(FlowCapacity, FollowsTheMachinesMemory) {
    constexpr std::uint64_t kGiB = 1ULL << 30;
    EXPECT_EQ(datapath::flow_capacity(0), 65536U);
    EXPECT_EQ(datapath::flow_capacity(kGiB), 65536U);
    EXPECT_EQ(datapath::flow_capacity(4 * kGiB), 131072U);
    EXPECT_EQ(datapath::flow_capacity(8 * kGiB - kGiB / 2), 262144U) << "what the firmware keeps is missing";
    EXPECT_EQ(datapath::flow_capacity(1024 * kGiB), 262144U);
    EXPECT_GT(datapath::total_memory_bytes(), 1ULL << 26);
}

TEST(FlowShares, HalfOfTheTableIsForShares) {
    EXPECT_EQ(datapath::flow_shares(262144, 0), (datapath::FlowShares{.share = 256, .common = 65536}));
    EXPECT_EQ(datapath::flow_shares(262144, 256).share, 256U);
    EXPECT_EQ(datapath::flow_shares(262144, 1024).share, 64U);
    EXPECT_EQ(datapath::flow_shares(262144, 0).most_of_one(), 58254U + 256U);
    EXPECT_EQ(datapath::flow_shares(2, 16384).share, 1U) << "never none";
}

}  // namespace
}  // namespace netkitd::nat
