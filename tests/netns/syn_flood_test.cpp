// A flood of SYNs at a published port, from everywhere and nobody: who is connected stays so, and who comes gets in.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "harness/packet.h"
#include "harness/traffic.h"
#include "netns/publish.h"

namespace netkitd::test {
namespace {

constexpr std::size_t kSyns = 1'000'000;
constexpr int kLiving = 1000;
constexpr int kNew = 100;

// Whom the SYNs are from: the last two bytes of the address are zero, and become any.
struct Nobody {
    std::string address;
    std::size_t offset = 0;  // of those two in the packet
    std::size_t tcp_offset = 0;
};

Nobody nobody_of(const PublishFamily& family) {
    return family.name == "V4" ? Nobody{.address = "198.18.0.0", .offset = 14, .tcp_offset = 20}
                               : Nobody{.address = "2001:db8:6::", .offset = 22, .tcp_offset = 40};
}

// RFC 1624: a word that was zero is `value` now.
void add_to_checksum(std::span<std::uint8_t> checksum, std::uint16_t value) {
    std::uint32_t sum = static_cast<std::uint16_t>(~(checksum[0] << 8 | checksum[1])) + value;
    sum = (sum & 0xffff) + (sum >> 16);
    checksum[0] = static_cast<std::uint8_t>(~sum >> 8);
    checksum[1] = static_cast<std::uint8_t>(~sum);
}

void put(std::span<std::uint8_t> place, std::uint16_t value) {
    place[0] = static_cast<std::uint8_t>(value >> 8);
    place[1] = static_cast<std::uint8_t>(value);
}

// Each SYN from another address and port.
class Flood {
public:
    explicit Flood(const PublishFamily& family) : to_(with_port(echo_at(family.host), 0)), nobody_(nobody_of(family)) {
        Bytes frame = Packet().ip(nobody_.address, family.host).tcp(0, 7).syn().bytes();
        const auto packet = std::span(frame).subspan(kEthernet);
        from_nobody_.assign(packet.begin(), packet.end());
    }

    // As many, or as far as it works.
    void send(const NetworkNamespace& from, std::size_t syns) {
        send_all(from, syns);
        is_over_ = true;
    }
    // Waits until so many are sent, or no more will be.
    void await(std::size_t syns) const {
        while (sent_ < syns && !is_over_) {
            std::this_thread::yield();
        }
    }

private:
    void send_all(const NetworkNamespace& from, std::size_t syns) {
        UniqueFd socket;
        from.inside([&] { socket = UniqueFd(::socket(to_.storage.ss_family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)); });
        ASSERT_EQ(::connect(socket.get(), to_.get(), to_.size), 0) << std::strerror(errno);
        for (; sent_ < syns; sent_ += kBatch) {
            std::array<iovec, kBatch> parts{};
            std::array<mmsghdr, kBatch> messages{};
            for (std::size_t i = 0; i < kBatch; ++i) {
                made_[i] = from_nobody_;
                make_next(made_[i]);
                parts[i] = {.iov_base = made_[i].data(), .iov_len = made_[i].size()};
                messages[i].msg_hdr.msg_iov = &parts[i];
                messages[i].msg_hdr.msg_iovlen = 1;
            }
            ASSERT_EQ(::sendmmsg(socket.get(), messages.data(), kBatch, 0), static_cast<int>(kBatch))
                << std::strerror(errno);
        }
    }

    static constexpr std::size_t kBatch = 50;
    static constexpr std::size_t kEthernet = 14;
    static constexpr std::size_t kTcpChecksum = 16;  // RFC 9293, 3.1

    void make_next(std::span<std::uint8_t> packet) {
        const auto source = static_cast<std::uint16_t>(random_());
        const auto port = static_cast<std::uint16_t>(random_() | 0x8000);
        const auto checksum = packet.subspan(nobody_.tcp_offset + kTcpChecksum);
        put(packet.subspan(nobody_.offset), source);
        put(packet.subspan(nobody_.tcp_offset), port);
        add_to_checksum(checksum, source);
        add_to_checksum(checksum, port);
    }

    const Address to_;
    const Nobody nobody_;
    Bytes from_nobody_;  // by port 0
    std::array<Bytes, kBatch> made_;
    std::minstd_rand random_{7};
    std::atomic<std::size_t> sent_ = 0;
    std::atomic<bool> is_over_ = false;
};

class SynFloodTest : public PublishTest {
protected:
    void SetUp() override {
        PublishTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        // Where the answers go, and end.
        node().run("ip route add 198.18.0.0/15 via 198.51.100.2; ip route add 2001:db8:6::/64 via 2001:db8:5::2");
        ASSERT_TRUE(publish(web_, "web", "7:7"));
        listener_ = socket_bound_to(web_.netns(), echo_at(net.container), SOCK_STREAM);
        ASSERT_EQ(::listen(listener_.get(), kLiving), 0);
    }

    struct Connection {
        UniqueFd client;
        UniqueFd server;
        // Each hears the other.
        [[nodiscard]] bool lives() const {
            char heard = 0;
            return ::send(client.get(), "?", 1, MSG_NOSIGNAL) == 1 && ::recv(server.get(), &heard, 1, 0) == 1 &&
                   heard == '?' && ::send(server.get(), "!", 1, MSG_NOSIGNAL) == 1 &&
                   ::recv(client.get(), &heard, 1, 0) == 1 && heard == '!';
        }
    };
    [[nodiscard]] Connection connect() const {
        const Address to = echo_at(net.host);
        Connection connection{.client = socket_in(outside(), to, SOCK_STREAM), .server = {}};
        if (::connect(connection.client.get(), to.get(), to.size) == 0) {
            connection.server = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        }
        return connection;
    }

    UniqueFd listener_;
};
INSTANTIATE_TEST_SUITE_P(Family, SynFloodTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

TEST_P(SynFloodTest, HurtsNobodyWhoIsConnectedAndKeepsFewOut) {
    std::vector<Connection> living(kLiving);
    for (Connection& connection : living) {
        connection = connect();
        ASSERT_TRUE(connection.lives());
    }
    Flood flood(net);
    int came = 0;
    {
        const std::jthread flooder([&] { flood.send(outside(), kSyns); });
        for (int i = 0; i < kNew; ++i) {
            flood.await(kSyns / kNew * static_cast<std::size_t>(i));
            came += connect().lives() ? 1 : 0;
        }
    }
    std::printf("[ came   ] %d of %d\n", came, kNew);
    EXPECT_GE(came, 95);
    EXPECT_GT(counted("flow-arrived"), kSyns / 2);
    EXPECT_TRUE(std::ranges::all_of(living, &Connection::lives));
}

}  // namespace
}  // namespace netkitd::test
