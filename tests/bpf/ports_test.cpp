// Which ports may be ours: what the programs say (bpf/lib/nat/ports.h) is what the daemon says (netd/nat/ports.h).
#include "nat/ports.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include "bpf/bpf_test.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using nat::port_may_be_ours;

constexpr PortRange kDefaultPool;
constexpr PortRange kNoPool{.first = 0, .last = 0};
constexpr PortRange kReversedPool{.first = 60000, .last = 50000};

TEST(PortMayBeOurs, InsideThePoolAndAtItsBorders) {
    EXPECT_FALSE(port_may_be_ours(kDefaultPool, 49151));
    EXPECT_TRUE(port_may_be_ours(kDefaultPool, 49152));
    EXPECT_TRUE(port_may_be_ours(kDefaultPool, 65535));
    EXPECT_FALSE(port_may_be_ours(kNoPool, 0)) << "a pool that was never configured holds nothing";
    EXPECT_FALSE(port_may_be_ours(kReversedPool, 55000));
}

class PortsTest : public BpfTest, public ::testing::WithParamInterface<const Net*> {
protected:
    const Net& net = *GetParam();

    void have_flow(std::uint8_t protocol, std::uint16_t port) {
        const auto inserted = node().insert(Stage::established, Flow{.protocol = protocol,
                                                                     .source = net.web,
                                                                     .destination = net.remote,
                                                                     .translated = net.node,
                                                                     .translated_port = port});
        ASSERT_TRUE(inserted) << inserted.error().message();
    }
    void expect_same_answers(const PortRange& pool, std::uint16_t port) {
        SCOPED_TRACE(formatted("port {}, pool {} to {}", port, pool.first, pool.last));
        node().reset({.port_first = pool.first, .port_last = pool.last});
        have_flow(IPPROTO_TCP, port);
        have_flow(IPPROTO_UDP, port);
        have_flow(net.icmp, port);
        const Packet sent = Packet().ip(net.node, net.remote).udp(port, 443).payload("query");
        const Packet error = to_node(net).icmp(net.is_ipv6() ? 1 : 3, net.is_ipv6() ? 4 : 3).quoting(sent);
        const Verdict expected = port_may_be_ours(pool, port) ? Verdict::redirect : Verdict::pass;
        EXPECT_EQ(in(to_node(net).tcp(443, port).ack()).verdict, expected) << "fast path";
        EXPECT_EQ(in(to_node(net).udp(443, port).fragment(0, true)).verdict, expected) << "slow path";
        EXPECT_EQ(in(to_node(net).echo_reply(port)).verdict, expected) << "an echo id";
        EXPECT_EQ(in(error).verdict, expected) << "an ICMP error";
    }
};
INSTANTIATE_TEST_SUITE_P(Family, PortsTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(PortsTest, ProgramsAndDaemonAgree) {
    for (const PortRange pool : {kDefaultPool, kNoPool, kReversedPool, PortRange{.first = 1, .last = 1},
                                 PortRange{.first = 50000, .last = 50031}, PortRange{.first = 65535, .last = 65535}}) {
        for (const int border : {0, 1, 0x0100, int{pool.first}, int{pool.last}, 65535}) {
            for (const int port : {border - 1, border, border + 1}) {
                if (port >= 0 && port <= 65535) {
                    expect_same_answers(pool, static_cast<std::uint16_t>(port));
                }
            }
        }
    }
}

}  // namespace
}  // namespace netkitd::test
