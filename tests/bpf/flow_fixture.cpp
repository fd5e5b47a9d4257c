#include "bpf/flow_fixture.h"

#include <algorithm>

namespace netkitd::test {

// Of all files that have tests of it.
INSTANTIATE_TEST_SUITE_P(Family, BothFamiliesTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

void FlowTest::insert(Stage stage, const Flow& flow) {
    const auto inserted = node().insert(stage, flow);
    ASSERT_TRUE(inserted) << inserted.error().message();
}

void FlowTest::insert(Stage stage, nk_flow_direction direction, const Flow& flow) {
    const auto inserted = node().insert(stage, direction, flow);
    ASSERT_TRUE(inserted) << inserted.error().message();
}

void FlowTest::erase(nk_flow_direction direction, const Flow& flow) {
    const auto erased = node().erase(direction, flow);
    ASSERT_TRUE(erased) << erased.error().message();
}

void BothFamiliesTest::establish() {
    out(from_web(net));
    in(reply_to_web(net));
    ASSERT_EQ(established().size(), 2U);
}

void BothFamiliesTest::change_forward(const std::function<void(nk_flow&)>& change) {
    for (auto [key, value] : node().entries(Stage::established)) {
        if (key.direction == NK_FLOW_FORWARD) {
            change(value);
            ASSERT_TRUE(node().update(key, value));
        }
    }
}

bool BothFamiliesTest::goes_by_what_it_remembers(const Packet& packet) {
    change_forward([](nk_flow& flow) { std::ranges::copy(kWrongMac, flow.next_hop_mac); });
    const RunResult sent = out(packet);
    const Packet right = forwarded(Packet(packet).from(net.node, 50000));
    if (describe(sent.packet) == describe(Packet(right).eth(kWrongMac, kUplinkMac).bytes())) {
        return true;
    }
    EXPECT_TRUE(left_as(sent.packet, right));
    return false;
}

bool BothFamiliesTest::knows_the_way() {
    return goes_by_what_it_remembers(segment()) || goes_by_what_it_remembers(segment()) ||
           goes_by_what_it_remembers(segment());
}

Packet web_segment() {
    return Packet().ip("10.77.0.2", "198.51.100.1").tcp(50000, 443);
}

Packet reply_segment() {
    return Packet().eth(kUplinkMac, kRouterMac).ip("198.51.100.1", "203.0.113.2").tcp(443, 50000);
}

std::uint16_t source_port(const RunResult& result) {
    return static_cast<std::uint16_t>(result.packet.at(34) << 8 | result.packet.at(35));
}

}  // namespace netkitd::test
