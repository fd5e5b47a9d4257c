// Published ports, as somebody outside and the administrator see them: who reaches what, by which address, and who is
// refused a port. (Each verdict of the programs is in bpf/arrival_test.cpp.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/format.h"
#include "base/join.h"
#include "harness/daemon_test.h"
#include "harness/packet.h"
#include "harness/traffic.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

struct Family {
    std::string name;
    std::string host;
    std::string client;
    std::string container;
    std::string loopback;
    std::string nowhere;
    std::string second;  // another one for the host

    [[nodiscard]] std::string in_brackets(const std::string& address) const {
        return name == "V4" ? address : formatted("[{}]", address);
    }
};
const Family kV4{.name = "V4",
                 .host = "198.51.100.1",
                 .client = "198.51.100.2",
                 .container = "10.77.0.2",
                 .loopback = "127.0.0.1",
                 .nowhere = "0.0.0.0",
                 .second = "198.51.100.7"};
const Family kV6{.name = "V6",
                 .host = "2001:db8:5::1",
                 .client = "2001:db8:5::2",
                 .container = "fd6e:6b64::2",
                 .loopback = "::1",
                 .nowhere = "::",
                 .second = "2001:db8:5::7"};

// What connect(2) says there; 0 if it does it.
[[nodiscard]] int connect_error(const NetworkNamespace& from, const Address& to) {
    const UniqueFd socket = socket_in(from, to, SOCK_STREAM);
    return ::connect(socket.get(), to.get(), to.size) == 0 ? 0 : errno;
}

[[nodiscard]] bool connects(const NetworkNamespace& from, const Address& to) {
    return connect_error(from, to) == 0;
}

// What bind(2) says; 0 if it does it.
[[nodiscard]] int bind_to(int socket, const Address& local) {
    return ::bind(socket, local.get(), local.size) == 0 ? 0 : errno;
}

[[nodiscard]] int bind_error(const NetworkNamespace& netns, const Address& local, int type) {
    const UniqueFd socket = socket_in(netns, local, type);
    return bind_to(socket.get(), local);
}

[[nodiscard]] std::string text_of(const Address& address) {
    std::array<char, INET6_ADDRSTRLEN> host{};
    std::array<char, 8> port{};
    const int error = ::getnameinfo(address.get(), address.size, host.data(), host.size(), port.data(), port.size(),
                                    NI_NUMERICHOST | NI_NUMERICSERV);
    return error == 0 ? formatted("{} {}", host.data(), port.data()) : ::gai_strerror(error);
}

// As getsockname(2) or getpeername(2) has it.
[[nodiscard]] std::string name_by(int (*call)(int, sockaddr*, socklen_t*), int socket) {
    Address name{.size = sizeof(sockaddr_storage)};
    const bool known = call(socket, reinterpret_cast<sockaddr*>(&name.storage), &name.size) == 0;
    return known ? text_of(name) : std::strerror(errno);
}

[[nodiscard]] std::string own_of(int socket) {
    return name_by(::getsockname, socket);
}

[[nodiscard]] std::string peer_of(int socket) {
    return name_by(::getpeername, socket);
}

[[nodiscard]] std::string sender_of_next(int socket) {
    std::array<char, 16> data{};
    Address sender{.size = sizeof(sockaddr_storage)};
    const bool came = ::recvfrom(socket, data.data(), data.size(), 0, reinterpret_cast<sockaddr*>(&sender.storage),
                                 &sender.size) >= 0;
    return came ? text_of(sender) : std::strerror(errno);
}

// The echo service's port is both the host's and the container's.
class PublishTestBase : public DaemonTest {
protected:
    explicit PublishTestBase(Family family) : net(std::move(family)) {}

    void SetUp() override {
        DaemonTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        node().run("ip addr add 2001:db8:5::1/64 dev up0 nodad");
        outside().run("ip addr add 2001:db8:5::2/64 dev eth0 nodad");
        ASSERT_TRUE(start());
    }
    Result<nlohmann::json> publish(const ContainerProcess& container, const std::string& id,
                                   const std::string& ports) const {
        return attach(container, id, {{"io.netkitd.publish", ports}});
    }
    [[nodiscard]] std::string refusal(const std::string& ports) const {
        const ContainerProcess container;
        const auto reply = publish(container, "refused", ports);
        EXPECT_TRUE(detach("refused"));
        return reply ? "published" : reply.error().message();
    }
    // The container's, of the test's family.
    [[nodiscard]] std::string address_in(const Result<nlohmann::json>& attached) const {
        return attached->at(net.name == "V4" ? "ipv4" : "ipv6");
    }
    // The pins of their links.
    [[nodiscard]] std::set<std::string> socket_programs() const {
        std::set<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(pins() / "links")) {
            const std::string name = entry.path().filename();
            if (name.starts_with("socket-")) {
                names.insert(name);
            }
        }
        return names;
    }
    [[nodiscard]] bool flush_flows() const {
        return call({.operation = ipc::Operation::flow_flush, .all = true}).has_value();
    }
    // As net.ipv4.ip_local_reserved_ports has them.
    [[nodiscard]] std::string reserved_ports() const {
        return node().run("sysctl -n net.ipv4.ip_local_reserved_ports");
    }
    void configure(const std::string& text) const {
        std::ofstream(scratch("netkitd.json")) << text;
        signal(SIGHUP);
    }
    // As by the container's mirror, which is asked by the host's address.
    [[nodiscard]] std::string seen_from_outside() const {
        const Address mirror = echo_at(net.host);
        const UniqueFd socket = socket_in(outside(), mirror, SOCK_DGRAM);
        return seen_as(socket.get(), mirror);
    }

    const Family net;
    const ContainerProcess web_;
};

class PublishTest : public PublishTestBase, public testing::WithParamInterface<Family> {
protected:
    PublishTest() : PublishTestBase(GetParam()) {}
};
class PublishTest4 : public PublishTestBase {
protected:
    PublishTest4() : PublishTestBase(kV4) {}
};
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

TEST_P(PublishTest, WithHoldAClientWaitsUntilSomebodyListens) {
    ASSERT_TRUE(publish(web_, "web", "7:7;hold=60"));
    auto asked = std::async(std::launch::async, [&] { return is_echoed(outside(), net.host); });
    ASSERT_TRUE(eventually([&] { return counted("held") > 0; }));
    const EchoServer server(web_.netns(), net.container);
    EXPECT_TRUE(asked.get());
    const std::uint64_t held = counted("held");
    EXPECT_TRUE(is_echoed(outside(), net.host));
    EXPECT_EQ(counted("held"), held);
}

TEST_P(PublishTest, WithHoldAClientWaitsForTheContainerToStartAgain) {
    ASSERT_TRUE(publish(web_, "web", "7:7;hold=60"));
    ASSERT_TRUE(detach("web"));
    auto asked = std::async(std::launch::async, [&] { return is_echoed(outside(), net.host); });
    ASSERT_TRUE(eventually([&] { return counted("held") > 0; }));
    EXPECT_EQ(bind_error(node(), echo_at(net.host), SOCK_STREAM), EADDRINUSE);
    EXPECT_FALSE(is_echoed(node(), net.host)) << "there is nobody to lead it to";
    const ContainerProcess again;
    const auto reply = publish(again, "web", "7:7;hold=60");
    ASSERT_TRUE(reply);
    const EchoServer server(again.netns(), address_in(reply));
    EXPECT_TRUE(asked.get());
    EXPECT_TRUE(is_echoed(node(), net.host));
}

// Whoever comes at whatever instant of it. (That a server ends connections that it has not served yet is its own.)
TEST_P(PublishTest, WithHoldNobodyIsRefusedWhileTheContainerStartsAgainUnderLoad) {
    std::atomic<int> connected = 0;
    std::atomic<int> refused = 0;
    const auto come = [&](const std::stop_token& end) {
        while (!end.stop_requested()) {
            ++(connects(outside(), echo_at(net.host)) ? connected : refused);
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    };
    std::vector<std::jthread> clients;
    for (int restart = 0; restart < 4; ++restart) {
        const ContainerProcess container;
        const auto reply = publish(container, "web", "7:7;hold=60");
        ASSERT_TRUE(reply);
        while (clients.size() < 20) {
            clients.emplace_back(come);
        }
        {
            const EchoServer server(container.netns(), address_in(reply));
            EXPECT_TRUE(eventually([&, before = connected.load()] { return connected > before + 100; }));
        }
        if (restart == 3) {
            for (auto& client : clients) {
                client.request_stop();
            }
            const EchoServer server(container.netns(), address_in(reply));
            clients.clear();
        }
        ASSERT_TRUE(detach("web"));
    }
    EXPECT_EQ(refused, 0);
    EXPECT_GT(counted("held"), 0U);
}

TEST_P(PublishTest, AHoldEndsWithItsTimeAndWithAnotherContainersPort) {
    ASSERT_TRUE(publish(web_, "web", "7:7;hold=1,9:9;hold=60"));
    EXPECT_EQ(connect_error(outside(), echo_at(net.host)), ECONNREFUSED) << "by the container";
    ASSERT_TRUE(detach("web"));
    EXPECT_EQ(connect_error(outside(), echo_at(net.host)), ECONNREFUSED) << "by the host";
    EXPECT_TRUE(eventually([&] { return bind_error(node(), echo_at(net.host), SOCK_STREAM) == 0; }));
    const ContainerProcess other;
    ASSERT_TRUE(publish(other, "other", "9:9"));
    EXPECT_EQ(connect_error(outside(), with_port(echo_at(net.host), 9)), ECONNREFUSED) << "at once";
}

// Whoever begins within it is kept waiting by what is in the kernel.
TEST_P(PublishTest, AHoldEndsWithItsTimeWhereNoDaemonRuns) {
    ASSERT_TRUE(publish(web_, "web", "7:7;hold=1"));
    ASSERT_TRUE(detach("web"));
    stop(SIGKILL);
    EXPECT_EQ(connect_error(outside(), echo_at(net.host)), ECONNREFUSED);
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
            R"({{"ports":[{{"address":null,"allowed":[],"connections":1,"container":"web",)"
            R"("container_port":7,"endpoint":1,"hold_seconds":0,"port":7,"proto":"udp"}},{{"address":null,"allowed":["{}/{}"],)"
            R"("connections":0,"container":"web","container_port":7,"endpoint":1,"hold_seconds":0,"port":9,"proto":"tcp"}}],)"
            R"("unreachable_from_host":null}})",
            net.client, single));
    EXPECT_EQ(
        status()["published"].dump(),
        R"({"datagram_programs":false,"datagram_sender_programs":true,"open":1,"ports":2,"socket_programs":true})");
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

// What is published by loopback is for the host alone; a container's loopback is its own.
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

// A socket that asks several, as a resolver's does.
TEST_P(PublishTest, ADatagramsSenderIsWhomItWasSentTo) {
    ASSERT_TRUE(publish(web_, "web", formatted("{}:9:7/udp,10:7/udp", net.in_brackets(net.loopback))));
    const ContainerProcess other;
    const auto reply = publish(other, "other", "11:7/udp");
    ASSERT_TRUE(reply);
    const EchoServer server(web_.netns(), net.container);
    const EchoServer others(other.netns(), address_in(reply));
    const UniqueFd socket = socket_in(node(), echo_at(net.loopback), SOCK_DGRAM);
    const Address first = with_port(echo_at(net.loopback), 11);
    for (const Address& asked : {first, with_port(echo_at(net.loopback), 9), with_port(echo_at(net.host), 10),
                                 with_port(echo_at(net.loopback), 9), with_port(echo_at(net.loopback), 10), first}) {
        ASSERT_EQ(::sendto(socket.get(), "x", 1, 0, asked.get(), asked.size), 1) << std::strerror(errno);
        EXPECT_EQ(sender_of_next(socket.get()), text_of(asked));
    }
}

// An IPv6 socket that speaks IPv4, as programs of one socket for both do (RFC 4038, 4.2).
TEST_F(PublishTest4, AnIpv6SocketThatSpeaksIpv4IsLedToo) {
    ASSERT_TRUE(publish(web_, "web", "9:7/tcp,127.0.0.1:9:7/udp"));
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

// It may be another machine's then, and the way there leads by this one.
TEST_P(PublishTest, AProgramThatServesAnotherAddressIsNotInTheWay) {
    configure(formatted(R"({{"services": {{"publish_address": ["{}"]}}}})", net.host));
    const EchoServer of_host(node(), net.loopback);
    EXPECT_TRUE(eventually([&] { return refusal("7:7") == "published"; }));
    const EchoServer in_the_way(node(), net.host);
    EXPECT_THAT(refusal("7:7"), HasSubstr("port 7/tcp of this host is taken by"));
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
    const auto programs = [&] { return socket_programs(); };
    EXPECT_THAT(programs(), IsEmpty());
    ASSERT_TRUE(publish(web_, "web", "9:7"));
    EXPECT_THAT(programs(), AllOf(Contains("socket-socket_connect4"), Not(Contains("socket-datagram_send4"))));
    const ContainerProcess names;
    ASSERT_TRUE(publish(names, "names", "9:7/udp"));
    EXPECT_THAT(programs(), Not(Contains("socket-datagram_send4")));
    ASSERT_TRUE(detach("names"));
    const ContainerProcess local;
    ASSERT_TRUE(publish(local, "names", formatted("{}:9:7/udp", net.in_brackets(net.loopback))));
    EXPECT_THAT(programs(), Contains("socket-datagram_send4"));
    ASSERT_TRUE(detach("names"));
    EXPECT_THAT(programs(), Not(Contains("socket-datagram_send4")));
    ASSERT_TRUE(detach("web"));
    EXPECT_THAT(programs(), IsEmpty());
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
