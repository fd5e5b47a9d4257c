// What programs of the version before made of flows during an upgrade: which of them the new table takes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cerrno>
#include <optional>
#include <string>

#include "abi.h"
#include "base/unique_fd.h"
#include "bpf/bpf_test.h"
#include "datapath/flow_key.h"
#include "datapath/flow_takeover.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using datapath::other_key;
using Kind = datapath::FormerFlows::Kind;

constexpr std::uint32_t kWeb = 1;
constexpr std::uint32_t kDb = 2;
constexpr __be32 kRemote = 0x076433c6;      // 198.51.100.7
constexpr __be32 kTranslated = 0x017100cb;  // 203.0.113.1
constexpr std::uint64_t kCopiedAt = 1000;
constexpr std::uint64_t kLater = 2000;

struct Half {
    nk_flow4_key key;
    nk_flow value;
};

__be32 address_of(std::uint32_t endpoint_id) {
    return htonl(0x0a4d0000 + endpoint_id);  // 10.77.0.N
}

// Of a flow of that endpoint from port 50000 to the remote's 53, with that translated port.
Half forward(std::uint32_t endpoint_id, std::uint16_t port, std::uint64_t touched) {
    Half half{};
    half.key.saddr = address_of(endpoint_id);
    half.key.daddr = kRemote;
    half.key.sport = htons(50000);
    half.key.dport = htons(53);
    half.key.proto = IPPROTO_UDP;
    half.key.direction = NK_FLOW_FORWARD;
    half.value.addr.word[0] = kTranslated;
    half.value.port = htons(port);
    half.value.endpoint_id = endpoint_id;
    half.value.last_seen_ns = touched;
    half.value.created_ns = touched;
    return half;
}

Half reverse(std::uint32_t endpoint_id, std::uint16_t port, std::uint64_t touched) {
    Half half = forward(endpoint_id, port, touched);
    const nk_flow4_key key = half.key;
    half.key = other_key(key, half.value);
    half.value.addr.word[0] = key.saddr;
    half.value.port = key.sport;
    return half;
}

// As a map of any version has it.
class Table {
public:
    Table() : map_(bpf_map_create(BPF_MAP_TYPE_HASH, "flows", sizeof(nk_flow4_key), sizeof(nk_flow), 16, nullptr)) {}
    void put(const Half& half) const { EXPECT_EQ(bpf_map_update_elem(map_.get(), &half.key, &half.value, BPF_ANY), 0); }
    [[nodiscard]] int fd() const { return map_.get(); }

private:
    UniqueFd map_;
};

class FlowTakeoverTest : public BpfTest {
protected:
    [[nodiscard]] std::uint64_t take(Kind kind = Kind::any_flows) {
        bpf_map_info info{};
        std::uint32_t size = sizeof(info);
        EXPECT_EQ(bpf_map_get_info_by_fd(former.fd(), &info, &size), 0);
        const auto no_room =
            datapath::take_over_flows(IpFamily::v4, {.map = former.fd(), .info = info, .kind = kind},
                                      {.map = node().flow_map(false), .insert_program = node().insert_flows_program()},
                                      std::chrono::nanoseconds(kCopiedAt));
        EXPECT_TRUE(no_room) << no_room.error().message();
        return no_room.value_or(0);
    }
    void have(const Half& half) {
        ASSERT_EQ(bpf_map_update_elem(node().flow_map(false), &half.key, &half.value, BPF_ANY), 0);
    }
    [[nodiscard]] std::optional<nk_flow> find(const Half& half) {
        nk_flow value{};
        return bpf_map_lookup_elem(node().flow_map(false), &half.key, &value) == 0 ? std::optional(value)
                                                                                   : std::nullopt;
    }
    [[nodiscard]] bool has(const Half& half) {
        const auto found = find(half);
        return found && found->endpoint_id == half.value.endpoint_id && found->last_seen_ns == half.value.last_seen_ns;
    }

    Table former;
};

TEST_F(FlowTakeoverTest, TakesWhatWasMadeOrTouchedSinceAndCountsIt) {
    former.put(forward(kWeb, 50000, kLater));
    former.put(reverse(kWeb, 50000, kLater));
    former.put(forward(kDb, 50001, kCopiedAt - 1));
    former.put(reverse(kDb, 50001, kCopiedAt - 1));
    EXPECT_EQ(take(), 0U);
    EXPECT_TRUE(has(forward(kWeb, 50000, kLater)));
    EXPECT_TRUE(has(reverse(kWeb, 50000, kLater)));
    EXPECT_FALSE(find(forward(kDb, 50001, kLater))) << "it has ended since";
    EXPECT_EQ(node().flow_counts(kWeb).flows4, 1U);
    EXPECT_EQ(node().flow_counts(kDb).flows4, 0U);
    former.put(forward(kWeb, 50000, kLater + 1));
    former.put(reverse(kWeb, 50000, kLater + 1));
    EXPECT_EQ(take(), 0U);
    EXPECT_TRUE(has(forward(kWeb, 50000, kLater + 1)));
    EXPECT_EQ(node().flow_counts(kWeb).flows4, 1U) << "it is the same flow";
}

// The first version had tables for those with a reply and for the others.
TEST_F(FlowTakeoverTest, WhatHadAReplyInTheFirstVersionHasOne) {
    former.put(forward(kWeb, 50000, kLater));
    former.put(reverse(kWeb, 50000, kLater));
    EXPECT_EQ(take(), 0U);
    EXPECT_EQ(find(reverse(kWeb, 50000, kLater))->flags, 0U);
    former.put(forward(kWeb, 50000, kLater + 1));
    former.put(reverse(kWeb, 50000, kLater + 1));
    EXPECT_EQ(take(Kind::flows_with_a_reply), 0U);
    EXPECT_EQ(find(reverse(kWeb, 50000, kLater))->flags, NK_FLOW_ANSWERED);
    former.put(reverse(kWeb, 50000, kLater + 2));
    EXPECT_EQ(take(), 0U);
    EXPECT_EQ(find(reverse(kWeb, 50000, kLater))->flags, NK_FLOW_ANSWERED) << "it was moved while we looked";
}

// Its connections that kept their port began with the half that leads back alone, which knew the uplink.
TEST_F(FlowTakeoverTest, WhatHadNoReplyInTheFirstVersionGetsItsHalfThatLeadsOut) {
    Half half = reverse(kWeb, 50000, kLater);
    half.value.flags = NK_FLOW_SYN;
    half.value.uplink_ifindex = 7;
    former.put(half);
    EXPECT_EQ(take(Kind::flows_without_a_reply), 0U);
    const auto made = find(forward(kWeb, 50000, kLater));
    ASSERT_TRUE(made);
    EXPECT_TRUE(has(forward(kWeb, 50000, kLater)));
    EXPECT_EQ(made->port, htons(50000));
    EXPECT_EQ(made->addr.word[0], kTranslated);
    EXPECT_EQ(made->ifindex, 7U);
    EXPECT_EQ(made->flags, NK_FLOW_SYN);
    EXPECT_EQ(find(half)->host_socket_stamp, 0U) << "it is another number now";
    EXPECT_EQ(node().flow_counts(kWeb).flows4, 1U);
    // Its reply came while we looked; what leads out was not touched since.
    half.value.last_seen_ns = kLater + 1;
    former.put(half);
    former.put(forward(kWeb, 50000, kLater));
    EXPECT_EQ(take(Kind::flows_with_a_reply), 0U);
    EXPECT_EQ(find(forward(kWeb, 50000, kLater))->flags & NK_FLOW_ANSWERED, NK_FLOW_ANSWERED);
}

// A former version's way in remembered what the way out is.
TEST_F(FlowTakeoverTest, WhatItRemembersOfTheWayIsAskedForAnew) {
    Half half = reverse(kWeb, 50000, kLater);
    half.value.stamp = 7;
    former.put(half);
    EXPECT_EQ(take(), 0U);
    EXPECT_EQ(find(half)->stamp, 0U);
}

// Its reverse half was evicted: nobody would get the answers.
TEST_F(FlowTakeoverTest, AHalfThatLeadsOutAloneIsLeft) {
    former.put(forward(kWeb, 50000, kLater));
    EXPECT_EQ(take(), 0U);
    EXPECT_FALSE(find(forward(kWeb, 50000, kLater)));
}

TEST_F(FlowTakeoverTest, WhatTheNewProgramsTouchedLaterStays) {
    former.put(reverse(kWeb, 50000, kLater));
    former.put(forward(kWeb, 50000, kLater));
    have(reverse(kWeb, 50000, kLater + 1));
    have(forward(kWeb, 50000, kLater + 1));
    EXPECT_EQ(take(), 0U);
    EXPECT_TRUE(has(forward(kWeb, 50000, kLater + 1)));
}

// Both began with one port towards the remote, each by tables that the other's program did not see.
TEST_F(FlowTakeoverTest, WhoHasThePortByTheNewTableKeepsItAndTheOtherFlowIsDroppedWhole) {
    former.put(forward(kDb, 50000, kLater));
    former.put(reverse(kDb, 50000, kLater));
    have(forward(kDb, 50000, kLater - 1));
    have(reverse(kWeb, 50000, kLater - 500));
    EXPECT_EQ(take(), 0U);
    EXPECT_TRUE(has(reverse(kWeb, 50000, kLater - 500)));
    EXPECT_FALSE(find(forward(kDb, 50000, kLater)));
}

class SmallTableTakeoverTest : public FlowTakeoverTest {
protected:
    SmallTableTakeoverTest() { options.flow_entries = 4; }
};

TEST_F(SmallTableTakeoverTest, WhatThereIsNoRoomForIsCounted) {
    for (std::uint16_t port = 50000; port < 50006; ++port) {
        former.put(reverse(kWeb, port, kLater));
    }
    EXPECT_EQ(take(), 2U);
    EXPECT_EQ(node().flow_counts(kWeb).flows4, 4U);
}

}  // namespace
}  // namespace netkitd::test
