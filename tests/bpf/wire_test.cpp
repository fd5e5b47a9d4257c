// Real packets through the attached programs, in veth mode: what PROG_RUN cannot show. Where a redirect ends, what the
// stack answers, and checksums that the sender left for the hardware to finish.
#include "bpf/wire.h"
#include "base/format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>

namespace netkitd::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;

INSTANTIATE_TEST_SUITE_P(Family, WireTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(WireTest, TcpToOutsideAndBack) {
    attach_containers();
    const Connection connection = connect_tcp(web, {net.web, 50000}, outside, {net.remote, 443});
    EXPECT_EQ(connection.seen, (Address{net.node, 50000}));
    EXPECT_EQ(transfer(connection.client.get(), connection.server.get()), "");
    EXPECT_EQ(transfer(connection.server.get(), connection.client.get()), "");
    EXPECT_EQ(node().flows(Stage::established).size(), 2U);
}

TEST_P(WireTest, TcpWithAChangedPort) {
    node().settings().port_first = node().settings().port_last = 61000;
    attach_containers();
    const Connection connection = connect_tcp(web, {net.web, 50000}, outside, {net.remote, 443});
    EXPECT_EQ(connection.seen, (Address{net.node, 61000}));
    EXPECT_EQ(transfer(connection.client.get(), connection.server.get()), "");
    EXPECT_EQ(transfer(connection.server.get(), connection.client.get()), "");
}

TEST_P(WireTest, TcpBetweenContainers) {
    attach_containers();
    const Connection connection = connect_tcp(web, {net.web, 50000}, db, {net.db, 443});
    EXPECT_EQ(connection.seen, (Address{net.web, 50000})) << "nothing is translated inside the node";
    EXPECT_EQ(transfer(connection.client.get(), connection.server.get()), "");
    EXPECT_EQ(transfer(connection.server.get(), connection.client.get()), "");
}

TEST_P(WireTest, PingToOutsideTheGatewayTheNodeAndAnotherContainer) {
    attach_containers();
    EXPECT_TRUE(web.reaches(net.remote));
    EXPECT_TRUE(web.reaches(net.gateway));
    EXPECT_TRUE(web.reaches(net.node));
    EXPECT_TRUE(web.reaches(net.db));
    EXPECT_TRUE(NetnsTest::node().reaches(net.web));
    EXPECT_TRUE(web.cannot_reach(net.nobody));
}

TEST_P(WireTest, TheProgramAnswersWhatTheContainerAsksItsLink) {
    attach_containers();
    ASSERT_TRUE(web.reaches(net.gateway));
    EXPECT_THAT(node().counted(), Contains(Key("neighbour-answered")));
    EXPECT_THAT(web.run("ip neigh show " + net.gateway), HasSubstr("lladdr 02:00:00:00:77:02"));
    // Whoever flushes it, and whatever a route says is on the link.
    web.run("ip neigh flush dev eth0; ip route add " + net.db + " dev eth0");
    EXPECT_TRUE(web.reaches(net.db));
    EXPECT_THAT(web.run("ip neigh show " + net.db), HasSubstr("lladdr 02:00:00:00:77:02"));
}

TEST_P(WireTest, ANeighbourThatIsNotKnownYetIsResolved) {
    attach_containers();
    NetnsTest::node().run("ip neigh del 203.0.113.1 dev eth0; ip neigh del 2001:db8:113::1 dev eth0");
    let_the_stack_answer();
    const std::string received = "nstat -asz IcmpInEchos Icmp6InEchos | awk '{n += $2} END {print n}'";
    const int before = std::stoi(outside.run(received));
    EXPECT_TRUE(web.reaches(net.remote));
    EXPECT_EQ(std::stoi(outside.run(received)), before + 1) << "what the stack had of it did not leave";
    EXPECT_THAT(node().counted(), AllOf(Contains(Key("neighbour-missing")), Contains(Key("copy-ended")),
                                        Not(Contains(Key("untranslated-source")))));
}

// The stack gives up after three seconds, and tells the container.
TEST_P(WireTest, ANextHopThatNeverAnswersIsReported) {
    attach_containers();
    let_the_stack_answer();
    EXPECT_THAT(web.run("ping -c 1 -W 8 " + net.silent_neighbour + " || true"),
                HasSubstr(net.name == "V4" ? "Destination Host Unreachable" : "Address unreachable"));
    EXPECT_THAT(web.run("bash -c ': > /dev/tcp/" + net.silent_neighbour + "/443' || true"),
                HasSubstr("No route to host"));
    EXPECT_THAT(node().counted(), Not(Contains(Key("untranslated-source"))));
}

// Behind the router is a link with a smaller MTU, and the host has learned of it from a connection of its own.
TEST_P(WireTest, AnMtuThatTheHostLearnedIsNotInTheWay) {
    attach_containers();
    let_the_stack_answer();
    const std::string beyond = net.name == "V4" ? "198.18.0.2" : "2001:db8:18::2";
    outside.run(
        "ip link add far mtu 1400 type veth peer name near; ip link set far up; ip link set near mtu 1400 up;"
        "ip addr add 198.18.0.1/24 dev near; ip addr add 2001:db8:18::1/64 dev near nodad;"
        "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding;"
        "ip link set wire0 up");
    const auto ping = [&](const NetworkNamespace& from) {
        return from.run("ping -M do -c 1 -W 2 -s 1432 " + beyond + " || true");
    };
    ping(NetnsTest::node());
    ASSERT_THAT(NetnsTest::node().run("ip route get " + beyond), HasSubstr("mtu 1400"));
    ping(web);
    EXPECT_THAT(node().counted(), AllOf(Contains(Key("flow-created")), Not(Contains(Key("untranslated-source"))),
                                        Not(Contains(Key("stack-too-big")))));
}

// The router's MAC changes without a word. A flow that knows the old one asks the kernel's neighbour once a second,
// which then finds out, as it would for the host's own packets.
TEST_P(WireTest, ANextHopThatGetsAnotherMacIsFollowed) {
    attach_containers();
    NetnsTest::node().run(
        "for family in ipv4 ipv6; do cd /proc/sys/net/$family/neigh/eth0;"
        "echo 500 >base_reachable_time_ms; echo 1 >delay_first_probe_time; echo 200 >retrans_time_ms; done;"
        "ip neigh replace 203.0.113.1 lladdr 02:00:00:00:00:01 dev eth0 nud reachable;"
        "ip neigh replace 2001:db8:113::1 lladdr 02:00:00:00:00:01 dev eth0 nud reachable");
    ASSERT_TRUE(web.reaches(net.remote));
    outside.run("ip link set wire0 address 02:00:00:00:00:99");
    bool reached = false;
    for (int seconds = 0; seconds < 20 && !reached; seconds += 2) {
        reached = web.succeeds("ping -c 4 -i 0.5 -W 1 " + net.remote);
    }
    EXPECT_TRUE(reached) << NetnsTest::node().run("ip -s neigh show dev eth0");
}

TEST_P(WireTest, TheStackAnswersWhatTheFastPathCannotDo) {
    attach_containers();
    let_the_stack_answer();
    const bool v4 = net.name == "V4";
    const auto ping = [&](const std::string& flags, const std::string& destination) {
        return web.run(formatted("ping -c 1 -W 2 {} {} || true", flags, destination));
    };
    EXPECT_THAT(ping("-t 1", net.remote), HasSubstr(v4 ? "Time to live exceeded" : "Time exceeded: Hop limit"));
    EXPECT_THAT(ping("", net.special_route(2)), HasSubstr(v4 ? "Destination Host Unreachable" : "No route"));
    EXPECT_THAT(ping("", net.special_route(3)), HasSubstr(v4 ? "Packet filtered" : "Administratively prohibited"));
    NetnsTest::node().run("ip link set eth0 mtu 1400");
    node().settings().route_generation++;  // the daemon would have noticed
    EXPECT_THAT(ping("-M do -s 1400", net.remote), HasSubstr(v4 ? "mtu = 1400" : "mtu=1400"));
}

TEST_P(WireTest, NobodyUnaskedGetsIn) {
    attach_containers();
    forward_everything();
    outside.run("ip route add 10.77.0.0/16 via 203.0.113.2; ip route add 2001:db8:77::/64 via 2001:db8:113::2");
    EXPECT_TRUE(outside.cannot_reach(net.web));
    EXPECT_TRUE(outside.cannot_reach(net.gateway));
    EXPECT_THAT(node().counted(), Contains(Key("unsolicited")));
    EXPECT_TRUE(outside.reaches(net.node)) << "the host itself is reached as ever";
}

// The stack would forward it: its length is 0, and it has a hop-by-hop header, as if it were a jumbogram.
TEST_P(WireTest, NobodyGetsInByAPacketThatSaysItIsEmpty) {
    if (!net.is_ipv6()) {
        GTEST_SKIP() << "IPv4 has no jumbograms";
    }
    attach_containers();
    forward_everything();
    const UniqueFd server = bound_socket(web, SOCK_DGRAM, {net.web, 80});
    send_frame(outside, "wire0",
               Packet()
                   .eth(kUplinkMac, kRouterMac)
                   .ip(net.remote, net.web)
                   .extension(IPPROTO_HOPOPTS, 8)
                   .udp(443, 80)
                   .payload("hello")
                   .ip_total_length(0));
    EXPECT_FALSE(readable(server.get()));
    EXPECT_THAT(node().counted(), Contains(Key("malformed")));
}

TEST_P(WireTest, ATagThatIsAboutPriorityOnlyIsNone) {
    attach_containers();
    const UniqueFd server = bound_socket(outside, SOCK_DGRAM, {net.remote, 443});
    const UniqueFd client = bound_socket(web, SOCK_DGRAM, {net.web, 50000});
    connect_to(client.get(), {net.remote, 443});
    ASSERT_EQ(::send(client.get(), "hello", 5, 0), 5);
    const Packet answer =
        Packet().eth(kUplinkMac, kRouterMac).vlan(0).ip(net.remote, net.node).udp(443, 50000).payload("answer");
    for (int i = 0; i < 2; ++i) {
        send_frame(outside, "wire0", answer);
        std::array<char, 16> received{};
        ASSERT_TRUE(readable(client.get())) << "by the long way, and by the short one";
        EXPECT_EQ(::recv(client.get(), received.data(), received.size(), 0), 6);
    }
}

// The container's program is missing, so the host's stack forwards its packets as they are.
TEST_P(WireTest, NothingUntranslatedLeaves) {
    forward_everything();
    outside.run("ip route add 10.77.0.0/16 via 203.0.113.2; ip route add 2001:db8:77::/64 via 2001:db8:113::2");
    // Nor does it answer what the container asks its link.
    web.run(formatted("ip neigh add {} lladdr 02:00:00:00:77:02 dev eth0", net.gateway));
    EXPECT_TRUE(web.cannot_reach(net.remote));
    EXPECT_THAT(node().counted(), Contains(Key("untranslated-source")));
    EXPECT_THAT(node().counted(), Not(Contains(Key("unsolicited")))) << "no answer came: nothing got out";
}

}  // namespace
}  // namespace netkitd::test
