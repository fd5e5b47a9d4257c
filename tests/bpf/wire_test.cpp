// Real packets through the attached programs, in veth mode: what PROG_RUN cannot show. Where a redirect ends, what the
// stack answers, and checksums that the sender left for the hardware to finish.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <format>
#include <numeric>

#include "bpf/bpf_test.h"
#include "bpf/packets.h"
#include "link/sysctl.h"

namespace netkitd::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;

constexpr int kTimeoutMs = 3000;

struct Address {
    std::string ip;
    std::uint16_t port = 0;
    bool operator==(const Address&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Address& address) {
    return out << address.ip << " port " << address.port;
}

// The port is at the same place in both families' names.
sockaddr_in6 to_sockaddr(const Address& address) {
    sockaddr_in6 name{};
    if (inet_pton(AF_INET6, address.ip.c_str(), &name.sin6_addr) == 1) {
        name.sin6_family = AF_INET6;
        name.sin6_port = htons(address.port);
        return name;
    }
    sockaddr_in name4{};
    name4.sin_family = AF_INET;
    name4.sin_port = htons(address.port);
    EXPECT_EQ(inet_pton(AF_INET, address.ip.c_str(), &name4.sin_addr), 1);
    std::memcpy(&name, &name4, sizeof(name4));
    return name;
}

Address to_address(const sockaddr_in6& name) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    sockaddr_in name4{};
    std::memcpy(&name4, &name, sizeof(name4));
    const void* ip = name.sin6_family == AF_INET6 ? static_cast<const void*>(&name.sin6_addr) : &name4.sin_addr;
    inet_ntop(name.sin6_family, ip, text.data(), text.size());
    return {text.data(), ntohs(name.sin6_port)};
}

template <typename Call>
int with_name(const sockaddr_in6& name, Call call) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the sockets' interface
    return call(reinterpret_cast<const sockaddr*>(&name), socklen_t{sizeof(name)});
}

UniqueFd bound_socket(const NetworkNamespace& netns, int type, const Address& address) {
    const sockaddr_in6 name = to_sockaddr(address);
    UniqueFd fd;
    netns.inside([&] { fd.reset(::socket(name.sin6_family, type, 0)); });
    const int error =
        with_name(name, [&](const sockaddr* generic, socklen_t size) { return ::bind(fd.get(), generic, size); });
    EXPECT_EQ(error, 0) << std::strerror(errno);
    return fd;
}

bool readable(int fd) {
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&wait, 1, kTimeoutMs) == 1;
}

// Connected by TCP; both ends in this one thread.
struct Connection {
    UniqueFd client;
    UniqueFd server;
    Address seen;  // the client, as the server sees it
};

Connection connect_tcp(const NetworkNamespace& from, const Address& own, const NetworkNamespace& to,
                       const Address& server) {
    const UniqueFd listener = bound_socket(to, SOCK_STREAM, server);
    EXPECT_EQ(::listen(listener.get(), 1), 0);
    Connection connection;
    connection.client = bound_socket(from, SOCK_STREAM | SOCK_NONBLOCK, own);
    (void)with_name(to_sockaddr(server), [&](const sockaddr* name, socklen_t size) {
        return ::connect(connection.client.get(), name, size);
    });
    if (!readable(listener.get())) {
        ADD_FAILURE() << "no connection to " << server;
        return connection;
    }
    sockaddr_in6 name{};
    socklen_t size = sizeof(name);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the sockets' interface
    connection.server.reset(::accept(listener.get(), reinterpret_cast<sockaddr*>(&name), &size));
    connection.seen = to_address(name);
    return connection;
}

// As much as fits into both buffers at once, so that one thread can send and then receive.
std::string transfer(int from, int to) {
    std::string sent(100'000, '\0');
    std::iota(sent.begin(), sent.end(), '\0');
    const ssize_t written = ::send(from, sent.data(), sent.size(), MSG_NOSIGNAL);
    if (written <= 0) {
        return "send failed";
    }
    sent.resize(static_cast<std::size_t>(written));
    std::string received;
    std::array<char, 65536> buffer{};
    while (received.size() < sent.size() && readable(to)) {
        const ssize_t count = ::recv(to, buffer.data(), buffer.size(), 0);
        if (count <= 0) {
            break;
        }
        received.append(buffer.data(), static_cast<std::size_t>(count));
    }
    return received == sent ? "" : std::format("{} of {} bytes arrived right", received.size(), sent.size());
}

// web and db in namespaces of their own, and an outside router that also is the remote server. No NIC computes or
// trusts a checksum, so a wrong one loses the packet.
class WireTest : public BpfTest, public ::testing::WithParamInterface<const Net*> {
protected:
    void SetUp() override {
        BpfTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) {
            return;
        }
        move_container("web", "nkweb", net.web, web);
        move_container("db", "nkdb", net.db, db);
        NetnsTest::node().run(std::format("ip link set wire0 netns {}", outside.path()));
        // Without waiting for duplicates of its link-local address, from which it asks for ours.
        outside.run(std::format(
            "echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/wire0/accept_dad;"
            "ip link set lo up; ip link set wire0 address 02:00:00:00:00:01 up;"
            "ip addr add 203.0.113.1/24 dev wire0; ip addr add 2001:db8:113::1/64 dev wire0 nodad;"
            "ip addr add {} dev lo",
            net.remote));
        outside.run("ethtool -K wire0 rx off tx off");
        NetnsTest::node().run("ethtool -K eth0 rx off tx off");
        attach(Program::uplink_ingress, "eth0");
        attach(Program::uplink_egress, "eth0");
    }

    // As the daemon makes them: the host's end knows its neighbour, the container has to ask.
    void move_container(const std::string& name, const std::string& host_end, const std::string& address,
                        const NetworkNamespace& netns) {
        const NetworkNamespace& host = NetnsTest::node();
        host.run(std::format("ip link set {} netns {}", name, netns.path()));
        netns.run(
            std::format("ip link set {0} name eth0; ip link set eth0 address 02:00:00:00:77:01 up;"
                        "ip addr add {1} dev eth0 $(echo {1} | grep -q : && echo nodad); ip route add {2} dev eth0;"
                        "ip route add default via {2}",
                        name, address, net.gateway));
        host.run(
            std::format("ip route add {0} dev {1}; "
                        "ip neigh add {0} lladdr 02:00:00:00:77:01 dev {1} nud permanent",
                        address, host_end));
    }

    void attach(Program program, const std::string& device) {
        const auto attached = node().attach(program, device);
        ASSERT_TRUE(attached) << attached.error().message();
    }
    void attach_containers() {
        attach(Program::veth_ingress, "nkweb");
        attach(Program::veth_ingress, "nkdb");
    }
    // The host forwards all it gets, as a host with other software on it may.
    void forward_everything() const {
        const auto written = link::write_sysctl(net.sysctl_dir + "/conf/all/forwarding", "1");
        ASSERT_TRUE(written) << written.error().message();
    }
    // IPv6 has no forwarding of single devices for the stack before Linux 6.17.
    void let_the_stack_answer() const {
        if (net.name == "V6") {
            forward_everything();
        }
    }

    const Net& net = *GetParam();
    NetworkNamespace web;
    NetworkNamespace db;
    NetworkNamespace outside;
};

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
    EXPECT_FALSE(web.reaches(net.nobody));
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
    EXPECT_TRUE(web.reaches(net.remote));
    EXPECT_THAT(node().counted(), Contains(Key("neighbour-missing")));
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
        return web.run(std::format("ping -c 1 -W 2 {} {} || true", flags, destination));
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
    EXPECT_FALSE(outside.reaches(net.web));
    EXPECT_FALSE(outside.reaches(net.gateway));
    EXPECT_THAT(node().counted(), Contains(Key("unsolicited")));
    EXPECT_TRUE(outside.reaches(net.node)) << "the host itself is reached as ever";
}

// The container's program is missing, so the host's stack forwards its packets as they are.
TEST_P(WireTest, NothingUntranslatedLeaves) {
    forward_everything();
    outside.run("ip route add 10.77.0.0/16 via 203.0.113.2; ip route add 2001:db8:77::/64 via 2001:db8:113::2");
    // Nor does it answer what the container asks its link.
    web.run(std::format("ip neigh add {} lladdr 02:00:00:00:77:02 dev eth0", net.gateway));
    EXPECT_FALSE(web.reaches(net.remote));
    EXPECT_THAT(node().counted(), Contains(Key("untranslated-source")));
    EXPECT_THAT(node().counted(), Not(Contains(Key("unsolicited")))) << "no answer came: nothing got out";
}

}  // namespace
}  // namespace netkitd::test
