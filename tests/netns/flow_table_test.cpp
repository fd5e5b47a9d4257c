// The flow table from the daemon's side, on the real maps: what is listed, what a sweep forgets, and what goes with an
// endpoint. The same for both families.
#include "datapath/flows.h"

#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <ctime>

#include "harness/node_test.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using datapath::FlowState;
using testing::IsEmpty;
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

template <typename Address>
Address wire(const char* text) {
    Address address{};
    const IpAddr parsed = *IpAddr::parse(text);
    std::memcpy(&address, parsed.bytes().data(), parsed.size());
    return address;
}

std::uint64_t seen(std::chrono::seconds ago) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>((std::chrono::seconds(now.tv_sec) - ago) / 1ns);
}

template <typename Family>
class FlowTableTest : public NodeTest {
protected:
    using Key = Family::Key;
    using Address = decltype(Key::saddr);

    [[nodiscard]] datapath::FlowTable table() { return datapath::FlowTable(datapath()); }
    [[nodiscard]] int established() { return datapath().flow_maps(Family::kFamily).established; }
    [[nodiscard]] int fresh() { return datapath().flow_maps(Family::kFamily).fresh; }

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
    static void put(int map, const Key& key, std::chrono::seconds idle, std::uint32_t endpoint_id) {
        const bool is_forward = key.direction == NK_FLOW_FORWARD;
        nk_flow value{};
        value.last_seen_ns = value.created_ns = seen(idle);
        value.addr = wire<nk_addr>(is_forward ? Family::kNode : Family::kContainer);
        value.port = htons(is_forward ? 50001 : 50000);
        value.endpoint_id = endpoint_id;
        ASSERT_EQ(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0);
    }
    static void put_flow(int map, std::uint16_t port, std::chrono::seconds idle, std::uint32_t endpoint_id) {
        put(map, forward(port), idle, endpoint_id);
        put(map, reverse(port), idle, endpoint_id);
    }
    [[nodiscard]] std::vector<datapath::Flow> flows() { return table().list(100)->flows; }
};

using Families = testing::Types<V4, V6>;
TYPED_TEST_SUITE(FlowTableTest, Families, );

TYPED_TEST(FlowTableTest, ListsAFlowOnceWithWhatTheOutsideSees) {
    this->put_flow(this->established(), 53, 5s, 7);
    this->put_flow(this->fresh(), 54, 0s, 7);
    const auto flows = this->flows();
    ASSERT_THAT(flows, SizeIs(2));
    EXPECT_EQ(flows[0].source.to_string(), TypeParam::kContainer);
    EXPECT_EQ(flows[0].source_port, 50000);
    EXPECT_EQ(flows[0].destination.to_string(), TypeParam::kRemote);
    EXPECT_EQ(flows[0].destination_port, 53);
    EXPECT_EQ(flows[0].translated.to_string(), TypeParam::kNode);
    EXPECT_EQ(flows[0].translated_port, 50001);
    EXPECT_EQ(flows[0].state, FlowState::established);
    EXPECT_EQ(flows[0].endpoint_id, 7U);
    EXPECT_GE(flows[0].idle, 5s);
    EXPECT_EQ(flows[1].state, FlowState::fresh);
    EXPECT_TRUE(this->table().list(1)->truncated);
}

// As a TCP connection begins (bpf/lib/flow.h).
TYPED_TEST(FlowTableTest, AFlowOfWhichOnlyTheReverseHalfIsThereIsListed) {
    this->put(this->fresh(), this->reverse(53), 1s, 7);
    const auto flows = this->flows();
    ASSERT_THAT(flows, SizeIs(1));
    EXPECT_EQ(flows[0].source.to_string(), TypeParam::kContainer);
    EXPECT_EQ(flows[0].translated_port, 50001);
    EXPECT_EQ(flows[0].state, FlowState::fresh);
}

TYPED_TEST(FlowTableTest, ASweepForgetsWhatIsOverAndHalvesThatAreLeftAlone) {
    this->put_flow(this->established(), 53, 10s, 7);
    this->put_flow(this->established(), 54, 301s, 7);
    this->put_flow(this->fresh(), 55, 10s, 7);
    this->put(this->fresh(), this->reverse(56), 61s, 7);
    const auto swept = this->table().sweep({});
    ASSERT_TRUE(swept) << swept.error().message();
    const auto& own = TypeParam::kFamily == IpFamily::v4 ? swept->v4 : swept->v6;
    const auto& other = TypeParam::kFamily == IpFamily::v4 ? swept->v6 : swept->v4;
    EXPECT_EQ(own.established_entries, 2U);
    EXPECT_EQ(own.fresh_entries, 2U);
    EXPECT_GE(own.removed, 2U);
    EXPECT_EQ(other.established_entries + other.fresh_entries, 0U);
    EXPECT_THAT(this->flows(), SizeIs(2));
}

// A flow is over when both directions are idle: a reply that still comes keeps it.
TYPED_TEST(FlowTableTest, AHalfThatIsInUseKeepsTheOther) {
    this->put(this->established(), this->forward(53), 400s, 7);
    this->put(this->established(), this->reverse(53), 1s, 7);
    ASSERT_TRUE(this->table().sweep({}));
    const auto flows = this->flows();
    ASSERT_THAT(flows, SizeIs(1));
    EXPECT_LT(flows[0].idle, 10s);
}

TYPED_TEST(FlowTableTest, AnEndpointTakesItsFlowsAndNoOthersWithIt) {
    this->put_flow(this->established(), 53, 0s, 7);
    this->put_flow(this->fresh(), 54, 0s, 7);
    this->put_flow(this->established(), 55, 0s, 8);
    ASSERT_TRUE(this->table().remove_endpoint(7));
    const auto flows = this->flows();
    ASSERT_THAT(flows, SizeIs(1));
    EXPECT_EQ(flows[0].endpoint_id, 8U);
    ASSERT_TRUE(this->table().remove_endpoint(8));
    EXPECT_THAT(this->flows(), IsEmpty());
}

}  // namespace
}  // namespace netkitd::test
