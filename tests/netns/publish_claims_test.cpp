// Who has a port of the host's, and who gets none that is published.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "base/format.h"
#include "base/join.h"
#include "harness/wait.h"
#include "netns/publish.h"

namespace netkitd::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// It may be another machine's then, and the way there leads by this one.
TEST_P(PublishTest, AProgramThatServesAnotherAddressIsNotInTheWay) {
    configure(formatted(R"({{"services": {{"publish_address": ["{}"]}}}})", net.host));
    const EchoServer of_host(node(), net.loopback);
    EXPECT_TRUE(eventually([&] { return refusal("7:7") == "published"; }));
    const EchoServer in_the_way(node(), net.host);
    EXPECT_THAT(refusal("7:7"), HasSubstr("port 7/tcp of this host is taken by"));
}

TEST_P(PublishTest, APortThatSomebodyHasIsRefusedByHisName) {
    ASSERT_TRUE(publish(web_, "web", "8080:80"));
    EXPECT_THAT(refusal("8080:81"), AllOf(HasSubstr("8080:81/tcp"), HasSubstr("container web has that port")));
    EXPECT_THAT(refusal("198.51.100.1:8080:81"), HasSubstr("container web has that port"));
    EXPECT_EQ(refusal("8080:80/udp"), "published");
    const UniqueFd not_listening = socket_bound_to(node(), with_port(echo_at(net.host), 11), SOCK_STREAM);
    EXPECT_THAT(refusal("11:7"), HasSubstr("port 11/tcp of this host is taken by"));
    const EchoServer of_host(node(), net.host);
    EXPECT_THAT(refusal("7:7"),
                AllOf(HasSubstr("port 7/tcp of this host is taken by 'netns_publish"), HasSubstr("pid")));
    EXPECT_THAT(refusal("198.51.100.99:80:80"), HasSubstr("this host does not have 198.51.100.99"));
    EXPECT_THAT(refusal("10.77.0.1:80:80"), HasSubstr("10.77.0.1 is the gateway of a network"));
    EXPECT_EQ(endpoints().size(), 1U);
}

// He would get all that its clients send, and answer for it.
TEST_P(PublishTest, AContainerThatHadThePortBeforeGetsNothingOfItsClients) {
    constexpr int kOfThePool = 50000;
    const ContainerProcess thief;
    ASSERT_TRUE(attach(thief, "thief"));
    const Address client = with_port(echo_at(net.client), 5060);
    const UniqueFd at_client = socket_bound_to(outside(), client, SOCK_DGRAM);
    const UniqueFd at_thief = socket_bound_to(thief.netns(), with_port(echo_at(net.nowhere), kOfThePool), SOCK_DGRAM);
    const Address published = with_port(echo_at(net.host), kOfThePool);
    ASSERT_EQ(::sendto(at_thief.get(), "x", 1, 0, client.get(), client.size), 1);
    ASSERT_EQ(sender_of_next(at_client.get()), text_of(published));
    ASSERT_EQ(::sendto(at_client.get(), "x", 1, 0, published.get(), published.size), 1);
    ASSERT_EQ(sender_of_next(at_thief.get()), text_of(client));
    const auto reply = publish(web_, "web", formatted("{}:7/udp", kOfThePool));
    ASSERT_TRUE(reply);
    const Mirror mirror(web_.netns(), address_in(reply));
    EXPECT_EQ(seen_as(at_client.get(), published), net.client);
    ASSERT_EQ(::sendto(at_thief.get(), "x", 1, 0, client.get(), client.size), 1);
    EXPECT_NE(sender_of_next(at_client.get()), text_of(published));
}

TEST_P(PublishTest, APortThatAConnectionOfTheHostsHasIsRefused) {
    const EchoServer server(outside(), net.client);
    const Address asked = echo_at(net.client);
    const UniqueFd socket = socket_in(node(), asked, SOCK_STREAM);
    ASSERT_EQ(bind_to(socket.get(), with_port(echo_at(net.host), 40000)), 0);
    ASSERT_EQ(::connect(socket.get(), asked.get(), asked.size), 0);
    EXPECT_THAT(refusal("40000:80"), HasSubstr("port 40000/tcp of this host is taken by 'netns_publish"));
    EXPECT_EQ(refusal("40000:80/udp"), "published");
    EXPECT_EQ(refusal(formatted("{}:40000:80", net.in_brackets(net.loopback))), "published");
}

TEST_P(PublishTest, TheHostsOwnConnectionsGetNoPublishedPort) {
    const auto chosen = [&] {
        const Address any = with_port(echo_at(net.host), 0);
        const UniqueFd socket = socket_in(node(), any, SOCK_STREAM);
        EXPECT_EQ(bind_to(socket.get(), any), 0);
        return own_of(socket.get());
    };
    node().run("sysctl -qw net.ipv4.ip_local_port_range='40000 42303'");
    EXPECT_THAT(refusal("40000-40999:1-1000"),
                AllOf(HasSubstr("would leave this host 1304 ports for its own connections"), HasSubstr("keeps 2048")));
    ASSERT_TRUE(publish(web_, "web", "40001-40255:1-255"));
    EXPECT_THAT(reserved_ports(), HasSubstr("40001-40255,"));
    node().run("sysctl -qw net.ipv4.ip_local_port_range='40000 40255'");
    EXPECT_EQ(chosen(), formatted("{} 40000", net.host));
    stop(SIGKILL);
    ASSERT_TRUE(start());
    EXPECT_THAT(reserved_ports(), HasSubstr("40001-40255,"));
    ASSERT_TRUE(detach("web"));
    EXPECT_THAT(reserved_ports(), Not(HasSubstr("4000")));
}

// More than the kernel takes or tells in one piece of less than a page.
TEST_F(PublishTest4, HundredsOfPortsAreReserved) {
    const std::string before = reserved_ports();
    const auto each_other_from = [](int first) {
        std::vector<std::string> ports;
        std::ranges::generate_n(std::back_inserter(ports), 450,
                                [port = first]() mutable { return std::to_string(std::exchange(port, port + 2)); });
        return ports;
    };
    const auto to_80 = [](const std::string& port) { return port + ":80"; };
    const ContainerProcess second;
    ASSERT_TRUE(publish(web_, "web", join(each_other_from(10001), to_80, ",")));
    ASSERT_TRUE(publish(second, "second", join(each_other_from(10901), to_80, ",")));
    EXPECT_THAT(reserved_ports(), HasSubstr(join(each_other_from(10001), std::identity{}, ",") + "," +
                                            join(each_other_from(10901), std::identity{}, ",")));
    ASSERT_TRUE(detach("web"));
    ASSERT_TRUE(detach("second"));
    EXPECT_EQ(reserved_ports(), before);
}

}  // namespace
}  // namespace netkitd::test
