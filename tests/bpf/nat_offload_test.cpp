// Random packets whose transport checksum the sender left for the device to compute, which PROG_RUN cannot give:
// through the attached programs, and compared with the model of NAT (nat_model.h).
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <functional>

#include "base/format.h"
#include "bpf/bpf_test.h"
#include "bpf/nat_model.h"
#include "bpf/nat_packets.h"
#include "bpf/nat_world.h"
#include "bpf/packets.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

// struct virtio_net_hdr (linux/virtio_net.h, which is no C++), as packet(7)'s PACKET_VNET_HDR has it.
struct VirtioHeader {
    std::uint8_t flags = 0;
    std::uint8_t gso_type = 0;
    std::uint16_t header_len = 0;
    std::uint16_t gso_size = 0;
    std::uint16_t csum_start = 0;
    std::uint16_t csum_offset = 0;
};
static_assert(sizeof(VirtioHeader) == 10);
constexpr std::uint8_t kNeedsSum = 1;

// Frames with what the sender left for the device to do, which PROG_RUN cannot give: the transport checksum.
class FrameSocket {
public:
    explicit FrameSocket(const char* device) : fd_(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL))) {
        const int on = 1;
        EXPECT_EQ(setsockopt(fd_.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0) << std::strerror(errno);
        EXPECT_EQ(setsockopt(fd_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), 0);
        sockaddr_ll name{};
        name.sll_family = AF_PACKET;
        name.sll_protocol = htons(ETH_P_ALL);
        name.sll_ifindex = static_cast<int>(if_nametoindex(device));
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the sockets' interface
        EXPECT_EQ(bind(fd_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0) << std::strerror(errno);
    }

    void send(const VirtioHeader& header, const Bytes& frame) const {
        Bytes bytes(sizeof(header) + frame.size());
        std::memcpy(bytes.data(), &header, sizeof(header));
        std::ranges::copy(frame, bytes.begin() + sizeof(header));
        EXPECT_EQ(::send(fd_.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()))
            << std::strerror(errno);
    }
    // The next frame that `wanted` says yes to; empty if none comes.
    Bytes receive(VirtioHeader& header, const std::function<bool(const Bytes&)>& wanted) const {
        constexpr int kTimeoutMs = 3000;
        pollfd wait{.fd = fd_.get(), .events = POLLIN, .revents = 0};
        while (::poll(&wait, 1, kTimeoutMs) == 1) {
            Bytes bytes(65536);
            const ssize_t size = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
            if (size < static_cast<ssize_t>(sizeof(header) + ETH_HLEN)) {
                continue;
            }
            std::memcpy(&header, bytes.data(), sizeof(header));
            Bytes frame(bytes.begin() + sizeof(header), bytes.begin() + size);
            if (wanted(frame)) {
                return frame;
            }
        }
        return {};
    }

private:
    UniqueFd fd_;
};

std::span<const std::uint8_t> addresses_of(const Bytes& frame) {
    const bool v6 = frame.at(12) == 0x86;
    return std::span(frame).subspan(ETH_HLEN + (v6 ? 8 : 12), v6 ? 32 : 8);
}

void put_checksum(Bytes& frame, std::size_t offset, std::uint16_t value) {
    frame.at(offset) = static_cast<std::uint8_t>(value >> 8);
    frame.at(offset + 1) = static_cast<std::uint8_t>(value & 0xff);
}

class NatOnTheWireTest : public BpfTest {
protected:
    NatOnTheWireTest() { options.flow_entries = 16384; }

    // The containers' ends are where nobody answers what comes out of them.
    void SetUp() override {
        BpfTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) {
            return;
        }
        NetnsTest::node().run(formatted("ip link set web netns {0}; ip link set db netns {0}", containers_.path()));
        containers_.run(
            "for device in web db; do echo 1 >/proc/sys/net/ipv6/conf/$device/disable_ipv6; ip link set $device up; "
            "done");
        containers_.inside([&] {
            container_sockets_.emplace_back("web");
            container_sockets_.emplace_back("db");
        });
        router_.emplace("wire0");
        for (const auto& [program, device] : {std::pair(Program::veth_ingress, "nkweb"),
                                              {Program::veth_ingress, "nkdb"},
                                              {Program::uplink_ingress, "eth0"},
                                              {Program::uplink_egress, "eth0"}}) {
            const auto attached = node().attach(program, device);
            ASSERT_TRUE(attached) << attached.error().message();
        }
        for (std::size_t container = 2; container < kContainers; container++) {
            for (const bool v6 : {false, true}) {
                ASSERT_TRUE(node().add_endpoint(address_of(container, v6), container % 2 == 0 ? "nkweb" : "nkdb",
                                                static_cast<std::uint32_t>(container + 1)));
            }
        }
    }

    enum class Summed { by_sender, by_device, inside_a_tunnel };
    // Carries the frame from one socket to another; what came out, as a device that computes sums would send it.
    Bytes carry(const FrameSocket& from, const FrameSocket& to, const Sent& sent, Summed summed,
                const std::string& source);

    const FrameSocket& socket_of(const Conversation& c) const {
        return container_sockets_.at(container_of(c.container) % 2);
    }
    const FrameSocket& router() const { return *router_; }
    const std::vector<FrameSocket>& container_sockets() const { return container_sockets_; }

    std::uint64_t left_to_the_device_ = 0;  // of the frames that came out

private:
    NetworkNamespace containers_;
    std::vector<FrameSocket> container_sockets_;  // web's and db's
    std::optional<FrameSocket> router_;
};

Bytes NatOnTheWireTest::carry(const FrameSocket& from, const FrameSocket& to, const Sent& sent, Summed summed,
                              const std::string& source) {
    VirtioHeader header{};
    Bytes frame = sent.frame();
    const std::uint16_t check_offset = sent.protocol == IPPROTO_TCP ? 16 : 6;
    if (summed != Summed::by_sender) {
        header.flags = kNeedsSum;
        header.csum_start = static_cast<std::uint16_t>(sent.transport_offset + (summed == Summed::by_device ? 0 : 16));
        header.csum_offset = check_offset;
    }
    if (summed == Summed::by_device) {
        const Bytes pseudo = pseudo_header(addresses_of(frame), sent.protocol, frame.size() - sent.transport_offset);
        put_checksum(frame, sent.transport_offset + check_offset,
                     static_cast<std::uint16_t>(~internet_checksum(pseudo)));
    }
    from.send(header, frame);
    const Bytes expected_source = Packet().ip(source, source).bytes();
    VirtioHeader seen{};
    Bytes out = to.receive(seen, [&](const Bytes& candidate) {
        return candidate.size() >= frame.size() && candidate.at(12) == frame.at(12) &&
               std::ranges::equal(addresses_of(candidate).first(addresses_of(candidate).size() / 2),
                                  addresses_of(expected_source).first(addresses_of(expected_source).size() / 2));
    });
    if (out.empty() || (seen.flags & kNeedsSum) == 0) {
        return out;
    }
    left_to_the_device_++;
    EXPECT_EQ(seen.csum_start, header.csum_start);
    EXPECT_EQ(seen.csum_offset, header.csum_offset);
    if (summed == Summed::by_device) {
        std::uint16_t sum = internet_checksum(std::span(out).subspan(sent.transport_offset));
        sum = sum == 0 && sent.protocol == IPPROTO_UDP ? 0xffff : sum;
        put_checksum(out, sent.transport_offset + check_offset, sum);
    }
    return out;
}

// The device would write there after everything has been judged.
TEST_F(NatOnTheWireTest, AContainersChecksumIsWrittenOverNoPortOrAddress) {
    const Bytes frame = Packet().ip("10.77.0.2", "198.51.100.1").udp(50000, 443).payload(40).bytes();
    constexpr std::uint16_t kTransport = ETH_HLEN + 20;
    std::uint64_t dropped = 0;
    for (const auto& [start, offset] : {std::pair<std::uint16_t, std::uint16_t>(kTransport, 0),
                                        {kTransport, 2},
                                        {kTransport, 4},
                                        {20, 6},
                                        {20, 10},
                                        {kTransport - 4, 4}}) {
        container_sockets().front().send({.flags = kNeedsSum, .csum_start = start, .csum_offset = offset}, frame);
        dropped++;
        EXPECT_TRUE(eventually([&] { return node().counted()["malformed"] == dropped; })) << start << " " << offset;
    }
    EXPECT_EQ(node().counted()["flow-created"], 0U);
}

TEST_F(NatOnTheWireTest, ChecksumsThatAreLeftToTheDevice) {
    const std::uint64_t seed = seed_of_this_run();
    Random random(seed);
    const NatModel::Options pool{.port_first = options.port_first, .port_last = options.port_last};
    NatModel model(pool);
    std::vector<Conversation> conversations;
    while (conversations.size() < 100) {
        Conversation c = random_conversation(random, 5, false, pool);
        if (c.protocol != IPPROTO_SCTP) {  // whose ports are refused, and whose sum is none of those
            conversations.push_back(std::move(c));
        }
    }
    const std::uint64_t packets = packets_to_run() / 10;
    std::uint64_t given_to_the_device = 0;
    for (std::uint64_t done = 0; done < packets;) {
        const Conversation& c = random.of(conversations);
        const Net& net = c.is_ipv6() ? ipv6() : ipv4();
        const NatModel::State* known = model.find(c);
        const bool out = known == nullptr || random.percent(50);
        const Sent sent = out ? packet_out(random, c, [](const Packet& packet) { return packet; })
                              : packet_in(random, c, known->port);
        const bool is_for_the_host = !out && sent.syn && !sent.ack;
        if (sent.ttl <= 1 || sent.rst || sent.damage != 0 || !sent.untranslatable.empty() || is_for_the_host) {
            continue;
        }
        const Bytes frame = sent.frame();
        const bool has_sum = c.protocol == IPPROTO_TCP ||
                             (c.protocol == IPPROTO_UDP &&
                              (frame.at(sent.transport_offset + 6) != 0 || frame.at(sent.transport_offset + 7) != 0));
        const bool has_room = c.protocol == IPPROTO_UDP && frame.size() > sent.transport_offset + 40;
        const Summed summed = has_room && random.percent(20)  ? Summed::inside_a_tunnel
                              : has_sum && random.percent(85) ? Summed::by_device
                                                              : Summed::by_sender;
        given_to_the_device += summed == Summed::by_sender ? 0 : 1;
        const Bytes seen = out ? carry(socket_of(c), router(), sent, summed, net.node)
                               : carry(router(), socket_of(c), sent, summed, c.remote);
        const Seen became{.verdict = seen.empty() ? Verdict::drop : Verdict::redirect, .frame = seen};
        const std::string wrong = out ? model.out(c, sent, became) : model.in(c, known->port, sent, became);
        ASSERT_EQ(wrong, "") << to_string(c) << ", NETKITD_SEED=" << seed << ", packet " << done << ", sent was\n"
                             << describe(frame);
        done++;
    }
    EXPECT_EQ(left_to_the_device_, given_to_the_device) << "none was summed on the way";
}

}  // namespace
}  // namespace netkitd::test
