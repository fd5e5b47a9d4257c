// SCTP, by every way that the programs have: what is larger than a packet, too, which the kernel keeps as several
// packets in one until a device sends it.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/format.h"
#include "netns/publish.h"

namespace netkitd::test {
namespace {

class SctpTest : public PublishTest {
protected:
    void SetUp() override {
        if (!UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP))) {
            GTEST_SKIP() << "this kernel has no SCTP";
        }
        PublishTest::SetUp();
        const auto published = publish(web_, "web", "9:9/sctp");
        ASSERT_TRUE(published) << published.error().message();
        web_address_ = address_in(published);
    }
    [[nodiscard]] static Address at(const std::string& address, int port) {
        return with_port(echo_at(address), static_cast<std::uint16_t>(port));
    }
    // What is wrong with messages of several sizes, from a client to a server that it reaches as `asked`; empty:
    // nothing.
    [[nodiscard]] static std::string exchange(const NetworkNamespace& from, const Address& asked,
                                              const NetworkNamespace& to, const Address& server) {
        const UniqueFd listener = socket_bound_to(to, server, SOCK_STREAM, IPPROTO_SCTP);
        if (::listen(listener.get(), 1) != 0) {
            return std::strerror(errno);
        }
        const UniqueFd client = socket_in(from, asked, SOCK_STREAM, IPPROTO_SCTP);
        if (::connect(client.get(), asked.get(), asked.size) != 0) {
            return std::strerror(errno);
        }
        const UniqueFd served(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        for (const std::size_t size : {std::size_t{100}, std::size_t{5000}, std::size_t{20000}}) {
            const std::string message(size, 'x');
            if (::send(client.get(), message.data(), size, 0) != std::ssize(message)) {
                return formatted("{} bytes are not sent: {}", size, std::strerror(errno));
            }
            std::string heard(size, '\0');
            for (std::size_t have = 0; have < size;) {
                const ssize_t came = ::recv(served.get(), heard.data() + have, size - have, 0);
                if (came <= 0) {
                    return formatted("of {} bytes {} came: {}", size, have, std::strerror(errno));
                }
                have += static_cast<std::size_t>(came);
            }
        }
        return "";
    }

    std::string web_address_;
};
INSTANTIATE_TEST_SUITE_P(Family, SctpTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

TEST_P(SctpTest, AMessageMayBeLargerThanAPacket) {
    const Address of_web = at(web_address_, 9);
    const Address of_host = at(net.host, 99);
    const Address of_outside = at(net.client, 999);
    EXPECT_EQ(exchange(web_.netns(), of_outside, outside(), of_outside), "") << "masqueraded";
    EXPECT_EQ(exchange(outside(), of_host, node(), of_host), "") << "the host's own";
    EXPECT_EQ(exchange(web_.netns(), of_host, node(), of_host), "") << "to the host";
    EXPECT_EQ(exchange(outside(), at(net.host, 9), web_.netns(), of_web), "") << "to a published port";
}

// Whose device takes it: one of veth's does not, and nobody would tell the sender.
TEST_P(SctpTest, TheHostComesToAPublishedPortUnlessItsContainerHasVeth) {
    const bool is_veth = status()["device_mode"]["active"] == "veth";
    for (const std::string& address : {net.host, net.loopback}) {
        EXPECT_EQ(exchange(node(), at(address, 9), web_.netns(), at(web_address_, 9)),
                  is_veth ? std::strerror(ECONNREFUSED) : "")
            << address;
    }
}

}  // namespace
}  // namespace netkitd::test
