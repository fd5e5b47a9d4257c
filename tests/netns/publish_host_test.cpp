// Published ports, as datagrams of this host's own programs find them: by any of its addresses, whether their sockets
// are connected or not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "base/format.h"
#include "harness/wait.h"
#include "netns/publish.h"

namespace netkitd::test {
namespace {

using testing::HasSubstr;

class PublishHostTest : public PublishTest {
protected:
    void SetUp() override {
        PublishTest::SetUp();
        node().run(formatted("ip addr add {} dev up0{}", net.second, net.name == "V4" ? "" : " nodad"));
        const auto published = publish(web_, "web", "9:7/udp");
        ASSERT_TRUE(published) << published.error().message();
        web_address_ = address_in(published);
    }
    [[nodiscard]] Address at(const std::string& address) const { return with_port(echo_at(address), 9); }
    [[nodiscard]] bool has_program() const { return std::filesystem::exists(pins() / "links" / "loopback"); }
    [[nodiscard]] std::string sysctls_of_loopback() const {
        return node().run("sysctl -n net.ipv4.conf.lo.accept_local net.ipv4.conf.lo.route_localnet");
    }
    [[nodiscard]] std::string gateway() const { return net.name == "V4" ? "10.77.0.1" : "fd6e:6b64::1"; }

    std::string web_address_;
    const Address by_host_ = at(net.host);
    const Address by_loopback_ = at(net.loopback);
};
INSTANTIATE_TEST_SUITE_P(Family, PublishHostTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

// As a resolver does that asks several.
TEST_P(PublishHostTest, AnUnconnectedSocketIsAnsweredFromWhereItAsked) {
    const EchoServer server(web_.netns(), web_address_);
    const UniqueFd socket = socket_in(node(), by_host_, SOCK_DGRAM);
    const auto is_answered = [&](const Address& asked) {
        EXPECT_EQ(::sendto(socket.get(), "x", 1, 0, asked.get(), asked.size), 1) << std::strerror(errno);
        return sender_of_next(socket.get()) == text_of(asked);
    };
    for (const Address& asked : {by_loopback_, by_host_, by_loopback_, by_host_}) {
        EXPECT_TRUE(is_answered(asked)) << text_of(asked);
    }
    EXPECT_TRUE(eventually([&] { return is_answered(at(net.second)); })) << "that the host has just got";
}

TEST_P(PublishHostTest, TheContainerSeesTheAddressThatTheProgramHasOrItsGateway) {
    const Mirror mirror(web_.netns(), web_address_);
    const UniqueFd to_host = socket_in(node(), by_host_, SOCK_DGRAM);
    EXPECT_EQ(seen_as(to_host.get(), by_host_), net.host);
    const UniqueFd by_second = socket_bound_to(node(), with_port(echo_at(net.second), 0), SOCK_DGRAM);
    EXPECT_TRUE(eventually([&] { return seen_as(by_second.get(), by_host_) == net.second; })) << "that it has just got";
    const UniqueFd to_loopback = socket_in(node(), by_loopback_, SOCK_DGRAM);
    EXPECT_EQ(seen_as(to_loopback.get(), by_loopback_), gateway());
}

// Which a connection cannot.
TEST_P(PublishHostTest, ASocketThatIsBoundToLoopbackComesThereToo) {
    const Mirror mirror(web_.netns(), web_address_);
    const UniqueFd socket = socket_bound_to(node(), with_port(by_loopback_, 0), SOCK_DGRAM);
    EXPECT_EQ(seen_as(socket.get(), by_loopback_), gateway());
}

TEST_P(PublishHostTest, ASocketOutlivesTheContainerThatItSpeaksTo) {
    const ContainerProcess first;
    const ContainerProcess second;
    for (const auto& [asked, seen] : {std::pair(by_host_, net.host), std::pair(by_loopback_, gateway())}) {
        SCOPED_TRACE(text_of(asked));
        const UniqueFd socket = socket_in(node(), asked, SOCK_DGRAM);
        ASSERT_EQ(::connect(socket.get(), asked.get(), asked.size), 0) << std::strerror(errno);
        EXPECT_EQ(peer_of(socket.get()), text_of(asked));
        for (const ContainerProcess* container : {&first, &second}) {
            ASSERT_TRUE(detach("web"));
            const auto again = publish(*container, "web", "9:7/udp");
            ASSERT_TRUE(again) << again.error().message();
            const Mirror mirror(container->netns(), address_in(again));
            EXPECT_EQ(seen_as(socket.get(), asked), seen);
            EXPECT_EQ(seen_as(socket.get(), asked), seen);
        }
    }
}

// The kernel keeps a link for a moment after its pin is removed, and refuses the same program meanwhile.
TEST_P(PublishHostTest, ThePortsOfTheNextContainerAreReachedAtOnce) {
    const ContainerProcess next;
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(detach("web"));
        ASSERT_TRUE(publish(next, "web", "9:7/udp"));
        ASSERT_TRUE(has_program()) << i;
    }
}

TEST_P(PublishHostTest, WithTheDaemonDeadItGoesOn) {
    const Mirror mirror(web_.netns(), web_address_);
    stop(SIGKILL);
    for (const auto& [asked, seen] : {std::pair(by_host_, net.host), std::pair(by_loopback_, gateway())}) {
        const UniqueFd socket = socket_in(node(), asked, SOCK_DGRAM);
        EXPECT_EQ(seen_as(socket.get(), asked), seen);
    }
}

TEST_P(PublishHostTest, WhereNobodyListensItIsRefused) {
    for (const Address& asked : {by_host_, by_loopback_}) {
        SCOPED_TRACE(text_of(asked));
        const UniqueFd socket = socket_in(node(), asked, SOCK_DGRAM);
        ASSERT_EQ(::connect(socket.get(), asked.get(), asked.size), 0) << std::strerror(errno);
        ASSERT_EQ(::send(socket.get(), "x", 1, 0), 1) << std::strerror(errno);
        std::array<char, 1> heard{};
        EXPECT_EQ(::recv(socket.get(), heard.data(), heard.size(), 0), -1);
        EXPECT_EQ(errno, ECONNREFUSED);
    }
}

// In fragments.
TEST_P(PublishHostTest, AnAnswerMayBeLargerThanAPacket) {
    const UniqueFd server = socket_bound_to(web_.netns(), echo_at(web_address_), SOCK_DGRAM);
    const std::string large(4000, 'x');
    for (const Address& asked : {by_host_, by_loopback_}) {
        SCOPED_TRACE(text_of(asked));
        const UniqueFd socket = socket_in(node(), asked, SOCK_DGRAM);
        ASSERT_EQ(::sendto(socket.get(), "x", 1, 0, asked.get(), asked.size), 1) << std::strerror(errno);
        const std::optional<Address> client = next_sender(server.get());
        ASSERT_TRUE(client) << std::strerror(errno);
        std::string heard(large.size() + 1, '\0');
        ASSERT_EQ(::sendto(server.get(), large.data(), large.size(), 0, client->get(), client->size), std::ssize(large))
            << std::strerror(errno);
        EXPECT_EQ(::recv(socket.get(), heard.data(), heard.size(), 0), std::ssize(large)) << std::strerror(errno);
    }
}

// A device of veth's drops it, so that it is counted by name.
TEST_P(PublishHostTest, AQuestionMayBeLargerThanAPacketButByVeth) {
    const UniqueFd server = socket_bound_to(web_.netns(), echo_at(web_address_), SOCK_DGRAM);
    const UniqueFd socket = socket_in(node(), by_host_, SOCK_DGRAM);
    const std::string large(4000, 'x');
    ASSERT_EQ(::sendto(socket.get(), large.data(), large.size(), 0, by_host_.get(), by_host_.size), std::ssize(large))
        << std::strerror(errno);
    if (status()["device_mode"]["active"] == "veth") {
        EXPECT_EQ(counted("too-big"), 1U);
        return;
    }
    std::string heard(large.size() + 1, '\0');
    EXPECT_EQ(::recv(server.get(), heard.data(), heard.size(), 0), std::ssize(large)) << std::strerror(errno);
}

// This host may come anywhere.
TEST_P(PublishHostTest, WhomAPortAllowsIsAboutOthers) {
    const ContainerProcess some;
    const auto reply = publish(some, "some", formatted("11:7/udp;allow={}", net.client));
    ASSERT_TRUE(reply) << reply.error().message();
    const Mirror mirror(some.netns(), address_in(reply));
    for (const std::string& address : {net.host, net.loopback}) {
        const Address asked = with_port(echo_at(address), 11);
        EXPECT_NE(seen_as(socket_in(node(), asked, SOCK_DGRAM).get(), asked), "") << address;
    }
}

TEST_P(PublishHostTest, ItsOwnServicesByOtherPortsAreLeftAlone) {
    const Mirror own(node(), net.host);
    const Mirror of_loopback(node(), net.loopback);
    for (const std::string& address : {net.host, net.loopback}) {
        const Address asked = echo_at(address);
        EXPECT_EQ(seen_as(socket_in(node(), asked, SOCK_DGRAM).get(), asked), address);
    }
}

// Who is asked may take his time.
TEST_P(PublishHostTest, AnAnswerAfterARestartOfTheDaemonComesFromWhereItWasAsked) {
    const UniqueFd server = socket_bound_to(web_.netns(), echo_at(web_address_), SOCK_DGRAM);
    for (const Address& asked : {by_host_, by_loopback_}) {
        SCOPED_TRACE(text_of(asked));
        const UniqueFd socket = socket_in(node(), asked, SOCK_DGRAM);
        ASSERT_EQ(::sendto(socket.get(), "x", 1, 0, asked.get(), asked.size), 1) << std::strerror(errno);
        const std::optional<Address> client = next_sender(server.get());
        ASSERT_TRUE(client) << std::strerror(errno);
        stop(SIGTERM);
        ASSERT_TRUE(start());
        ASSERT_EQ(::sendto(server.get(), "y", 1, 0, client->get(), client->size), 1) << std::strerror(errno);
        EXPECT_EQ(sender_of_next(socket.get()), text_of(asked));
    }
}

// All that the host sends to itself runs it.
TEST_P(PublishHostTest, TheProgramIsThereWhileSomethingNeedsIt) {
    EXPECT_TRUE(has_program());
    ASSERT_TRUE(detach("web"));
    EXPECT_FALSE(has_program());
    const ContainerProcess other;
    ASSERT_TRUE(publish(other, "other", "10:10"));
    EXPECT_FALSE(has_program()) << "sockets are led";
    ASSERT_TRUE(publish(web_, "web", "9:7/udp"));
    EXPECT_TRUE(has_program());
}

TEST_P(PublishHostTest, WhatItNeedsOfTheLoopbackDeviceIsPutBack) {
    EXPECT_EQ(sysctls_of_loopback(), "1\n1\n");
    EXPECT_THAT(status()["host_changes"].dump(), HasSubstr("sysctl net/ipv4/conf/lo/route_localnet"));
    stop(SIGTERM);
    purge();
    EXPECT_EQ(sysctls_of_loopback(), "0\n0\n");
    EXPECT_FALSE(has_program());
}

TEST_P(PublishHostTest, WhatItNeedsIsGivenBackWithTheLastPort) {
    ASSERT_TRUE(detach("web"));
    EXPECT_EQ(sysctls_of_loopback(), "0\n0\n");
}

}  // namespace
}  // namespace netkitd::test
