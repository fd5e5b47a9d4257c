// What the tests of masqueraded flows share: they send several packets and look at what is in the maps after each, both
// halves, with a reply or without one.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bpf/bpf_test.h"
#include "bpf/packets.h"

namespace netkitd::test {

class FlowTest : public BpfTest {
protected:
    void insert(Stage stage, const Flow& flow);
    void insert(Stage stage, nk_flow_direction direction, const Flow& flow);
    void erase(nk_flow_direction direction, const Flow& flow);
    std::vector<std::string> fresh() { return node().flows(Stage::fresh); }
    std::vector<std::string> established() { return node().flows(Stage::established); }
};

// What differs between IPv4 and IPv6 is how addresses are read, written and looked up; once through all of it, for
// each.
class BothFamiliesTest : public FlowTest, public ::testing::WithParamInterface<const Net*> {
protected:
    const Net& net = *GetParam();

    [[nodiscard]] Packet segment() const { return Packet().ip(net.web, net.remote).tcp(50000, 443).ack(); }
    [[nodiscard]] Packet reply() const { return to_node(net).tcp(443, 50000).ack(); }
    void establish();
    // Changes what the established forward half remembers.
    void change_forward(const std::function<void(nk_flow&)>& change);
    // Whether the flow believes what it remembers: it is made to remember a wrong MAC.
    [[nodiscard]] bool goes_by_what_it_remembers(const Packet& packet);
    // The clock may tick just before a packet, which then asks anew.
    [[nodiscard]] bool knows_the_way();
};

[[nodiscard]] Packet web_segment();
[[nodiscard]] Packet reply_segment();
// Of a TCP or UDP packet without IP options.
[[nodiscard]] std::uint16_t source_port(const RunResult& result);

}  // namespace netkitd::test
