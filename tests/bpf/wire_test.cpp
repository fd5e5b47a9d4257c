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
    return out << address.ip << ':' << address.port;
}

sockaddr_in to_sockaddr(const Address& address) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(address.port);
    EXPECT_EQ(inet_pton(AF_INET, address.ip.c_str(), &name.sin_addr), 1);
    return name;
}

Address to_address(const sockaddr_in& name) {
    std::array<char, INET_ADDRSTRLEN> text{};
    inet_ntop(AF_INET, &name.sin_addr, text.data(), text.size());
    return {text.data(), ntohs(name.sin_port)};
}

template <typename Call>
int with_name(const sockaddr_in& name, Call call) {
    sockaddr generic{};
    std::memcpy(&generic, &name, sizeof(generic));
    return call(&generic, socklen_t{sizeof(generic)});
}

UniqueFd bound_socket(const NetworkNamespace& netns, int type, const Address& address) {
    UniqueFd fd;
    netns.inside([&] { fd.reset(::socket(AF_INET, type, 0)); });
    const int error = with_name(to_sockaddr(address),
                                [&](const sockaddr* name, socklen_t size) { return ::bind(fd.get(), name, size); });
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
    sockaddr generic{};
    socklen_t size = sizeof(generic);
    connection.server.reset(::accept(listener.get(), &generic, &size));
    sockaddr_in name{};
    std::memcpy(&name, &generic, sizeof(name));
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

// web and db in namespaces of their own, and an outside router that also is the server 198.51.100.1. No NIC computes
// or trusts a checksum, so a wrong one loses the packet.
class WireTest : public BpfTest {
protected:
    void SetUp() override {
        BpfTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) {
            return;
        }
        move_container("web", "nkweb", "10.77.0.2", web);
        move_container("db", "nkdb", "10.77.0.3", db);
        NetnsTest::node().run(std::format("ip link set wire0 netns {}", outside.path()));
        outside.run(
            "ip link set lo up; ip link set wire0 address 02:00:00:00:00:01 up;"
            "ip addr add 203.0.113.1/24 dev wire0; ip addr add 198.51.100.1/32 dev lo");
        outside.run("ethtool -K wire0 rx off tx off");
        NetnsTest::node().run("ethtool -K eth0 rx off tx off");
        attach(Program::uplink_ingress, "eth0");
        attach(Program::uplink_egress, "eth0");
    }

    void move_container(const std::string& name, const std::string& host_end, const std::string& address,
                        const NetworkNamespace& netns) {
        const NetworkNamespace& host = NetnsTest::node();
        host.run(std::format("ip link set {} netns {}", name, netns.path()));
        netns.run(
            std::format("ip link set {} name eth0; ip link set eth0 address 02:00:00:00:77:01 up;"
                        "ip addr add {}/32 dev eth0; ip route add 10.77.0.1 dev eth0;"
                        "ip route add default via 10.77.0.1;"
                        "ip neigh add 10.77.0.1 lladdr 02:00:00:00:77:02 dev eth0 nud permanent",
                        name, address));
        host.run(
            std::format("ip route add {}/32 dev {}; "
                        "ip neigh add {} lladdr 02:00:00:00:77:01 dev {} nud permanent",
                        address, host_end, address, host_end));
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
    static void forward_everything() {
        const auto written = link::write_sysctl("ipv4/ip_forward", "1");
        ASSERT_TRUE(written) << written.error().message();
    }

    NetworkNamespace web;
    NetworkNamespace db;
    NetworkNamespace outside;
};

TEST_F(WireTest, TcpToOutsideAndBack) {
    attach_containers();
    const Connection connection = connect_tcp(web, {"10.77.0.2", 50000}, outside, {"198.51.100.1", 443});
    EXPECT_EQ(connection.seen, (Address{"203.0.113.2", 50000}));
    EXPECT_EQ(transfer(connection.client.get(), connection.server.get()), "");
    EXPECT_EQ(transfer(connection.server.get(), connection.client.get()), "");
    EXPECT_EQ(node().flows(Stage::established).size(), 2U);
}

TEST_F(WireTest, TcpWithAChangedPort) {
    node().settings().port_first = node().settings().port_last = 61000;
    attach_containers();
    const Connection connection = connect_tcp(web, {"10.77.0.2", 50000}, outside, {"198.51.100.1", 443});
    EXPECT_EQ(connection.seen, (Address{"203.0.113.2", 61000}));
    EXPECT_EQ(transfer(connection.client.get(), connection.server.get()), "");
    EXPECT_EQ(transfer(connection.server.get(), connection.client.get()), "");
}

TEST_F(WireTest, TcpBetweenContainers) {
    attach_containers();
    const Connection connection = connect_tcp(web, {"10.77.0.2", 50000}, db, {"10.77.0.3", 443});
    EXPECT_EQ(connection.seen, (Address{"10.77.0.2", 50000})) << "nothing is translated inside the node";
    EXPECT_EQ(transfer(connection.client.get(), connection.server.get()), "");
    EXPECT_EQ(transfer(connection.server.get(), connection.client.get()), "");
}

TEST_F(WireTest, PingToOutsideTheGatewayTheNodeAndAnotherContainer) {
    attach_containers();
    EXPECT_TRUE(web.reaches("198.51.100.1"));
    EXPECT_TRUE(web.reaches("10.77.0.1"));
    EXPECT_TRUE(web.reaches("203.0.113.2"));
    EXPECT_TRUE(web.reaches("10.77.0.3"));
    EXPECT_TRUE(NetnsTest::node().reaches("10.77.0.2"));
    EXPECT_FALSE(web.reaches("10.77.0.99"));
}

TEST_F(WireTest, ANeighbourThatIsNotKnownYetIsResolved) {
    attach_containers();
    NetnsTest::node().run("ip neigh del 203.0.113.1 dev eth0");
    EXPECT_TRUE(web.reaches("198.51.100.1"));
    EXPECT_THAT(node().counted(), Contains(Key("neighbour-missing")));
}

TEST_F(WireTest, TheStackAnswersWhatTheFastPathCannotDo) {
    attach_containers();
    EXPECT_THAT(web.run("ping -c 1 -W 2 -t 1 198.51.100.1 || true"), HasSubstr("Time to live exceeded"));
    EXPECT_THAT(web.run("ping -c 1 -W 2 192.0.2.2 || true"), HasSubstr("Destination Host Unreachable"));
    EXPECT_THAT(web.run("ping -c 1 -W 2 192.0.2.3 || true"), HasSubstr("Packet filtered"));
    NetnsTest::node().run("ip link set eth0 mtu 1400");
    EXPECT_THAT(web.run("ping -c 1 -W 2 -M do -s 1400 198.51.100.1 || true"), HasSubstr("mtu = 1400"));
}

TEST_F(WireTest, NobodyUnaskedGetsIn) {
    attach_containers();
    forward_everything();
    outside.run("ip route add 10.77.0.0/16 via 203.0.113.2");
    EXPECT_FALSE(outside.reaches("10.77.0.2"));
    EXPECT_FALSE(outside.reaches("10.77.0.1"));
    EXPECT_THAT(node().counted(), Contains(Key("unsolicited")));
    EXPECT_TRUE(outside.reaches("203.0.113.2")) << "the host itself is reached as ever";
}

// The container's program is missing, so the host's stack forwards its packets as they are.
TEST_F(WireTest, NothingUntranslatedLeaves) {
    forward_everything();
    outside.run("ip route add 10.77.0.0/16 via 203.0.113.2");
    EXPECT_FALSE(web.reaches("198.51.100.1"));
    EXPECT_THAT(node().counted(), Contains(Key("untranslated-source")));
    EXPECT_THAT(node().counted(), Not(Contains(Key("unsolicited")))) << "no answer came: nothing got out";
}

}  // namespace
}  // namespace netkitd::test
