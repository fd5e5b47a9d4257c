#include "bpf/wire.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <numeric>

#include "base/format.h"
#include "link/sysctl.h"

namespace netkitd::test {
namespace {

constexpr int kTimeoutMs = 3000;

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

}  // namespace

std::ostream& operator<<(std::ostream& out, const Address& address) {
    return out << address.ip << " port " << address.port;
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

void connect_to(int fd, const Address& address) {
    (void)with_name(to_sockaddr(address),
                    [&](const sockaddr* name, socklen_t size) { return ::connect(fd, name, size); });
}

void send_frame(const NetworkNamespace& netns, const std::string& device, const Packet& packet) {
    const Bytes frame = packet.bytes();
    netns.inside([&] {
        const UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
        sockaddr_ll link{};
        link.sll_family = AF_PACKET;
        link.sll_ifindex = static_cast<int>(if_nametoindex(device.c_str()));
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the sockets' interface
        const auto* name = reinterpret_cast<const sockaddr*>(&link);
        EXPECT_EQ(::sendto(socket.get(), frame.data(), frame.size(), 0, name, sizeof(link)),
                  static_cast<ssize_t>(frame.size()))
            << std::strerror(errno);
    });
}

bool readable(int fd) {
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&wait, 1, kTimeoutMs) == 1;
}

Connection connect_tcp(const NetworkNamespace& from, const Address& own, const NetworkNamespace& to,
                       const Address& server) {
    const UniqueFd listener = bound_socket(to, SOCK_STREAM, server);
    EXPECT_EQ(::listen(listener.get(), 1), 0);
    Connection connection;
    connection.client = bound_socket(from, SOCK_STREAM | SOCK_NONBLOCK, own);
    connect_to(connection.client.get(), server);
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
    return received == sent ? "" : formatted("{} of {} bytes arrived right", received.size(), sent.size());
}

void WireTest::SetUp() {
    BpfTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) {
        return;
    }
    move_container("web", net.web, web);
    move_container("db", net.db, db);
    NetnsTest::node().run(formatted("ip link set wire0 netns {}", outside.path()));
    // Without waiting for duplicates of its link-local address, from which it asks for ours.
    outside.run(
        formatted("echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/wire0/accept_dad;"
                  "ip link set lo up; ip link set wire0 address 02:00:00:00:00:01 up;"
                  "ip addr add 203.0.113.1/24 dev wire0; ip addr add 2001:db8:113::1/64 dev wire0 nodad;"
                  "ip addr add {} dev lo",
                  net.remote));
    // Who asks for a device runs link watch, without which it may be a second before there is a carrier.
    outside.run("ethtool -K wire0 rx off tx off; ip link show wire0");
    NetnsTest::node().run("ethtool -K eth0 rx off tx off; ip link show eth0");
    attach(Program::uplink_ingress, "eth0");
    attach(Program::uplink_egress, "eth0");
    attach(Program::host_egress, "netkitd0");
    std::ranges::copy(kHostEndMac, node().settings().host_device_mac);
    NetnsTest::node().run(
        "ip route replace 10.77.0.0/16 via 169.254.1.1 dev netkitd0 onlink;"
        "ip route add 2001:db8:77::/64 via fe80::1 dev netkitd0 metric 7");
}

// As the daemon makes them: the container has to ask for its neighbour.
void WireTest::move_container(const std::string& name, const std::string& address,
                              const NetworkNamespace& netns) const {
    const NetworkNamespace& host = NetnsTest::node();
    host.run(formatted("ip link set {} netns {}", name, netns.path()));
    netns.run(
        formatted("ip link set {0} name eth0; ip link set eth0 address 02:00:00:00:77:01 up;"
                  "ip addr add {1} dev eth0 $(echo {1} | grep -q : && echo nodad); ip route add {2} dev eth0;"
                  "ip route add default via {2}",
                  name, address, net.gateway));
}

void WireTest::attach(Program program, const std::string& device) {
    const auto attached = node().attach(program, device);
    ASSERT_TRUE(attached) << attached.error().message();
}

void WireTest::attach_containers() {
    attach(Program::veth_ingress, "nkweb");
    attach(Program::veth_ingress, "nkdb");
}

void WireTest::forward_everything() const {
    const auto written = link::write_sysctl(net.sysctl_dir + "/conf/all/forwarding", "1");
    ASSERT_TRUE(written) << written.error().message();
}

void WireTest::let_the_stack_answer() const {
    if (net.name == "V6") {
        forward_everything();
    }
}

}  // namespace netkitd::test
