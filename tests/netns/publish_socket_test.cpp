// Published ports, as a program of this host sees them: whom its sockets are told that they speak to, and which are
// left alone.
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>

#include "base/format.h"
#include "netns/publish.h"

namespace netkitd::test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

// Its addresses may be somebody else's there.
TEST_P(PublishTest, AnotherNetworkNamespacesSocketsAreLeftAlone) {
    ASSERT_TRUE(publish(web_, "web", "9:7"));
    const EchoServer server(web_.netns(), net.container);
    const NetworkNamespace stranger;
    stranger.run("ip link set lo up");
    stranger.run(formatted("ip addr add {} dev lo{}", net.host, net.name == "V4" ? "" : " nodad"));
    EXPECT_FALSE(connects(stranger, with_port(echo_at(net.host), 9)));
    EXPECT_EQ(bind_error(stranger, with_port(echo_at(net.host), 9), SOCK_STREAM), 0);
}

TEST_P(PublishTest, ASocketIsToldThatItsPeerIsWhomItAskedFor) {
    ASSERT_TRUE(publish(web_, "web", "9:7/tcp,9:7/udp"));
    const EchoServer server(web_.netns(), net.container);
    const Address asked = with_port(echo_at(net.loopback), 9);
    for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
        const UniqueFd socket = socket_in(node(), asked, type);
        ASSERT_EQ(::connect(socket.get(), asked.get(), asked.size), 0) << std::strerror(errno);
        EXPECT_EQ(peer_of(socket.get()), text_of(asked));
        stop(SIGKILL);
        ASSERT_TRUE(start());
        EXPECT_EQ(peer_of(socket.get()), text_of(asked)) << "after a restart";
    }
}

// A resolver's, which believes nobody else.
TEST_P(PublishTest, AConnectedSocketIsToldTheSenderWhomItAsked) {
    ASSERT_TRUE(publish(web_, "web", "9:7/udp"));
    const EchoServer server(web_.netns(), net.container);
    const Address asked = with_port(echo_at(net.host), 9);
    const UniqueFd socket = socket_in(node(), asked, SOCK_DGRAM);
    ASSERT_EQ(::connect(socket.get(), asked.get(), asked.size), 0) << std::strerror(errno);
    ASSERT_EQ(::send(socket.get(), "x", 1, 0), 1) << std::strerror(errno);
    EXPECT_EQ(sender_of_next(socket.get()), text_of(asked));
}

// An IPv6 socket that speaks IPv4, as programs of one socket for both do (RFC 4038, 4.2).
TEST_F(PublishTest4, AnIpv6SocketThatSpeaksIpv4IsLedToo) {
    ASSERT_TRUE(publish(web_, "web", "9:7/tcp,9:7/udp"));
    const EchoServer server(web_.netns(), net.container);
    const Address asked = with_port(echo_at("::ffff:127.0.0.1"), 9);
    const UniqueFd stream = socket_in(node(), asked, SOCK_STREAM);
    ASSERT_EQ(::connect(stream.get(), asked.get(), asked.size), 0) << std::strerror(errno);
    EXPECT_EQ(peer_of(stream.get()), text_of(asked));
    const UniqueFd datagrams = socket_in(node(), asked, SOCK_DGRAM);
    ASSERT_EQ(::sendto(datagrams.get(), "x", 1, 0, asked.get(), asked.size), 1) << std::strerror(errno);
    EXPECT_EQ(sender_of_next(datagrams.get()), text_of(asked));
    EXPECT_EQ(bind_error(node(), asked, SOCK_STREAM), EADDRINUSE);
}

// No route leads from there to a container: bound to a device, the packet would leave by it.
TEST_P(PublishTest, ASocketThatIsBoundToADeviceOrLoopbackIsLeftAlone) {
    ASSERT_TRUE(publish(web_, "web", "9:7"));
    const EchoServer server(web_.netns(), net.container);
    const Address asked = with_port(echo_at(net.loopback), 9);
    const UniqueFd to_device = socket_in(node(), asked, SOCK_STREAM);
    ASSERT_EQ(::setsockopt(to_device.get(), SOL_SOCKET, SO_BINDTODEVICE, "lo", 2), 0);
    EXPECT_EQ(::connect(to_device.get(), asked.get(), asked.size), -1);
    EXPECT_EQ(errno, ECONNREFUSED);
    const UniqueFd to_loopback = socket_bound_to(node(), with_port(asked, 0), SOCK_STREAM);
    EXPECT_EQ(::connect(to_loopback.get(), asked.get(), asked.size), -1);
    EXPECT_EQ(errno, ECONNREFUSED);
}

TEST_P(PublishTest, APublishedPortCannotBeBoundByAProgramOfTheHosts) {
    ASSERT_TRUE(publish(web_, "web", formatted("9:7/tcp,{}:10:10", net.in_brackets(net.host))));
    const auto bound = [&](const std::string& address, int port, int type = SOCK_STREAM) {
        return bind_error(node(), with_port(echo_at(address), port), type);
    };
    for (const std::string& address : {net.host, net.loopback, net.nowhere}) {
        SCOPED_TRACE(address);
        EXPECT_EQ(bound(address, 9), EADDRINUSE);
        EXPECT_EQ(bound(address, 9, SOCK_DGRAM), 0);
    }
    EXPECT_EQ(bound(net.host, 10), EADDRINUSE);
    EXPECT_EQ(bound(net.nowhere, 10), EADDRINUSE);
    EXPECT_EQ(bound(net.loopback, 10), 0);
    EXPECT_EQ(bind_error(web_.netns(), with_port(echo_at(net.container), 9), SOCK_STREAM), 0);
    ASSERT_TRUE(detach("web"));
    EXPECT_EQ(bound(net.host, 9), 0);
}

TEST_P(PublishTest, SocketsRunNoProgramWhileNothingIsPublished) {
    EXPECT_THAT(socket_programs(), IsEmpty());
    ASSERT_TRUE(publish(web_, "web", "9:7"));
    EXPECT_THAT(socket_programs(), Contains("socket-socket_connect4"));
    ASSERT_TRUE(detach("web"));
    EXPECT_THAT(socket_programs(), IsEmpty());
}

// What asks each datagram of this machine would cost all of them: they are translated on their way.
TEST_P(PublishTest, NoProgramIsAskedForDatagrams) {
    ASSERT_TRUE(publish(web_, "web", formatted("9:7/udp,{}:10:7/udp", net.in_brackets(net.loopback))));
    EXPECT_THAT(socket_programs(),
                UnorderedElementsAre("socket-socket_bind4", "socket-socket_bind6", "socket-socket_connect4",
                                     "socket-socket_connect6", "socket-socket_peer4", "socket-socket_peer6"));
}

TEST_P(PublishTest, ThoseOfAFormerVersionThatThisOneHasNotGo) {
    ASSERT_TRUE(publish(web_, "web", "9:7"));
    stop(SIGTERM);
    const std::filesystem::path links = pins() / "links";
    node().inside([&] {
        const UniqueFd link(bpf_obj_get((links / "socket-socket_peer4").c_str()));
        ASSERT_EQ(bpf_obj_pin(link.get(), (links / "socket-datagram_recv4").c_str()), 0) << std::strerror(errno);
    });
    EXPECT_THAT(socket_programs(), Contains("socket-datagram_recv4"));
    ASSERT_TRUE(start());
    EXPECT_THAT(socket_programs(), AllOf(Contains("socket-socket_peer4"), Not(Contains("socket-datagram_recv4"))));
}

}  // namespace
}  // namespace netkitd::test
