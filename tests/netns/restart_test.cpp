// Restarts and kills of the daemon under traffic, counted packet by packet: nothing is lost by our doing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>

#include "harness/daemon_test.h"
#include "link/netns.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr const char* kEchoPort = "7";
constexpr auto kUdpInterval = 1ms;
constexpr auto kConnectionInterval = 5ms;  // 200 a second

bool in_vm() {
    return std::getenv("NETKITD_VM") != nullptr;
}

struct Address {
    sockaddr_storage storage{};
    socklen_t size = 0;

    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

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

// A socket of that netns, for any thread. Reads end after five seconds.
UniqueFd socket_in(const NetworkNamespace& netns, const Address& address, int type) {
    UniqueFd socket;
    netns.inside([&] { socket = UniqueFd(::socket(address.storage.ss_family, type | SOCK_CLOEXEC, 0)); });
    const timeval patience{.tv_sec = 5, .tv_usec = 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    const int large = 8 << 20;
    ::setsockopt(socket.get(), SOL_SOCKET, type == SOCK_DGRAM ? SO_RCVBUFFORCE : SO_KEEPALIVE, &large, sizeof(large));
    return socket;
}

// Sends back whatever it gets, by TCP and UDP, on `address` in `netns`, until it is destroyed.
class EchoServer {
public:
    EchoServer(const NetworkNamespace& netns, const std::string& address)
        : stream_(socket_in(netns, echo_at(address), SOCK_STREAM)),
          datagrams_(socket_in(netns, echo_at(address), SOCK_DGRAM)) {
        const Address local = echo_at(address);
        const int on = 1;
        ::setsockopt(stream_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        for (const UniqueFd* socket : {&stream_, &datagrams_}) {
            EXPECT_EQ(::bind(socket->get(), local.get(), local.size), 0) << std::strerror(errno);
        }
        ::listen(stream_.get(), SOMAXCONN);
        acceptor_ = std::jthread([this](const std::stop_token& stop) { accept(stop); });
        echoer_ = std::jthread([this](const std::stop_token& stop) { echo_datagrams(stop); });
    }
    ~EchoServer() {
        acceptor_.request_stop();
        echoer_.request_stop();
        ::shutdown(stream_.get(), SHUT_RDWR);
        ::shutdown(datagrams_.get(), SHUT_RDWR);
    }
    EchoServer(const EchoServer&) = delete;
    EchoServer& operator=(const EchoServer&) = delete;

private:
    void accept(const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            const int accepted = ::accept4(stream_.get(), nullptr, nullptr, SOCK_CLOEXEC);
            if (accepted >= 0) {
                std::thread([connection = UniqueFd(accepted)] { echo(connection.get()); }).detach();
            }
        }
    }
    static void echo(int connection) {
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
    void echo_datagrams(const std::stop_token& stop) {
        std::array<char, 2048> buffer{};
        while (!stop.stop_requested()) {
            sockaddr_storage from{};
            socklen_t size = sizeof(from);
            auto* peer = reinterpret_cast<sockaddr*>(&from);
            const ssize_t count = ::recvfrom(datagrams_.get(), buffer.data(), buffer.size(), 0, peer, &size);
            if (count > 0) {
                ::sendto(datagrams_.get(), buffer.data(), static_cast<std::size_t>(count), 0, peer, size);
            }
        }
    }

    UniqueFd stream_;
    UniqueFd datagrams_;
    std::jthread acceptor_;
    std::jthread echoer_;
};

std::uint32_t retransmitted(int socket) {
    tcp_info info{};
    socklen_t size = sizeof(info);
    ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size);
    return info.tcpi_total_retrans;
}

struct Tally {
    std::atomic<std::uint64_t> sent = 0;
    std::atomic<std::uint64_t> came_back = 0;
    std::atomic<std::uint64_t> failed = 0;         // connections that were refused, reset or timed out
    std::atomic<std::uint64_t> retransmitted = 0;  // segments
};

// One long connection; every byte comes back in its place.
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
        if (in_vm()) {
            std::this_thread::sleep_for(10ms);  // its processors are slow: leave the daemon a share
        }
    }
    tally.retransmitted += retransmitted(socket.get());
}

// Numbered datagrams, one a millisecond.
void stream(const std::stop_token& stop, const NetworkNamespace& from, const Address& to, Tally& tally) {
    const UniqueFd socket = socket_in(from, to, SOCK_DGRAM);
    ::connect(socket.get(), to.get(), to.size);
    std::jthread receiver([&](const std::stop_token& done) {
        std::uint64_t number = 0;
        while (::recv(socket.get(), &number, sizeof(number), 0) == sizeof(number) || !done.stop_requested()) {
            ++tally.came_back;
            if (done.stop_requested() && tally.came_back == tally.sent) {
                return;
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
        std::this_thread::sleep_for(kUdpInterval);
    }
}

// A connection, a question, its answer, the end: 200 a second.
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
            tally.retransmitted += retransmitted(socket.get());
        } else {
            ++tally.failed;
        }
        next += in_vm() ? 20 * kConnectionInterval : kConnectionInterval;
        std::this_thread::sleep_until(next);
    }
}

class RestartTest : public DaemonTest {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        node().run("ip addr add 2001:db8::1/64 dev up0 nodad && ip route add default via 2001:db8::2");
        outside().run("ip addr add 2001:db8::2/64 dev eth0 nodad");
        ASSERT_TRUE(start());
    }

    // The datapath's, by name; but not of what IPv6 says to its own link when an interface comes up.
    [[nodiscard]] std::map<std::string, std::uint64_t> drops() const {
        std::map<std::string, std::uint64_t> result;
        const json now = status();
        for (const json& counter : now.at("counters")) {
            const auto packets = counter.at("packets").get<std::uint64_t>();
            if (counter.at("kind") == "drop" && counter.at("name") != "link-scope" && packets > 0) {
                result.emplace(counter.at("name").get<std::string>(), packets);
            }
        }
        return result;
    }
    [[nodiscard]] std::string resets() const {
        return node().run("nstat -asz TcpOutRsts UdpNoPorts Icmp6OutDestUnreachs | tail -n +2");
    }
};

TEST_F(RestartTest, NothingIsLostOverRestartsAndKills) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    const EchoServer outside4(outside(), "198.51.100.2");
    const EchoServer outside6(outside(), "2001:db8::2");
    const std::string resets_before = resets();
    ASSERT_THAT(resets_before, testing::AllOf(testing::HasSubstr("TcpOutRsts"), testing::HasSubstr("UdpNoPorts")));

    std::array<Tally, 6> tallies;
    std::vector<std::jthread> traffic;
    const auto run = [&](auto what, const char* to, Tally& tally) {
        traffic.emplace_back(
            [&, what, address = echo_at(to)](const std::stop_token& stop) { what(stop, web.netns(), address, tally); });
    };
    run(transfer, "198.51.100.2", tallies[0]);
    run(stream, "198.51.100.2", tallies[1]);
    run(connect_anew, "198.51.100.2", tallies[2]);
    run(transfer, "2001:db8::2", tallies[3]);
    run(stream, "2001:db8::2", tallies[4]);
    run(connect_anew, "2001:db8::2", tallies[5]);

    const bool few = in_vm() || std::getenv("NETKITD_SHORT") != nullptr;
    const int restarts = few ? 5 : 100;
    const int kills = few ? 5 : 20;
    for (int i = 0; i < restarts + kills && !HasFatalFailure(); ++i) {
        stop(i < restarts ? SIGTERM : SIGKILL);
        ASSERT_TRUE(start());
    }
    for (auto& thread : traffic) {
        thread.request_stop();
    }
    traffic.clear();

    for (std::size_t i = 0; i < tallies.size(); ++i) {
        const Tally& tally = tallies.at(i);
        SCOPED_TRACE(std::format("{} over IPv{}", std::array{"the transfer", "the stream", "new connections"}.at(i % 3),
                                 i < 3 ? 4 : 6));
        EXPECT_GT(tally.sent, 10U);
        EXPECT_EQ(tally.came_back, tally.sent);
        EXPECT_EQ(tally.failed, 0U);
        EXPECT_EQ(tally.retransmitted, 0U);
        std::printf("%zu: %llu sent, %llu came back\n", i, static_cast<unsigned long long>(tally.sent),
                    static_cast<unsigned long long>(tally.came_back));
    }
    EXPECT_THAT(drops(), testing::IsEmpty());
    EXPECT_EQ(resets(), resets_before) << "the host's stack answered packets that were a container's";
}

}  // namespace
}  // namespace netkitd::test
