// What lies between a container and a host far outside: a router, and behind it a link with a smaller MTU. In veth
// mode, with the kernel's own stack in every part.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/format.h"
#include "bpf/wire.h"

namespace netkitd::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;

constexpr int kPathMtu = 1300;

// `outside` routes to `far`, which has the remote's address.
class PathTest : public WireTest {
protected:
    void SetUp() override {
        WireTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) {
            return;
        }
        outside.run(formatted("ip addr del {} dev lo", net.remote));
        for (const NetworkNamespace* netns : {&outside, &far}) {
            netns->run("cd /proc/sys/net/ipv6/conf; echo 0 >all/accept_dad; echo 0 >default/accept_dad");
        }
        connect(outside, "far0", far, "eth0");
        outside.run(formatted(
            "ip link set far0 mtu {0}; ip addr add 198.51.100.254/24 dev far0; ip addr add 2001:db8:51::fe/64 dev far0 "
            "nodad; echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
            kPathMtu));
        far.run(
            formatted("ip link set lo up; ip link set eth0 mtu {0}; ip addr add 198.51.100.1/24 dev eth0;"
                      "ip addr add 2001:db8:51::1/64 dev eth0 nodad; ip route add default via 198.51.100.254;"
                      "ip route add default via 2001:db8:51::fe",
                      kPathMtu));
        attach_containers();
        let_the_stack_answer();
    }

    [[nodiscard]] bool v4() const { return net.name == "V4"; }
    [[nodiscard]] std::string router() const { return v4() ? "203.0.113.1" : "2001:db8:113::1"; }

    NetworkNamespace far;
};
INSTANTIATE_TEST_SUITE_P(Family, PathTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(PathTest, TracerouteShowsTheRouterAndTheHostBehindIt) {
    for (const char* method : {"-U", "-I", "-T", ""}) {
        const std::string hops = web.run(formatted("traceroute -n -q 1 -w 2 -m 4 {} {}", method, net.remote));
        EXPECT_THAT(hops,
                    AllOf(HasSubstr(formatted(" 2  {}  ", router())), HasSubstr(formatted(" 3  {}  ", net.remote))))
            << method;
    }
    EXPECT_THAT(node().counted(), Contains(Key("icmp-error")));
}

TEST_P(PathTest, TracepathFindsTheMtuBehindTheRouter) {
    const std::string hops = web.run("tracepath -n " + net.remote);
    EXPECT_THAT(hops, AllOf(HasSubstr(formatted("pmtu {}", kPathMtu)), ContainsRegex("[ ]" + router() + "[ ]"),
                            HasSubstr("reached")));
}

TEST_P(PathTest, PingWithDfIsToldTheMtu) {
    const std::string answer = web.run(formatted("ping -c 1 -W 2 -M do -s 1350 {} || true", net.remote));
    EXPECT_THAT(answer, HasSubstr(formatted("mtu{}{}", v4() ? " = " : "=", kPathMtu)));
}

TEST_P(PathTest, TcpFindsItsWayThroughASmallerMtu) {
    // The far end would offer a segment size that fits: it is made to believe that its link is like the others.
    far.run("ip link set eth0 mtu 1500");
    const Connection connection = connect_tcp(web, {net.web, 50000}, far, {net.remote, 443});
    EXPECT_EQ(connection.seen, (Address{net.node, 50000}));
    EXPECT_EQ(transfer(connection.client.get(), connection.server.get()), "");
    EXPECT_THAT(node().counted(), Contains(Key("icmp-error")));
}

// Sends this much in one datagram, and gets it back.
std::string echo_udp(int client, int server, std::size_t size) {
    const std::string sent(size, 'x');
    std::string received(size + 1, '\0');
    for (const auto& [from, to] : {std::pair(client, server), {server, client}}) {
        if (::send(from, sent.data(), sent.size(), 0) != static_cast<ssize_t>(size)) {
            return formatted("send: {}", std::strerror(errno));
        }
        if (!readable(to)) {
            return from == client ? "nothing arrived" : "nothing came back";
        }
        const ssize_t count = ::recv(to, received.data(), received.size(), 0);
        if (count < 0 || std::string_view(received).substr(0, static_cast<std::size_t>(count)) != sent) {
            return formatted("{} of {} bytes arrived right", count, size);
        }
    }
    return "";
}

TEST_P(PathTest, LargeDatagramsGoInFragmentsThereAndBack) {
    // The first datagram that is too big for the path tells the container so.
    EXPECT_FALSE(web.succeeds("ping -c 1 -W 1 -M do -s 1350 " + net.remote));
    node().settings().port_first = node().settings().port_last = 61000;
    const UniqueFd client = bound_socket(web, SOCK_DGRAM, {net.web, 50000});
    const UniqueFd server = bound_socket(far, SOCK_DGRAM, {net.remote, 443});
    connect_to(client.get(), {net.remote, 443});
    connect_to(server.get(), {net.node, 61000});
    for (const std::size_t size : {1000U, 1400U, 4000U, 60000U}) {
        EXPECT_EQ(echo_udp(client.get(), server.get(), size), "") << size;
    }
    EXPECT_TRUE(web.succeeds("ping -c 1 -W 2 -s 4000 " + net.remote));
}

// The first hop's MTU, not known to the container, and no DF: the node's stack fragments.
TEST_P(PathTest, WithoutDfWhatIsTooBigForTheFirstHopIsFragmented) {
    if (!v4()) {
        GTEST_SKIP() << "only IPv4 is fragmented on its way";
    }
    NetnsTest::node().run("ip route replace default via 203.0.113.1 mtu lock 1200");
    node().settings().mtus[node().settings().mtu_count++] = 1200;  // the daemon would know it
    node().settings().route_generation++;
    node().settings().port_first = node().settings().port_last = 61000;
    const UniqueFd client = bound_socket(web, SOCK_DGRAM, {net.web, 50000});
    const UniqueFd server = bound_socket(far, SOCK_DGRAM, {net.remote, 443});
    const int dont = IP_PMTUDISC_DONT;
    ASSERT_EQ(::setsockopt(client.get(), IPPROTO_IP, IP_MTU_DISCOVER, &dont, sizeof(dont)), 0);
    connect_to(client.get(), {net.remote, 443});
    connect_to(server.get(), {net.node, 61000});
    for (const std::size_t size : {1000U, 1300U, 4000U, 60000U}) {
        EXPECT_EQ(echo_udp(client.get(), server.get(), size), "") << size;
    }
    EXPECT_TRUE(web.succeeds("ping -c 1 -W 2 -M dont -s 1300 " + net.remote));
    EXPECT_THAT(node().counted(), AllOf(Contains(Key("stack-fragments")), Not(Contains(Key("untranslated-source")))));
}

TEST_P(PathTest, AClosedPortOfTheRemoteIsToldToTheContainer) {
    const UniqueFd client = bound_socket(web, SOCK_DGRAM, {net.web, 50000});
    connect_to(client.get(), {net.remote, 443});
    EXPECT_EQ(::send(client.get(), "hello", 5, 0), 5);
    ASSERT_TRUE(readable(client.get()));
    std::array<char, 8> buffer{};
    EXPECT_EQ(::recv(client.get(), buffer.data(), buffer.size(), 0), -1);
    EXPECT_EQ(errno, ECONNREFUSED);
}

TEST_P(PathTest, AClosedPortOfTheContainerIsToldToTheRemote) {
    const UniqueFd server = bound_socket(far, SOCK_DGRAM, {net.remote, 443});
    connect_to(server.get(), {net.node, 50000});
    std::array<char, 8> buffer{};
    {
        const UniqueFd client = bound_socket(web, SOCK_DGRAM, {net.web, 50000});
        connect_to(client.get(), {net.remote, 443});
        EXPECT_EQ(::send(client.get(), "hello", 5, 0), 5);
        ASSERT_TRUE(readable(server.get()));
        EXPECT_EQ(::recv(server.get(), buffer.data(), buffer.size(), 0), 5);
    }
    EXPECT_EQ(::send(server.get(), "late", 4, 0), 4);
    ASSERT_TRUE(readable(server.get()));
    EXPECT_EQ(::recv(server.get(), buffer.data(), buffer.size(), 0), -1);
    EXPECT_EQ(errno, ECONNREFUSED);
}

}  // namespace
}  // namespace netkitd::test
