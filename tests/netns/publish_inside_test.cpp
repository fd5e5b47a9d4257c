// Published ports, as datagrams of containers find them: whether their sockets are connected or not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "base/format.h"
#include "netns/publish.h"

namespace netkitd::test {
namespace {

class PublishInsideTest : public PublishTest {
protected:
    void SetUp() override {
        PublishTest::SetUp();
        const auto reply = attach(client_, "client");
        ASSERT_TRUE(reply) << reply.error().message();
        client_address_ = address_in(reply);
        const auto published = publish(web_, "web", "9:7/udp");
        ASSERT_TRUE(published) << published.error().message();
        web_address_ = address_in(published);
    }

    const ContainerProcess client_;
    std::string client_address_;
    std::string web_address_;
    const Address asked_ = with_port(echo_at(net.host), 9);
};
INSTANTIATE_TEST_SUITE_P(Family, PublishInsideTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

// As musl's resolver does.
TEST_P(PublishInsideTest, AnUnconnectedSocketIsAnsweredFromWhereItAsked) {
    const Mirror mirror(web_.netns(), web_address_);
    const UniqueFd socket = socket_in(client_.netns(), asked_, SOCK_DGRAM);
    ASSERT_EQ(::sendto(socket.get(), "x", 1, 0, asked_.get(), asked_.size), 1) << std::strerror(errno);
    EXPECT_EQ(sender_of_next(socket.get()), text_of(asked_));
    stop(SIGKILL);
    EXPECT_EQ(seen_as(socket.get(), asked_), client_address_);
}

// Who is asked may take his time.
TEST_P(PublishInsideTest, AnAnswerAfterARestartOfTheDaemonComesFromWhereItWasAsked) {
    const UniqueFd server = socket_bound_to(web_.netns(), echo_at(web_address_), SOCK_DGRAM);
    const UniqueFd socket = socket_in(client_.netns(), asked_, SOCK_DGRAM);
    ASSERT_EQ(::sendto(socket.get(), "x", 1, 0, asked_.get(), asked_.size), 1) << std::strerror(errno);
    const std::optional<Address> client = next_sender(server.get());
    ASSERT_TRUE(client) << std::strerror(errno);
    stop(SIGTERM);
    ASSERT_TRUE(start());
    ASSERT_EQ(::sendto(server.get(), "y", 1, 0, client->get(), client->size), 1) << std::strerror(errno);
    EXPECT_EQ(sender_of_next(socket.get()), text_of(asked_));
}

TEST_P(PublishInsideTest, AContainerAsksItself) {
    const EchoServer server(web_.netns(), web_address_);
    const UniqueFd socket = socket_in(web_.netns(), asked_, SOCK_DGRAM);
    ASSERT_EQ(::sendto(socket.get(), "x", 1, 0, asked_.get(), asked_.size), 1) << std::strerror(errno);
    EXPECT_EQ(sender_of_next(socket.get()), text_of(asked_));
}

TEST_P(PublishInsideTest, ASocketOutlivesTheContainerThatItSpeaksTo) {
    const UniqueFd socket = socket_in(client_.netns(), asked_, SOCK_DGRAM);
    ASSERT_EQ(::connect(socket.get(), asked_.get(), asked_.size), 0) << std::strerror(errno);
    EXPECT_EQ(peer_of(socket.get()), text_of(asked_));
    {
        const Mirror mirror(web_.netns(), web_address_);
        ASSERT_EQ(seen_as(socket.get(), asked_), client_address_);
        ASSERT_EQ(seen_as(socket.get(), asked_), client_address_);
    }
    const ContainerProcess again;
    const auto reply = publish(again, "web", "9:7/udp");
    ASSERT_TRUE(reply) << reply.error().message();
    const Mirror mirror(again.netns(), address_in(reply));
    EXPECT_EQ(seen_as(socket.get(), asked_), client_address_);
}

TEST_P(PublishInsideTest, WhereNobodyListensItIsRefused) {
    const UniqueFd socket = socket_in(client_.netns(), asked_, SOCK_DGRAM);
    ASSERT_EQ(::connect(socket.get(), asked_.get(), asked_.size), 0) << std::strerror(errno);
    ASSERT_EQ(::send(socket.get(), "x", 1, 0), 1) << std::strerror(errno);
    std::array<char, 1> heard{};
    EXPECT_EQ(::recv(socket.get(), heard.data(), heard.size(), 0), -1);
    EXPECT_EQ(errno, ECONNREFUSED);
}

// In fragments, there and back; to the host itself, too.
TEST_P(PublishInsideTest, ADatagramMayBeLargerThanAPacket) {
    const EchoServer of_web(web_.netns(), web_address_);
    const EchoServer of_host(node(), net.host);
    for (const Address& asked : {asked_, echo_at(net.host)}) {
        const UniqueFd socket = socket_in(client_.netns(), asked, SOCK_DGRAM);
        const std::string large(4000, 'x');
        ASSERT_EQ(::sendto(socket.get(), large.data(), large.size(), 0, asked.get(), asked.size), std::ssize(large))
            << std::strerror(errno);
        std::string heard(large.size() + 1, '\0');
        EXPECT_EQ(::recv(socket.get(), heard.data(), heard.size(), 0), std::ssize(large)) << std::strerror(errno);
    }
}

TEST_P(PublishInsideTest, WhoeverItDoesNotAllowIsRefused) {
    const ContainerProcess some;
    const auto reply = publish(some, "some", formatted("11:7/udp;allow={}", web_address_));
    ASSERT_TRUE(reply) << reply.error().message();
    const EchoServer server(some.netns(), address_in(reply));
    const Address asked = with_port(asked_, 11);
    for (const auto& [from, error] : {std::pair(&web_, 0), std::pair(&client_, ECONNREFUSED)}) {
        const UniqueFd socket = socket_in(from->netns(), asked, SOCK_DGRAM);
        ASSERT_EQ(::connect(socket.get(), asked.get(), asked.size), 0) << std::strerror(errno);
        ASSERT_EQ(::send(socket.get(), "x", 1, 0), 1) << std::strerror(errno);
        std::array<char, 1> heard{};
        EXPECT_EQ(::recv(socket.get(), heard.data(), heard.size(), 0) == 1 ? 0 : errno, error);
    }
}

}  // namespace
}  // namespace netkitd::test
