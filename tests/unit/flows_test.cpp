#include "datapath/flows.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace netkitd::datapath {
namespace {

using namespace std::chrono_literals;

FlowState tcp(bool established, std::uint32_t forward, std::uint32_t reverse) {
    return flow_state(established, IPPROTO_TCP, forward, reverse);
}

TEST(FlowState, IsNewUntilAReplyWasSeen) {
    EXPECT_EQ(tcp(false, NK_FLOW_SYN, 0), FlowState::fresh);
    EXPECT_EQ(tcp(true, NK_FLOW_SYN, NK_FLOW_SYN), FlowState::established);
    EXPECT_EQ(flow_state(false, IPPROTO_UDP, 0, 0), FlowState::fresh);
    EXPECT_EQ(flow_state(true, IPPROTO_UDP, 0, 0), FlowState::established);
    EXPECT_EQ(flow_state(true, IPPROTO_SCTP, NK_FLOW_SYN, NK_FLOW_SYN), FlowState::established);
    EXPECT_EQ(flow_state(true, IPPROTO_SCTP, NK_FLOW_SYN, NK_FLOW_RST), FlowState::closed) << "ABORT";
}

TEST(FlowState, ClosesByBothFinsOrOneReset) {
    EXPECT_EQ(tcp(true, NK_FLOW_FIN, 0), FlowState::half_closed);
    EXPECT_EQ(tcp(true, 0, NK_FLOW_FIN), FlowState::half_closed);
    EXPECT_EQ(tcp(true, NK_FLOW_FIN, NK_FLOW_FIN), FlowState::closed);
    EXPECT_EQ(tcp(true, NK_FLOW_RST, 0), FlowState::closed);
    EXPECT_EQ(tcp(false, 0, NK_FLOW_RST), FlowState::closed);
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

}  // namespace
}  // namespace netkitd::datapath
