// Published ports, as somebody outside and on this host sees them: who reaches what, by which address. (Each verdict of
// the programs is in bpf/arrival_test.cpp.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <stop_token>
#include <string>
#include <thread>

#include "base/format.h"
#include "harness/packet.h"
#include "harness/wait.h"
#include "netns/publish.h"

namespace netkitd::test {
namespace {

using testing::Contains;
using testing::HasSubstr;

INSTANTIATE_TEST_SUITE_P(Family, PublishTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

TEST_P(PublishTest, SomebodyOutsideReachesTheContainerByTheHostsAddress) {
    ASSERT_TRUE(publish(web_, "web", "7:7/tcp,7:7/udp"));
    const EchoServer server(web_.netns(), net.container);
    EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_STREAM));
    EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_DGRAM));
    EXPECT_EQ(counted("flow-arrived"), 2U);
}

TEST_P(PublishTest, TheContainerSeesTheRealClient) {
    ASSERT_TRUE(publish(web_, "web", "7:7/udp"));
    const Mirror mirror(web_.netns(), net.container);
    EXPECT_EQ(seen_from_outside(), net.client);
}

TEST_P(PublishTest, WhereNobodyListensTheContainerRefuses) {
    ASSERT_TRUE(publish(web_, "web", "7:7"));
    EXPECT_EQ(connect_error(outside(), echo_at(net.host)), ECONNREFUSED);
    EXPECT_EQ(counted("flow-arrived"), 1U);
}

TEST_P(PublishTest, GoesOnWithoutADaemonAndOverARestart) {
    ASSERT_TRUE(publish(web_, "web", "7:7/tcp,7:7/udp"));
    const EchoServer server(web_.netns(), net.container);
    stop(SIGKILL);
    EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_STREAM));
    ASSERT_TRUE(start());
    EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_STREAM));
    EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_DGRAM));
    EXPECT_EQ(call({.operation = ipc::Operation::endpoint_show, .id = "web"})->at("published").dump(),
              R"(["7:7/tcp","7:7/udp"])");
}

// 200 connections a second each, from outside, from this host, and from another container.
TEST_P(PublishTest, NoConnectionFailsWhileTheDaemonIsKilledAndStarts) {
    ASSERT_TRUE(publish(web_, "web", "7:7"));
    const ContainerProcess other;
    ASSERT_TRUE(attach(other, "other"));
    const EchoServer server(web_.netns(), net.container);
    std::array<Tally, 3> tallies;
    {
        const std::jthread from_outside(
            [&](const std::stop_token& end) { connect_anew(end, outside(), echo_at(net.host), tallies[0]); });
        const std::jthread from_host(
            [&](const std::stop_token& end) { connect_anew(end, node(), echo_at(net.loopback), tallies[1]); });
        const std::jthread from_container(
            [&](const std::stop_token& end) { connect_anew(end, other.netns(), echo_at(net.host), tallies[2]); });
        for (int i = 0; i < 3; ++i) {
            stop(SIGKILL);
            ASSERT_TRUE(start());
        }
    }
    for (const Tally& tally : tallies) {
        EXPECT_GT(tally.came_back, 0U);
        EXPECT_EQ(tally.failed, 0U);
    }
}

TEST_P(PublishTest, ThePortListHasWhereTheyLeadAndWhoIsConnected) {
    ASSERT_TRUE(publish(web_, "web", formatted("7:7/udp,9:7;allow={}", net.client)));
    const Mirror mirror(web_.netns(), net.container);
    ASSERT_EQ(seen_from_outside(), net.client);
    const auto list = call({.operation = ipc::Operation::port_list});
    ASSERT_TRUE(list) << list.error().message();
    const std::string single = net.name == "V4" ? "32" : "128";
    EXPECT_EQ(
        list->dump(),
        formatted(
            R"({{"held":[],"ports":[{{"address":null,"allowed":[],"connections":1,"container":"web",)"
            R"("container_port":7,"endpoint":1,"hold_seconds":0,"port":7,"proto":"udp"}},{{"address":null,"allowed":["{}/{}"],)"
            R"("connections":0,"container":"web","container_port":7,"endpoint":1,"hold_seconds":0,"port":9,"proto":"tcp"}}],)"
            R"("publish_address":[],"unreachable_from_host":null}})",
            net.client, single));
    EXPECT_EQ(status()["published"].dump(), R"({"loopback_program":true,"open":1,"ports":2,"socket_programs":true})");
}

TEST_P(PublishTest, EndsWithTheContainer) {
    ASSERT_TRUE(publish(web_, "web", "7:7/udp"));
    {
        const Mirror mirror(web_.netns(), net.container);
        EXPECT_EQ(seen_from_outside(), net.client);
    }
    ASSERT_TRUE(detach("web"));
    const std::uint64_t before = counted("flow-arrived");
    EXPECT_EQ(seen_from_outside(), "");
    EXPECT_EQ(counted("flow-arrived"), before);
}

// A client that knows nothing of it goes on from its port.
TEST_P(PublishTest, AContainerThatStartsAgainGetsItsClientsNextDatagram) {
    ASSERT_TRUE(publish(web_, "web", "7:7/udp"));
    const Address published = echo_at(net.host);
    const UniqueFd client = socket_in(outside(), published, SOCK_DGRAM);
    {
        const Mirror mirror(web_.netns(), net.container);
        ASSERT_EQ(seen_as(client.get(), published), net.client);
        ASSERT_EQ(seen_as(client.get(), published), net.client);
    }
    const ContainerProcess again;
    const auto reply = publish(again, "web", "7:7/udp");
    ASSERT_TRUE(reply) << reply.error().message();
    const Mirror mirror(again.netns(), address_in(reply));
    EXPECT_EQ(seen_as(client.get(), published), net.client);
}

TEST_P(PublishTest, TheHostItselfReachesItByAnyOfItsAddressesAndByLoopback) {
    ASSERT_TRUE(publish(web_, "web", "7:7/tcp,7:7/udp"));
    const EchoServer server(web_.netns(), net.container);
    for (const std::string& address : {net.host, net.loopback, net.nowhere}) {
        SCOPED_TRACE(address);
        EXPECT_TRUE(is_echoed(node(), address, SOCK_STREAM));
        EXPECT_TRUE(is_echoed(node(), address, SOCK_DGRAM));
    }
    stop(SIGKILL);
    EXPECT_TRUE(is_echoed(node(), net.loopback, SOCK_STREAM));
    ASSERT_TRUE(start());
    EXPECT_TRUE(is_echoed(node(), net.loopback, SOCK_STREAM));
}

TEST_P(PublishTest, AnotherContainerAndTheContainerItselfReachItByTheHostsAddress) {
    ASSERT_TRUE(publish(web_, "web", "7:7/tcp,7:7/udp"));
    const ContainerProcess other;
    ASSERT_TRUE(attach(other, "other"));
    const EchoServer server(web_.netns(), net.container);
    for (const ContainerProcess* container : {&other, &web_}) {
        EXPECT_TRUE(is_echoed(container->netns(), net.host, SOCK_STREAM));
        EXPECT_TRUE(is_echoed(container->netns(), net.host, SOCK_DGRAM));
    }
}

TEST_P(PublishTest, OnlyThoseReachItWhomItAllowsAndTheHost) {
    const ContainerProcess friendly;
    const auto friends = attach(friendly, "friend");
    ASSERT_TRUE(friends);
    const std::string address = friends->at(net.name == "V4" ? "ipv4" : "ipv6");
    const ContainerProcess other;
    ASSERT_TRUE(attach(other, "other"));
    const auto reply = publish(web_, "web", formatted("9:7;allow={}", address));
    ASSERT_TRUE(reply) << reply.error().message();
    const EchoServer server(web_.netns(), address_in(reply));
    const Address asked = with_port(echo_at(net.host), 9);
    EXPECT_TRUE(connects(friendly.netns(), asked));
    EXPECT_FALSE(connects(other.netns(), asked));
    EXPECT_TRUE(connects(node(), asked));
    ASSERT_TRUE(detach("web"));
    const ContainerProcess again;
    const auto outside_too = publish(again, "again", formatted("9:7;allow={}", net.client));
    ASSERT_TRUE(outside_too);
    const EchoServer anew(again.netns(), outside_too->at(net.name == "V4" ? "ipv4" : "ipv6"));
    EXPECT_TRUE(connects(outside(), asked));
    EXPECT_FALSE(connects(friendly.netns(), asked));
    stop(SIGTERM);
    ASSERT_TRUE(start());
    EXPECT_FALSE(connects(friendly.netns(), asked));
    EXPECT_TRUE(connects(outside(), asked));
}

// As the host's own services, behind rp_filter.
TEST_F(PublishTest4, WhomItAllowsIsBelievedWhereHisWayBackIsTheSame) {
    auto forged = [&, port = std::uint16_t{5060}]() mutable {
        send_raw(outside(), Packet().ip("192.168.1.5", net.host).udp(port++, 7).payload("x"));
    };
    node().run(
        "ip link add lan0 type veth peer name lan1; ip addr add 192.168.1.1/24 dev lan0;"
        "ip link set lan0 up; ip link set lan1 up");
    ASSERT_TRUE(publish(web_, "web", formatted("7:7/udp;allow=192.168.1.0/24+{}", net.client)));
    forged();
    EXPECT_TRUE(eventually([&] { return counted("flow-arrived") == 1; }));
    node().run("sysctl -qw net.ipv4.conf.up0.rp_filter=1; ip link set lan1 down");
    EXPECT_TRUE(eventually([&] {
        forged();
        return counted("not-allowed") > 0;
    }));
    const Mirror mirror(web_.netns(), net.container);
    EXPECT_EQ(seen_from_outside(), net.client);
}

// A container's loopback is its own.
TEST_P(PublishTest, WhatIsPublishedByLoopbackIsForTheHostAlone) {
    ASSERT_TRUE(publish(web_, "web",
                        formatted("{}:9:7,{}:9:7/udp", net.in_brackets(net.loopback), net.in_brackets(net.loopback))));
    const ContainerProcess other;
    ASSERT_TRUE(attach(other, "other"));
    const EchoServer server(web_.netns(), net.container);
    EXPECT_TRUE(connects(node(), with_port(echo_at(net.loopback), 9)));
    EXPECT_FALSE(connects(node(), with_port(echo_at(net.host), 9)));
    EXPECT_FALSE(connects(other.netns(), with_port(echo_at(net.loopback), 9)));
    EXPECT_FALSE(connects(other.netns(), with_port(echo_at(net.host), 9)));
    EXPECT_FALSE(connects(outside(), with_port(echo_at(net.host), 9)));
}

// Nobody outside knows it by that address.
TEST_P(PublishTest, WhatAContainerSendsFromAPortOfLoopbacksLeavesAsAnyOther) {
    ASSERT_TRUE(publish(web_, "web", formatted("{}:9:9/udp", net.in_brackets(net.loopback))));
    const Mirror mirror(outside(), net.client);
    const UniqueFd socket = socket_bound_to(web_.netns(), with_port(echo_at(net.nowhere), 9), SOCK_DGRAM);
    EXPECT_EQ(seen_as(socket.get(), echo_at(net.client)), net.host);
}

TEST_P(PublishTest, AllAddressesMeansThoseThatTheConfigurationSays) {
    node().run(formatted("ip addr add {} dev up0{}", net.second, net.name == "V4" ? "" : " nodad"));
    configure(formatted(R"({{"services": {{"publish_address": ["{}"]}}}})", net.second));
    ASSERT_TRUE(publish(web_, "web", "7:7"));
    const EchoServer server(web_.netns(), net.container);
    EXPECT_TRUE(eventually([&] { return connects(outside(), echo_at(net.second)); }));
    EXPECT_FALSE(connects(outside(), echo_at(net.host)));
    EXPECT_TRUE(connects(node(), echo_at(net.second)));
    EXPECT_FALSE(connects(node(), echo_at(net.loopback)));
    configure("{}");
    EXPECT_TRUE(eventually([&] { return connects(outside(), echo_at(net.host)); }));
    EXPECT_TRUE(connects(node(), echo_at(net.loopback)));
}

TEST_P(PublishTest, AConfiguredAddressThatTheHostLacksIsNamed) {
    configure(R"({"services": {"publish_address": ["203.0.113.99"]}})");
    EXPECT_TRUE(
        eventually([&] { return testing::Matches(Contains(HasSubstr("`services.publish_address`")))(degraded()); }));
}

TEST_F(PublishTest4, OfMoreAddressesThanThereIsRoomForThoseThatTheConfigurationSaysComeFirst) {
    const auto is_named = [&] {
        return testing::Matches(Contains(HasSubstr("name those that are to have them in `services.publish_address`")))(
            degraded());
    };
    ASSERT_TRUE(publish(web_, "web", "7:7"));
    const EchoServer server(web_.netns(), net.container);
    node().run(
        "seq 0 4099 | awk '{ print \"address add 10.200.\" int($1 / 256) \".\" $1 % 256 \"/32 dev lo\" }' | ip -batch "
        "-");
    node().run("ip address add 192.0.2.200/32 dev lo");
    EXPECT_TRUE(eventually(is_named));
    configure(R"({"services": {"publish_address": ["192.0.2.200"]}})");
    EXPECT_TRUE(eventually([&] { return connects(node(), echo_at("192.0.2.200")); }));
    node().run("ip address flush dev lo to 10.200.0.0/16");
    EXPECT_TRUE(eventually([&] { return !is_named(); }));
}

TEST_P(PublishTest, AtAnAddressThatTheHostHasNoMoreNothingIsPublished) {
    node().run(formatted("ip addr add {} dev up0{}", net.second, net.name == "V4" ? "" : " nodad"));
    ASSERT_TRUE(publish(web_, "web", formatted("{}:7:7", net.in_brackets(net.second))));
    const EchoServer server(web_.netns(), net.container);
    ASSERT_TRUE(eventually([&] { return connects(node(), echo_at(net.second)); }));
    node().run(formatted("ip addr del {} dev up0", net.second));
    outside().run(formatted("ip addr add {} dev eth0{}", net.second, net.name == "V4" ? "" : " nodad"));
    EXPECT_TRUE(eventually([&] { return !connects(node(), echo_at(net.second)); }));
    const EchoServer other(outside(), net.second);
    EXPECT_TRUE(connects(node(), echo_at(net.second)));
    EXPECT_EQ(counted("flow-arrived"), 0U);
}

// A name server for the containers, say, at an address of theirs: what is published at one address leaves the others.
TEST_P(PublishTest, AtAnotherAddressTheHostServesThePortItself) {
    ASSERT_TRUE(
        publish(web_, "web", formatted("{}:7:7/tcp,{}:7:7/udp", net.in_brackets(net.host), net.in_brackets(net.host))));
    node().run(formatted("ip addr add {} dev up0{}", net.second, net.name == "V4" ? "" : " nodad"));
    const Mirror of_container(web_.netns(), net.container);
    const Mirror of_host(node(), net.second);
    EXPECT_EQ(seen_from_outside(), net.client);
    EXPECT_TRUE(eventually([&] {
        const UniqueFd socket = socket_in(outside(), echo_at(net.second), SOCK_DGRAM);
        return seen_as(socket.get(), echo_at(net.second)) == net.client;
    }));
    EXPECT_EQ(counted("flow-arrived"), 1U);
}

// What a flood has driven out, of a connection that waits for the server to speak.
TEST_P(PublishTest, AServerThatSpeaksFirstIsHeardAlthoughItsFlowIsLost) {
    ASSERT_TRUE(publish(web_, "web", "9:7"));
    const UniqueFd listener = socket_bound_to(web_.netns(), echo_at(net.container), SOCK_STREAM);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    const Address published = with_port(echo_at(net.host), 9);
    const UniqueFd client = socket_in(outside(), published, SOCK_STREAM);
    ASSERT_EQ(::connect(client.get(), published.get(), published.size), 0);
    const UniqueFd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(flush_flows());
    ASSERT_EQ(::send(server.get(), "220 hello", 9, MSG_NOSIGNAL), 9);
    std::array<char, 16> heard{};
    ASSERT_EQ(::recv(client.get(), heard.data(), heard.size(), 0), 9) << std::strerror(errno);
    ASSERT_EQ(::send(client.get(), "hello", 5, MSG_NOSIGNAL), 5);
    EXPECT_EQ(::recv(server.get(), heard.data(), heard.size(), 0), 5);
}

TEST_P(PublishTest, AContainerOfAnIsolatedOrRoutedNetworkIsReachedToo) {
    configure(R"({"networks": {"closed": {"ipv4": "10.79.0.0/24", "ipv6": "fd79::/64", "isolated": true},
                               "open": {"ipv4": "10.78.0.0/24", "ipv6": "fd78::/64", "masquerade": false}}})");
    for (const std::string network : {"closed", "open"}) {
        SCOPED_TRACE(network);
        const ContainerProcess container;
        Result<nlohmann::json> reply = fail(ErrorKind::internal, "not tried");
        ASSERT_TRUE(eventually([&] {
            reply = attach(container, network,
                           {{"io.netkitd.network", network}, {"io.netkitd.publish", "7:7/tcp,7:7/udp"}});
            return reply.has_value();
        })) << reply.error().message();
        const EchoServer server(container.netns(), address_in(reply));
        EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_STREAM));
        EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_DGRAM));
        ASSERT_TRUE(detach(network));
    }
}

}  // namespace
}  // namespace netkitd::test
