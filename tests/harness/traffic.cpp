#include "harness/traffic.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/ip6.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <span>

#include "base/format.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kEchoPort = "7";
constexpr auto kUdpInterval = 1ms;
constexpr auto kConnectionInterval = 5ms;  // 200 a second
// A transfer that takes all of the processors starves more than itself: RCU's thread was left waiting for half a minute
// (seen on 6.18), and with it all who want RTNL, which is held while a program is attached (tcx_link_attach in
// kernel/bpf/tcx.c).
constexpr auto kTransferPause = 1ms;

// In the VM, whose processor is emulated: 2,000 datagrams a second alone would take all of it.
std::chrono::milliseconds paced(std::chrono::milliseconds interval) {
    return in_vm() ? 20 * interval : interval;
}

void set_patience(int socket, std::chrono::microseconds patience) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(patience);
    const timeval limit{.tv_sec = seconds.count(), .tv_usec = (patience - seconds).count()};
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

void echo(int connection) {
    std::array<char, 65536> buffer{};
    for (ssize_t count = 0; (count = ::recv(connection, buffer.data(), buffer.size(), 0)) > 0;) {
        for (ssize_t sent = 0, now = 0; sent < count; sent += now) {
            now = ::send(connection, buffer.data() + sent, static_cast<std::size_t>(count - sent), MSG_NOSIGNAL);
            if (now <= 0) {
                return;
            }
        }
    }
}

void echo_datagrams(int socket, const std::stop_token& stop) {
    std::array<char, 8192> buffer{};
    while (!stop.stop_requested()) {
        sockaddr_storage from{};
        socklen_t size = sizeof(from);
        auto* peer = reinterpret_cast<sockaddr*>(&from);
        const ssize_t count = ::recvfrom(socket, buffer.data(), buffer.size(), 0, peer, &size);
        if (count > 0) {
            ::sendto(socket, buffer.data(), static_cast<std::size_t>(count), 0, peer, size);
        }
    }
}

}  // namespace

Address echo_at(const std::string& text) {
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    EXPECT_EQ(::getaddrinfo(text.c_str(), kEchoPort, &hints, &found), 0) << text;
    Address address{.storage = {}, .size = found->ai_addrlen};
    std::memcpy(&address.storage, found->ai_addr, address.size);
    ::freeaddrinfo(found);
    return address;
}

Address with_port(const Address& address, int port) {
    Address result = address;
    sockaddr_in6 changed{};  // its port is where sockaddr_in has it
    std::memcpy(&changed, &address.storage, sizeof(changed));
    changed.sin6_port = htons(static_cast<std::uint16_t>(port));
    std::memcpy(&result.storage, &changed, sizeof(changed));
    return result;
}

void flood_ports(const std::stop_token& stop, const UniqueFd& socket, const Address& to) {
    for (int port = 1; !stop.stop_requested(); port = port % 65535 + 1) {
        const Address there = with_port(to, port);
        (void)::sendto(socket.get(), "x", 1, 0, there.get(), there.size);
    }
}

UniqueFd socket_in(const NetworkNamespace& netns, const Address& address, int type, int protocol) {
    UniqueFd socket;
    netns.inside([&] { socket = UniqueFd(::socket(address.storage.ss_family, type | SOCK_CLOEXEC, protocol)); });
    set_patience(socket.get(), 5s);
    const int large = 8 << 20;
    ::setsockopt(socket.get(), SOL_SOCKET, type == SOCK_DGRAM ? SO_RCVBUFFORCE : SO_KEEPALIVE, &large, sizeof(large));
    return socket;
}

UniqueFd socket_bound_to(const NetworkNamespace& netns, const Address& local, int type, int protocol) {
    UniqueFd socket = socket_in(netns, local, type, protocol);
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    // An IPv6 address that was just added is its own a moment later (NetworkNamespace::await_address).
    int error = 0;
    (void)eventually([&] {
        error = ::bind(socket.get(), local.get(), local.size) == 0 ? 0 : errno;
        return error != EADDRNOTAVAIL;
    });
    EXPECT_EQ(error, 0) << std::strerror(error);
    return socket;
}

bool is_echoed(const NetworkNamespace& from, const std::string& address, int type) {
    const Address server = echo_at(address);
    const UniqueFd socket = socket_in(from, server, type);
    std::array<char, 8> answer{};
    return ::connect(socket.get(), server.get(), server.size) == 0 && ::send(socket.get(), "hello", 5, 0) == 5 &&
           ::recv(socket.get(), answer.data(), answer.size(), 0) == 5;
}

void send_raw(const NetworkNamespace& netns, const Packet& packet) {
    const Bytes frame = packet.bytes();
    const auto ip = std::span(frame).subspan(ETH_HLEN);
    const bool is_v4 = ip.front() >> 4 == 4;
    Address to{.storage = {}, .size = 0};
    UniqueFd socket;
    netns.inside(
        [&] { socket = UniqueFd(::socket(is_v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)); });
    if (is_v4) {
        sockaddr_in name{};
        name.sin_family = AF_INET;
        std::memcpy(&name.sin_addr, ip.subspan(offsetof(iphdr, daddr)).data(), sizeof(name.sin_addr));
        std::memcpy(&to.storage, &name, to.size = sizeof(name));
    } else {
        sockaddr_in6 name{};
        name.sin6_family = AF_INET6;
        std::memcpy(&name.sin6_addr, ip.subspan(offsetof(ip6_hdr, ip6_dst)).data(), sizeof(name.sin6_addr));
        std::memcpy(&to.storage, &name, to.size = sizeof(name));
    }
    EXPECT_EQ(::sendto(socket.get(), ip.data(), ip.size(), 0, to.get(), to.size), static_cast<ssize_t>(ip.size()))
        << std::strerror(errno);
}

DatagramEcho::DatagramEcho(UniqueFd socket) : socket_(std::move(socket)) {
    thread_ = std::jthread([fd = socket_.get()](const std::stop_token& stop) { echo_datagrams(fd, stop); });
}

DatagramEcho::~DatagramEcho() {
    thread_.request_stop();
    ::shutdown(socket_.get(), SHUT_RDWR);
}

EchoServer::EchoServer(const NetworkNamespace& netns, const std::string& address)
    : stream_(socket_bound_to(netns, echo_at(address), SOCK_STREAM)),
      datagrams_(socket_bound_to(netns, echo_at(address), SOCK_DGRAM)) {
    ::listen(stream_.get(), SOMAXCONN);
    acceptor_ = std::jthread([this](const std::stop_token& stop) { accept(stop); });
}

EchoServer::~EchoServer() {
    acceptor_.request_stop();
    ::shutdown(stream_.get(), SHUT_RDWR);
}

void EchoServer::accept(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        const int accepted = ::accept4(stream_.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (accepted >= 0) {
            std::thread([connection = UniqueFd(accepted)] { echo(connection.get()); }).detach();
        }
    }
}

Mirror::Mirror(const NetworkNamespace& netns, const std::string& address)
    : socket_(socket_bound_to(netns, echo_at(address), SOCK_DGRAM)) {
    set_patience(socket_.get(), 100ms);
    thread_ = std::jthread([socket = socket_.get()](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            std::array<char, 16> question{};
            sockaddr_storage from{};
            socklen_t size = sizeof(from);
            auto* peer = reinterpret_cast<sockaddr*>(&from);
            if (::recvfrom(socket, question.data(), question.size(), 0, peer, &size) < 0) {
                continue;
            }
            std::array<char, NI_MAXHOST> text{};
            ::getnameinfo(peer, size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST);
            ::sendto(socket, text.data(), std::strlen(text.data()), 0, peer, size);
        }
    });
}

std::string seen_as(int socket, const Address& mirror, std::chrono::milliseconds patience) {
    set_patience(socket, patience);
    std::array<char, NI_MAXHOST> answer{};
    if (::sendto(socket, "?", 1, 0, mirror.get(), mirror.size) != 1) {
        return formatted("cannot ask: {}", std::strerror(errno));
    }
    const ssize_t size = ::recv(socket, answer.data(), answer.size(), 0);
    return size < 0 ? std::string() : std::string(answer.data(), static_cast<std::size_t>(size));
}

std::uint32_t lost_segments(int socket) {
    std::uint32_t lost = 0;
    // What the other end says of a segment that was late may come after the answer to the one that was not.
    for (const auto patience : {0ms, 50ms, 200ms, 750ms}) {
        std::this_thread::sleep_for(patience);
        tcp_info info{};
        socklen_t size = sizeof(info);
        ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size);
        lost = info.tcpi_total_retrans - std::min(info.tcpi_total_retrans, info.tcpi_dsack_dups);
        if (lost == 0) {
            break;
        }
    }
    return lost;
}

void transfer(const std::stop_token& stop, const NetworkNamespace& from, const Address& to, Tally& tally) {
    const UniqueFd socket = socket_in(from, to, SOCK_STREAM);
    if (::connect(socket.get(), to.get(), to.size) != 0) {
        ++tally.failed;
        return;
    }
    std::array<char, 16384> data{};
    std::array<char, 16384> echoed{};
    while (!stop.stop_requested()) {
        data.fill(static_cast<char>(tally.sent));
        if (::send(socket.get(), data.data(), data.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(data.size()) ||
            ::recv(socket.get(), echoed.data(), echoed.size(), MSG_WAITALL) != static_cast<ssize_t>(echoed.size()) ||
            data != echoed) {
            ++tally.failed;
            return;
        }
        ++tally.sent;
        ++tally.came_back;
        std::this_thread::sleep_for(paced(kTransferPause));
    }
    tally.lost_segments += lost_segments(socket.get());
}

void stream(const std::stop_token& stop, const NetworkNamespace& from, const Address& to, Tally& tally) {
    const UniqueFd socket = socket_in(from, to, SOCK_DGRAM);
    EXPECT_EQ(::connect(socket.get(), to.get(), to.size), 0) << std::strerror(errno);
    std::jthread receiver([&](const std::stop_token& done) {
        bool timed_out = false;
        while (!done.stop_requested() || (tally.came_back != tally.sent && !timed_out)) {
            std::uint64_t number = 0;
            const ssize_t size = ::recv(socket.get(), &number, sizeof(number), 0);
            timed_out = size < 0 && errno == EAGAIN;
            if (size == sizeof(number)) {
                ++tally.came_back;
            } else if (!timed_out) {
                ++tally.failed;
            }
        }
    });
    while (!stop.stop_requested()) {
        const std::uint64_t number = tally.sent;
        if (::send(socket.get(), &number, sizeof(number), 0) == sizeof(number)) {
            ++tally.sent;
        } else {
            ++tally.failed;
        }
        std::this_thread::sleep_for(paced(kUdpInterval));
    }
}

void connect_anew(const std::stop_token& stop, const NetworkNamespace& from, const Address& to, Tally& tally) {
    auto next = std::chrono::steady_clock::now();
    while (!stop.stop_requested()) {
        const UniqueFd socket = socket_in(from, to, SOCK_STREAM);
        std::array<char, 16> answer{};
        constexpr ssize_t kSize = answer.size();
        ++tally.sent;
        if (::connect(socket.get(), to.get(), to.size) == 0 &&
            ::send(socket.get(), "what time is it?", kSize, MSG_NOSIGNAL) == kSize &&
            ::recv(socket.get(), answer.data(), kSize, MSG_WAITALL) == kSize) {
            ++tally.came_back;
            tally.lost_segments += lost_segments(socket.get());
        } else {
            ++tally.failed;
        }
        next += paced(kConnectionInterval);
        std::this_thread::sleep_until(next);
    }
}

}  // namespace netkitd::test
