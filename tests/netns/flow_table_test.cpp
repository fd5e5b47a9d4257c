// The flow table from the daemon's side, on the real maps: what is listed, what a sweep forgets and when, and what is
// flushed. The same for both families.
#include "nat/flows.h"

#include "nat/flow_sweeper.h"

#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <span>

#include "base/unique_fd.h"
#include "datapath/address.h"
#include "datapath/flow_capacity.h"
#include "datapath/flow_key.h"
#include "datapath/pinned_maps.h"
#include "harness/node_test.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using nat::FlowState;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

struct V4 {
    using Key = nk_flow4_key;
    static constexpr IpFamily kFamily = IpFamily::v4;
    static constexpr const char* kContainer = "10.77.0.2";
    static constexpr const char* kRemote = "198.51.100.2";
    static constexpr const char* kNode = "198.51.100.1";
};

struct V6 {
    using Key = nk_flow6_key;
    static constexpr IpFamily kFamily = IpFamily::v6;
    static constexpr const char* kContainer = "fd6e:6b64::2";
    static constexpr const char* kRemote = "2001:db8::2";
    static constexpr const char* kNode = "2001:db8::1";
};

// Whether a reply was seen.
enum class Stage { fresh, established };

template <typename Address>
Address wire(const char* text) {
    const nk_addr address = datapath::to_nk_addr(*IpAddr::parse(text));
    if constexpr (std::is_same_v<Address, nk_addr>) {
        return address;
    } else {
        return address.word[0];
    }
}

std::uint64_t seen(std::chrono::seconds ago) {
    return static_cast<std::uint64_t>((monotonic_now() - ago).count());
}

// The walks here are as if so much time had gone by since the flows were made.
constexpr auto kFirstWalk = 10s;

template <typename Family>
class FlowTableTest : public NodeTest {
protected:
    using Key = Family::Key;
    using Address = decltype(Key::saddr);

    [[nodiscard]] nat::FlowTable table() { return nat::FlowTable(datapath()); }
    [[nodiscard]] int map() { return datapath().flow_map(Family::kFamily).fd; }

    // From the container's port 50000 to the remote's `port`, as the node's 50001.
    static Key forward(std::uint16_t port) {
        Key key{};
        key.saddr = wire<Address>(Family::kContainer);
        key.daddr = wire<Address>(Family::kRemote);
        key.sport = htons(50000);
        key.dport = htons(port);
        key.proto = IPPROTO_UDP;
        return key;
    }
    static Key reverse(std::uint16_t port) {
        Key key{};
        key.saddr = wire<Address>(Family::kRemote);
        key.daddr = wire<Address>(Family::kNode);
        key.sport = htons(port);
        key.dport = htons(50001);
        key.proto = IPPROTO_UDP;
        key.direction = NK_FLOW_REVERSE;
        return key;
    }
    void put(Stage stage, const Key& key, std::chrono::seconds idle, std::uint32_t endpoint_id,
             std::uint32_t flags = 0) {
        const bool is_forward = key.direction == NK_FLOW_FORWARD;
        nk_flow value{};
        value.last_seen_ns = value.created_ns = seen(idle);
        value.addr = wire<nk_addr>(is_forward ? Family::kNode : Family::kContainer);
        value.port = htons(is_forward ? 50001 : 50000);
        value.endpoint_id = endpoint_id;
        value.flags = flags | (stage == Stage::established ? std::uint32_t{NK_FLOW_ANSWERED} : 0);
        ASSERT_EQ(bpf_map_update_elem(map(), &key, &value, BPF_ANY), 0);
    }
    // What the programs have counted of the endpoint's flows.
    void set_count(std::uint32_t endpoint_id, std::uint32_t flows) {
        const UniqueFd counts(bpf_obj_get((pins() / "maps/flow_counts-2").c_str()));
        const nk_flow_counts value{.flows4 = flows, .flows6 = flows};
        ASSERT_EQ(bpf_map_update_elem(counts.get(), &endpoint_id, &value, BPF_ANY), 0);
    }
    void put_flow(Stage stage, std::uint16_t port, std::chrono::seconds idle, std::uint32_t endpoint_id) {
        put(stage, forward(port), idle, endpoint_id);
        put(stage, reverse(port), idle, endpoint_id);
    }
    // As an endless loop of the daemon would, at its first walk; how many steps it took.
    int walk(nat::FlowSweeper& sweeper, const FlowLifetimes& lifetimes = {}) {
        const auto now = monotonic_now();
        int steps = 0;
        const std::uint64_t before = sweeper.walks();
        while (sweeper.walks() == before && steps < 1000) {
            ++steps;
            const auto done = sweeper.step(lifetimes, now + kFirstWalk);
            EXPECT_TRUE(done) << done.error().message();
        }
        return steps;
    }
    // 50,000 flows a second, of two entries, would take half of what one container still gets until then.
    [[nodiscard]] std::chrono::milliseconds until_half_is_taken(std::uint32_t entries) {
        const std::uint32_t capacity = 2 * datapath().flow_shares(Family::kFamily).most_of_one();
        return std::chrono::milliseconds(std::clamp((capacity - entries) / 200, 50U, 1000U));
    }
    // In the order of their destinations' ports.
    [[nodiscard]] std::vector<nat::Flow> flows() {
        auto flows = table().list(100)->flows;
        std::ranges::sort(flows, {}, &nat::Flow::destination_port);
        return flows;
    }
};

using Families = testing::Types<V4, V6>;
TYPED_TEST_SUITE(FlowTableTest, Families, );

TYPED_TEST(FlowTableTest, ListsAFlowOnceWithWhatTheOutsideSees) {
    this->put_flow(Stage::established, 1053, 5s, 7);
    this->put_flow(Stage::fresh, 1054, 0s, 7);
    const auto flows = this->flows();
    ASSERT_THAT(flows, SizeIs(2));
    EXPECT_EQ(flows[0].source.to_string(), TypeParam::kContainer);
    EXPECT_EQ(flows[0].source_port, 50000);
    EXPECT_EQ(flows[0].destination.to_string(), TypeParam::kRemote);
    EXPECT_EQ(flows[0].destination_port, 1053);
    EXPECT_EQ(flows[0].translated.to_string(), TypeParam::kNode);
    EXPECT_EQ(flows[0].translated_port, 50001);
    EXPECT_EQ(flows[0].state, FlowState::established);
    EXPECT_EQ(flows[0].endpoint_id, 7U);
    EXPECT_GE(flows[0].idle, 5s);
    EXPECT_EQ(flows[1].state, FlowState::fresh);
    EXPECT_TRUE(this->table().list(1)->truncated);
}

// As of a former version's.
TYPED_TEST(FlowTableTest, AFlowOfWhichOnlyTheReverseHalfIsThereIsListed) {
    this->put(Stage::fresh, this->reverse(1053), 1s, 7);
    const auto flows = this->flows();
    ASSERT_THAT(flows, SizeIs(1));
    EXPECT_EQ(flows[0].source.to_string(), TypeParam::kContainer);
    EXPECT_EQ(flows[0].translated_port, 50001);
    EXPECT_EQ(flows[0].state, FlowState::fresh);
}

TYPED_TEST(FlowTableTest, ASweepForgetsWhatIsOverAndHalvesThatAreLeftAlone) {
    this->put_flow(Stage::established, 1053, 10s, 7);
    this->put_flow(Stage::established, 1054, 300s - kFirstWalk, 7);
    this->put_flow(Stage::fresh, 1055, 10s, 7);
    this->put(Stage::fresh, this->reverse(1056), 60s - kFirstWalk, 7);
    nat::FlowSweeper sweeper(this->datapath());
    EXPECT_EQ(this->walk(sweeper), 1);
    EXPECT_EQ(sweeper.removed(), 2U);
    EXPECT_THAT(this->flows(), SizeIs(2));
    ASSERT_TRUE(sweeper.measure());
    for (const auto& map : sweeper.maps()) {
        EXPECT_EQ(map.fill.entries, map.family == TypeParam::kFamily ? 4U : 0U) << map.name;
    }
}

TYPED_TEST(FlowTableTest, LifetimesAreTheConfigurations) {
    this->put_flow(Stage::established, 1053, 20s, 7);
    this->put_flow(Stage::fresh, 1054, 20s, 7);
    FlowLifetimes lifetimes;
    lifetimes.udp = 40s;
    lifetimes.fresh = 30s;
    nat::FlowSweeper sweeper(this->datapath());
    this->walk(sweeper, lifetimes);
    const auto left = this->flows();
    ASSERT_THAT(left, SizeIs(1));
    EXPECT_EQ(left.front().state, FlowState::established);
}

// What comes from outside keeps none: anybody can send it.
TYPED_TEST(FlowTableTest, AFlowLivesByWhatItsContainerSends) {
    this->put(Stage::established, this->forward(1053), 1s, 7);
    this->put(Stage::established, this->reverse(1053), 400s, 7);
    this->put(Stage::established, this->forward(1054), 400s, 7);
    this->put(Stage::established, this->reverse(1054), 1s, 7);
    nat::FlowSweeper sweeper(this->datapath());
    this->walk(sweeper);
    EXPECT_EQ(sweeper.removed(), 1U);
    const auto flows = this->flows();
    ASSERT_THAT(flows, SizeIs(1));
    EXPECT_EQ(flows[0].destination_port, 1053);
    EXPECT_LT(flows[0].idle, 10s);
}

// Its port is for the next one then; where a socket waits for more, it is kept (owner_socket_test.cpp).
TYPED_TEST(FlowTableTest, ALookUpIsOverSoonAfterItsAnswer) {
    constexpr std::uint16_t kDomain = 53;
    const auto is_kept = [&](Stage stage, std::uint16_t port, std::chrono::seconds idle) {
        this->put_flow(stage, port, idle - kFirstWalk, 7);
        nat::FlowSweeper sweeper(this->datapath());
        this->walk(sweeper);
        return this->table().flush({}).value_or(0) == 1;
    };
    EXPECT_FALSE(is_kept(Stage::established, kDomain, 4s));
    EXPECT_TRUE(is_kept(Stage::established, kDomain, 2s));
    EXPECT_TRUE(is_kept(Stage::fresh, kDomain, 4s)) << "the answer may be slow";
    EXPECT_TRUE(is_kept(Stage::established, kDomain + 1, 4s));
}

// Which has a reverse half alone, lives by what the host sent, and is nobody's who could end.
TYPED_TEST(FlowTableTest, AFlowOfTheHostsIsListedAndSweptLikeOthers) {
    constexpr std::uint16_t kDomain = 53;
    const auto is_kept = [&](Stage stage, std::uint16_t port, std::chrono::seconds idle, std::uint8_t protocol,
                             std::uint32_t flags = 0) {
        auto key = this->reverse(port);
        key.proto = protocol;
        this->put(stage, key, idle - kFirstWalk, NK_HOST_ID, flags);
        const auto flows = this->flows();
        EXPECT_THAT(flows, SizeIs(1));
        EXPECT_EQ(flows.at(0).source.to_string(), TypeParam::kNode);
        EXPECT_EQ(flows.at(0).source_port, 50001);
        nat::FlowSweeper sweeper(this->datapath(), {.has = [](std::uint32_t) { return false; }});
        this->walk(sweeper);
        return this->table().flush({}).value_or(0) == 1;
    };
    EXPECT_TRUE(is_kept(Stage::established, 1053, 290s, IPPROTO_UDP));
    EXPECT_FALSE(is_kept(Stage::established, 1053, 301s, IPPROTO_UDP));
    EXPECT_TRUE(is_kept(Stage::fresh, 1053, 50s, IPPROTO_UDP));
    EXPECT_TRUE(is_kept(Stage::fresh, kDomain, 9s, IPPROTO_UDP)) << "the answer is not seen";
    EXPECT_FALSE(is_kept(Stage::fresh, kDomain, 11s, IPPROTO_UDP));
    EXPECT_TRUE(is_kept(Stage::established, 1053, 400'000s, IPPROTO_TCP)) << "as long as nftables remembers it";
    EXPECT_FALSE(is_kept(Stage::established, 1053, 432'001s, IPPROTO_TCP));
    EXPECT_TRUE(is_kept(Stage::fresh, 1053, 110s, IPPROTO_TCP));
    EXPECT_TRUE(is_kept(Stage::established, 1053, 239s, IPPROTO_TCP, NK_FLOW_FIN)) << "the other end may go on";
    EXPECT_FALSE(is_kept(Stage::established, 1053, 241s, IPPROTO_TCP, NK_FLOW_FIN));
}

// Not at once: their other ends may go on for a while, so that their ports are not for others yet.
TYPED_TEST(FlowTableTest, FlowsOfAnEndpointThatEndedAreOver) {
    this->put_flow(Stage::established, 1053, 1s, 7);
    this->put_flow(Stage::established, 1054, 1s, 8);
    this->put_flow(Stage::established, 1055, 61s, 8);
    this->put_flow(Stage::established, 53, 1s, 8);
    for (const auto& [port, idle] : {std::pair<std::uint16_t, std::chrono::seconds>(80, 1s), {81, 240s}}) {
        for (auto key : {this->forward(port), this->reverse(port)}) {
            key.proto = IPPROTO_TCP;
            this->put(Stage::established, key, idle, 8);
        }
    }
    std::uint64_t ended = 0;
    nat::FlowSweeper sweeper(this->datapath(), {.has = [&](std::uint32_t id) { return id == 7 || ended == 0; },
                                                .ended = [&] { return ended; }});
    ASSERT_TRUE(sweeper.step({}));
    ASSERT_TRUE(sweeper.step({}));
    EXPECT_EQ(sweeper.walks(), 1U) << "none but the first is due yet";
    ++ended;
    ASSERT_TRUE(sweeper.step({}));
    EXPECT_EQ(sweeper.walks(), 2U) << "nobody waits for the walk that is due";
    EXPECT_EQ(sweeper.removed(), 1U) << "the look-up";
    const auto left_in = [&](std::chrono::seconds time) {
        for (int step = 0; step < 10; ++step) {
            EXPECT_TRUE(sweeper.step({}, monotonic_now() + time));
        }
        std::vector<std::uint16_t> left;
        std::ranges::transform(this->flows(), std::back_inserter(left), &nat::Flow::destination_port);
        return left;
    };
    EXPECT_THAT(left_in(50s), testing::UnorderedElementsAre(1053, 1054, 1055, 80, 81)) << "idle for long or not";
    this->put(Stage::established, this->reverse(1054), -60s, 8);  // whoever goes on sending from outside
    EXPECT_THAT(left_in(70s), testing::UnorderedElementsAre(1053, 80, 81));
    EXPECT_THAT(left_in(250s), testing::UnorderedElementsAre(1053));
}

TYPED_TEST(FlowTableTest, AWalkIsDoneInSlices) {
    constexpr std::uint16_t kFlows = 10000;
    for (std::uint16_t port = 1; port <= kFlows; ++port) {
        this->put_flow(Stage::established, port, 400s, 7);
    }
    nat::FlowSweeper sweeper(this->datapath());
    std::uint64_t before = 0;
    int steps = 0;
    do {
        ASSERT_TRUE(sweeper.step({}, monotonic_now() + kFirstWalk));
        EXPECT_LE(sweeper.removed() - before, 5000U) << "a slice is some thousand entries";
        before = sweeper.removed();
        ++steps;
    } while (sweeper.is_walking() && steps < 100);
    EXPECT_GE(steps, 3);
    EXPECT_EQ(sweeper.removed(), kFlows);
    EXPECT_THAT(this->flows(), IsEmpty());
}

TYPED_TEST(FlowTableTest, AnEmptyTableIsNotWalked) {
    nat::FlowSweeper sweeper(this->datapath());
    for (auto now = monotonic_now(); now < monotonic_now() + 1h; now += 1min) {
        EXPECT_EQ(sweeper.step({}, now), this->until_half_is_taken(0));
    }
    EXPECT_EQ(sweeper.walks(), 0U);
}

// What has ended makes room before its time, as far as it is needed; what lives does not.
TYPED_TEST(FlowTableTest, UnderPressureEndedConnectionsGoEarly) {
    nat::FlowSweeper waiting(this->datapath());
    this->put_flow(Stage::fresh, 1053, 0s, 7);
    this->walk(waiting);
    ASSERT_EQ(this->table().flush({}), 1U);
    // Of what one container gets.
    const std::uint32_t capacity = 2 * this->datapath().flow_shares(TypeParam::kFamily).most_of_one();
    const std::uint32_t count = capacity / 2 * 95 / 100;
    // More than one port of the container's can have: `block` has ports of its own on this side.
    const auto put_tcp = [&](typename TestFixture::Key key, std::uint32_t flags, std::uint32_t block) {
        const bool forward = key.direction == NK_FLOW_FORWARD;
        const __be16 own_port = htons(static_cast<std::uint16_t>(50000 + 2 * block));
        const __be16 translated_port = htons(static_cast<std::uint16_t>(50001 + 2 * block));
        key.proto = IPPROTO_TCP;
        (forward ? key.sport : key.dport) = forward ? own_port : translated_port;
        nk_flow value{};
        // Half of the lifetime is over when the walk comes by.
        value.last_seen_ns = value.created_ns = seen(-kFirstWalk / 2);
        value.addr = wire<nk_addr>(forward ? TypeParam::kNode : TypeParam::kContainer);
        value.port = forward ? translated_port : own_port;
        value.flags = flags | NK_FLOW_ANSWERED;
        value.endpoint_id = 7;
        ASSERT_EQ(bpf_map_update_elem(this->map(), &key, &value, BPF_ANY), 0);
    };
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint32_t flags = i % 2 == 0 ? static_cast<std::uint32_t>(NK_FLOW_FIN) : 0;
        put_tcp(this->forward(static_cast<std::uint16_t>(i)), flags, i >> 16);
        put_tcp(this->reverse(static_cast<std::uint16_t>(i)), flags, i >> 16);
    }
    nat::FlowSweeper sweeper(this->datapath());
    ASSERT_TRUE(sweeper.measure());
    EXPECT_TRUE(std::ranges::any_of(sweeper.maps(), [](const auto& map) { return map.high_since.has_value(); }));
    EXPECT_EQ(waiting.step({}), this->until_half_is_taken(2 * count)) << "it has just walked";
    this->walk(sweeper);
    EXPECT_GT(sweeper.removed(), count / 10);
    const auto left = this->table().list(count)->flows;
    EXPECT_EQ(left.size(), count - sweeper.removed());
    EXPECT_EQ(std::ranges::count(left, FlowState::established, &nat::Flow::state), count / 2);
    EXPECT_TRUE(std::ranges::none_of(sweeper.maps(), [](const auto& map) { return map.high_since.has_value(); }));
}

TYPED_TEST(FlowTableTest, AFilterChoosesWhatIsListedBeforeTheLimitCuts) {
    this->put_flow(Stage::established, 1053, 0s, 7);
    this->put_flow(Stage::established, 1054, 0s, 8);
    this->put_flow(Stage::fresh, 1055, 0s, 8);
    const auto listed = [&](const nat::FlowFilter& filter, std::size_t limit = 100) {
        std::vector<std::uint16_t> ports;
        const auto listing = this->table().list(limit, filter);
        EXPECT_FALSE(listing->truncated);
        for (const nat::Flow& flow : listing->flows) {
            ports.push_back(flow.destination_port);
        }
        std::ranges::sort(ports);
        return ports;
    };
    using Ports = std::vector<std::uint16_t>;
    const IpAddr remote = *IpAddr::parse(TypeParam::kRemote);
    const auto length = static_cast<std::uint8_t>(remote.size() * 8);
    EXPECT_EQ(listed({}), (Ports{1053, 1054, 1055}));
    EXPECT_EQ(listed({.endpoint_id = 8}), (Ports{1054, 1055}));
    EXPECT_EQ(listed({.destination_port = 1055}, 1), Ports{1055}) << "the others don't count";
    EXPECT_EQ(listed({.endpoint_id = 7, .destination_port = 1055}), Ports());
    EXPECT_EQ(listed({.protocol = IPPROTO_UDP}), (Ports{1053, 1054, 1055}));
    EXPECT_EQ(listed({.protocol = IPPROTO_TCP}), Ports());
    EXPECT_EQ(listed({.destination = IpPrefix(remote, length)}), (Ports{1053, 1054, 1055}));
    EXPECT_EQ(listed({.destination = IpPrefix(remote.next(), length)}), Ports());
    EXPECT_EQ(listed({.destination = IpPrefix(remote, 8)}), (Ports{1053, 1054, 1055}));
}

TYPED_TEST(FlowTableTest, AFlushForgetsWhatTheFilterIsAboutAndCountsFlows) {
    this->put_flow(Stage::established, 1053, 0s, 7);
    this->put_flow(Stage::fresh, 1054, 0s, 7);
    this->put(Stage::fresh, this->reverse(1056), 0s, 7);
    this->put_flow(Stage::established, 1055, 0s, 8);
    EXPECT_EQ(this->table().flush({.endpoint_id = 7, .destination_port = 1054}), 1U);
    EXPECT_EQ(this->table().flush({.endpoint_id = 7}), 2U) << "also one that has a half only";
    const auto flows = this->flows();
    ASSERT_THAT(flows, SizeIs(1));
    EXPECT_EQ(flows[0].endpoint_id, 8U);
    EXPECT_EQ(this->table().flush({}), 1U);
    EXPECT_THAT(this->flows(), IsEmpty());
    ASSERT_TRUE(this->datapath().map_counts());
    EXPECT_EQ(this->datapath().map_counts()->flows4 + this->datapath().map_counts()->flows6, 0U);
}

// The reverse half of endpoint 7's flow is gone, and endpoint 8 got that port towards the same remote.
TYPED_TEST(FlowTableTest, AnOrphanLeavesAnothersHalfAlone) {
    auto others = this->forward(1053);
    others.sport = htons(50002);
    const auto put_orphan = [&] { this->put(Stage::fresh, this->forward(1053), 400s, 7); };
    const auto put_reverse_of_other = [&] {
        nk_flow value{};
        value.last_seen_ns = value.created_ns = seen(0s);
        value.addr = wire<nk_addr>(TypeParam::kContainer);
        value.port = others.sport;
        value.endpoint_id = 8;
        const auto key = this->reverse(1053);
        ASSERT_EQ(bpf_map_update_elem(this->map(), &key, &value, BPF_ANY), 0);
    };
    put_orphan();
    this->put(Stage::fresh, others, 0s, 8);
    put_reverse_of_other();
    EXPECT_EQ(this->table().flush({.endpoint_id = 7}), 1U);
    EXPECT_THAT(this->flows(), SizeIs(1));
    put_orphan();
    nat::FlowSweeper sweeper(this->datapath());
    this->walk(sweeper);
    EXPECT_EQ(sweeper.removed(), 1U) << "the other's half is in use, and keeps no orphan";
    const auto flows = this->flows();
    ASSERT_THAT(flows, SizeIs(1));
    EXPECT_EQ(flows[0].endpoint_id, 8U);
    EXPECT_EQ(this->table().flush({}), 1U);
}

// What the sweep has read may be used again before it gets to remove it.
TYPED_TEST(FlowTableTest, WhatWasUsedSinceItWasJudgedStays) {
    nk_flow_removal removal{};
    removal.key = datapath::widen(this->reverse(1053));
    removal.family = TypeParam::kFamily == IpFamily::v4 ? AF_INET : AF_INET6;
    removal.flags = removal.other_flags = NK_FLOW_ANSWERED;
    removal.has_other = 1;
    const auto remove = [&](auto change) {
        this->put_flow(Stage::established, 1053, 400s, 7);
        nk_flow forward{};
        const auto key = this->forward(1053);
        EXPECT_EQ(bpf_map_lookup_elem(this->map(), &key, &forward), 0);
        removal.forward_seen_ns = forward.last_seen_ns;
        change();
        EXPECT_TRUE(this->datapath().remove_flows(std::span(&removal, 1)));
        return removal.answer == 1;
    };
    EXPECT_FALSE(remove([&] { this->put(Stage::established, this->forward(1053), 0s, 7); })) << "its container sent";
    EXPECT_FALSE(remove([&] { this->put(Stage::fresh, this->reverse(1053), 400s, 7); })) << "other flags";
    EXPECT_FALSE(remove([&] {
        const auto key = this->forward(1053);
        EXPECT_EQ(bpf_map_delete_elem(this->map(), &key), 0);
    })) << "another flow";
    EXPECT_TRUE(remove([&] { this->put(Stage::established, this->reverse(1053), 0s, 7); })) << "anybody can answer";
    EXPECT_THAT(this->flows(), IsEmpty());
}

TYPED_TEST(FlowTableTest, CountsOfEndpointsThatEndedGoWithTheirLastFlow) {
    const auto counted = [&] {
        std::vector<std::uint32_t> endpoints;
        std::ranges::transform(*this->datapath().flow_counts(), std::back_inserter(endpoints),
                               &datapath::Datapath::FlowCount::endpoint_id);
        return endpoints;
    };
    this->put_flow(Stage::established, 1053, 1s, 7);
    for (auto key : {this->forward(80), this->reverse(80)}) {
        key.proto = IPPROTO_TCP;
        this->put(Stage::established, key, 1s, 8);
    }
    for (const std::uint32_t endpoint_id : {7U, 8U, 9U}) {
        this->set_count(endpoint_id, 1);
    }
    nat::FlowSweeper sweeper(this->datapath(), {.has = [](std::uint32_t id) { return id == 7; }});
    this->walk(sweeper);
    EXPECT_THAT(counted(), testing::UnorderedElementsAre(7U, 8U)) << "TCP flows of one that ended stay for a while";
}

// Or one that starts again and again would fill the table.
TYPED_TEST(FlowTableTest, WhatEndedEndpointsHaveLeftGoesAtOnceIfItIsTooMuch) {
    for (const auto& [port, owner] : {std::pair<std::uint16_t, std::uint32_t>(80, 8), {81, 9}}) {
        for (auto key : {this->forward(port), this->reverse(port)}) {
            key.proto = IPPROTO_TCP;
            this->put(Stage::established, key, 1s, owner);
        }
    }
    this->set_count(9, 1);
    nat::FlowSweeper sweeper(this->datapath(), {.has = [](std::uint32_t id) { return id == 7; }});
    this->set_count(7, 1U << 20U);
    this->set_count(8, 1);
    this->walk(sweeper);
    EXPECT_THAT(this->flows(), SizeIs(2));
    this->set_count(8, 1U << 20U);
    nat::FlowSweeper next(this->datapath(), {.has = [](std::uint32_t id) { return id == 7; }});
    this->walk(next);
    ASSERT_THAT(this->flows(), SizeIs(1));
    EXPECT_EQ(this->flows().front().endpoint_id, 9U) << "who left little keeps it";
}

// Only the half of what comes from outside knows that it is reset, and that is seen whenever anybody sends something.
TYPED_TEST(FlowTableTest, WhatIsSentFromOutsideKeepsNoFlowThatIsClosed) {
    for (auto key : {this->forward(80), this->reverse(80)}) {
        key.proto = IPPROTO_TCP;
        const bool is_forward = key.direction == NK_FLOW_FORWARD;
        this->put(Stage::established, key, is_forward ? 241s : 0s, 7, is_forward ? 0 : std::uint32_t{NK_FLOW_RST});
    }
    nat::FlowSweeper sweeper(this->datapath());
    this->walk(sweeper);
    EXPECT_THAT(this->flows(), IsEmpty());
}

// What a machine with less memory, or another version, made: it is in use, and stays.
TYPED_TEST(FlowTableTest, ATableThatIsThereKeepsItsSize) {
    constexpr std::uint32_t kOther = 1234;
    const bool v4 = TypeParam::kFamily == IpFamily::v4;
    const char* const name = v4 ? "flows4" : "flows6";
    const std::string pin = this->pins() / "maps" / datapath::pin_name(name, *datapath::layout_version(name));
    EXPECT_EQ(this->datapath().flow_map(TypeParam::kFamily).capacity,
              datapath::flow_capacity(datapath::total_memory_bytes()));
    this->stop();
    ASSERT_EQ(::unlink(pin.c_str()), 0);
    const UniqueFd map(
        bpf_map_create(BPF_MAP_TYPE_HASH, name, sizeof(typename TypeParam::Key), sizeof(nk_flow), kOther, nullptr));
    ASSERT_EQ(bpf_obj_pin(map.get(), pin.c_str()), 0) << std::strerror(errno);
    this->start();
    EXPECT_EQ(this->datapath().flow_map(TypeParam::kFamily).capacity, kOther);
}

}  // namespace
}  // namespace netkitd::test
