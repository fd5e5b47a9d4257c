// The host and its other NATs come first: whatever a container does with the ports of the pool, answers to what the
// host sends from one, or a container of another runtime behind nftables' masquerade, are theirs.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <deque>
#include <thread>
#include <vector>

#include "abi.h"
#include "base/format.h"
#include "harness/daemon_test.h"
#include "harness/traffic.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;

// All over the pool.
constexpr int kQuestions = 200;
constexpr int port_of(int question) {
    constexpr int kFirst = 49152;
    constexpr int kPorts = 16384;
    return kFirst + question * (kPorts / kQuestions);
}

// Of that netns, bound to that port of any of its addresses.
UniqueFd socket_at(const NetworkNamespace& netns, int type, int port) {
    return socket_bound_to(netns, with_port(echo_at("0.0.0.0"), port), type);
}

void bind_to_uplink(const UniqueFd& socket) {
    EXPECT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_BINDTODEVICE, "up0", 3), 0) << std::strerror(errno);
}

// Whether what is sent there by the connected socket comes back; perhaps behind an answer to another's question, which
// was under way when the host took the port.
bool is_echoed(const UniqueFd& socket) {
    std::array<char, 16> answer{};
    pollfd wait{.fd = socket.get(), .events = POLLIN, .revents = 0};
    if (::send(socket.get(), "name", 4, MSG_NOSIGNAL) != 4) {
        return false;
    }
    ssize_t size = 1;
    while (size == 1 && ::poll(&wait, 1, 3000) == 1) {
        size = ::recv(socket.get(), answer.data(), answer.size(), 0);
    }
    return size == 4;
}

// Whether there is something to read within a tenth of a second; it is read.
bool receives(const UniqueFd& socket) {
    std::array<char, 16> data{};
    pollfd wait{.fd = socket.get(), .events = POLLIN, .revents = 0};
    return ::poll(&wait, 1, 100) == 1 && ::recv(socket.get(), data.data(), data.size(), 0) >= 0;
}

// Asks once, from that port.
bool asks(const NetworkNamespace& from, const Address& remote, int port) {
    const UniqueFd socket = socket_at(from, SOCK_DGRAM, port);
    return ::connect(socket.get(), remote.get(), remote.size) == 0 && is_echoed(socket);
}

// Sends a datagram from each port that others will ask from.
void ask_from_every_port(const NetworkNamespace& from, const Address& remote) {
    for (int question = 0; question < kQuestions; ++question) {
        const UniqueFd socket = socket_at(from, SOCK_DGRAM, port_of(question));
        (void)::sendto(socket.get(), "x", 1, 0, remote.get(), remote.size);
    }
}

// ECONNREFUSED, 0, or ETIMEDOUT for no answer within a second.
int result_of_connecting(const NetworkNamespace& from, const Address& remote) {
    const UniqueFd socket = socket_in(from, remote, SOCK_STREAM | SOCK_NONBLOCK);
    if (::connect(socket.get(), remote.get(), remote.size) != 0 && errno != EINPROGRESS) {
        return errno;
    }
    pollfd wait{.fd = socket.get(), .events = POLLOUT, .revents = 0};
    if (::poll(&wait, 1, 1000) != 1) {
        return ETIMEDOUT;
    }
    int error = 0;
    socklen_t size = sizeof(error);
    ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

// Beside netkitd's containers, one of another runtime: 172.30.0.2 behind the host's 172.30.0.1, which forwards.
class HostFlowTest : public DaemonTest {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        connect(node(), "docker0", other_, "eth0");
        node().run("ip addr add 172.30.0.1/24 dev docker0 && sysctl -qw net.ipv4.ip_forward=1");
        other_.run("ip addr add 172.30.0.2/24 dev eth0 && ip route add default via 172.30.0.1");
        ASSERT_TRUE(start());
        ASSERT_TRUE(attach(attacker_, "attacker"));
    }
    [[nodiscard]] static bool add_nat_rule(const NetworkNamespace& netns, const std::string& chain,
                                           const std::string& rule) {
        return netns.succeeds("nft 'add table ip theirs; add chain ip theirs nat { type nat hook " + chain +
                              "; }; add rule ip theirs nat " + rule + "'");
    }
    [[nodiscard]] bool masquerade_the_other() const {
        return add_nat_rule(node(), "postrouting priority srcnat", "ip saddr 172.30.0.0/24 oifname up0 masquerade");
    }
    // How many of all questions are answered.
    [[nodiscard]] int answered(const NetworkNamespace& from) const {
        int count = 0;
        for (int question = 0; question < kQuestions; ++question) {
            count += asks(from, remote_, port_of(question)) ? 1 : 0;
        }
        return count;
    }
    [[nodiscard]] int flows_of_host() const {
        ipc::Request hosts{.operation = ipc::Operation::flow_list};
        hosts.flows.hosts = true;
        const nlohmann::json flows = *call(std::move(hosts));
        for (const nlohmann::json& flow : flows.at("flows")) {
            EXPECT_EQ(flow.at("endpoint"), 0);
        }
        return static_cast<int>(flows.at("flows").size());
    }
    // Somebody outside asks that service of the host's from more ports than answers are known of: they must not take
    // what the host's own flows have.
    void expect_answers_take_nothing_of_the_hosts(int port) const {
        const Address service = with_port(echo_at("198.51.100.1"), port);
        constexpr int kClients = NK_HOST_ANSWERS + 100;
        for (int client = 0; client < kClients; ++client) {
            const UniqueFd socket = socket_at(outside(), SOCK_DGRAM, 20000 + client);
            ASSERT_EQ(::connect(socket.get(), service.get(), service.size), 0) << std::strerror(errno);
            ASSERT_TRUE(is_echoed(socket)) << client;
        }
        EXPECT_EQ(flows_of_host(), NK_HOST_ANSWERS);
        EXPECT_EQ(counted("host-flow-refused"), 0U);
        EXPECT_THAT(degraded(), testing::Not(Contains(HasSubstr("the host"))));
    }

    const NetworkNamespace other_;
    const ContainerProcess attacker_;
    const Address remote_ = echo_at("198.51.100.2");
};

TEST_F(HostFlowTest, AContainerThatAskedFromEveryPortGetsNoAnswerOfTheHosts) {
    const EchoServer echo(outside(), "198.51.100.2");
    ask_from_every_port(attacker_.netns(), remote_);
    const std::jthread attack([&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            ask_from_every_port(attacker_.netns(), remote_);
        }
    });
    EXPECT_EQ(answered(node()), kQuestions);
    stop(SIGKILL);
    EXPECT_EQ(answered(node()), kQuestions) << "without a daemon";
}

TEST_F(HostFlowTest, NorAnyOfAContainerBehindMasquerade) {
    if (!masquerade_the_other()) {
        GTEST_SKIP() << "this kernel has no NAT of nftables";
    }
    const EchoServer echo(outside(), "198.51.100.2");
    ask_from_every_port(attacker_.netns(), remote_);
    const std::jthread attack([&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            ask_from_every_port(attacker_.netns(), remote_);
        }
    });
    EXPECT_EQ(answered(other_), kQuestions);
    EXPECT_GE(counted("host-flow"), std::uint64_t{kQuestions});
    stop(SIGKILL);
    EXPECT_EQ(answered(other_), kQuestions) << "without a daemon";
}

// Its own devices' filters mark packets, which stay marked on their way through the host.
TEST_F(HostFlowTest, NorOfOneThatSaysThatItsPacketsAreOurs) {
    if (!masquerade_the_other()) {
        GTEST_SKIP() << "this kernel has no NAT of nftables";
    }
    if (!other_.succeeds(formatted("tc qdisc add dev eth0 clsact && "
                                   "tc filter add dev eth0 egress matchall classid 1:{:x}",
                                   NK_TC_INDEX_TRANSLATED))) {
        GTEST_SKIP() << "this kernel has no filter that classifies";
    }
    const EchoServer echo(outside(), "198.51.100.2");
    ASSERT_TRUE(asks(attacker_.netns(), remote_, port_of(0)));
    EXPECT_TRUE(asks(other_, remote_, port_of(0)));
    EXPECT_EQ(flows_of_host(), 1);
}

TEST_F(HostFlowTest, APingOfTheHostsIsAnsweredWhoseIdAContainerHas) {
    const std::string pings = "for id in $(seq 50000 50019); do ping -q -e $id -c 1 -W 5 198.51.100.2 || exit; done";
    EXPECT_TRUE(attacker_.netns().succeeds(pings));
    EXPECT_TRUE(node().succeeds(pings));
    EXPECT_EQ(counted("host-took-port"), 20U);
    EXPECT_TRUE(attacker_.netns().succeeds(pings)) << "by other ids";
}

TEST_F(HostFlowTest, AConnectionOfTheHostsEndsAContainersWithItsPort) {
    const EchoServer echo(outside(), "198.51.100.2");
    const UniqueFd containers = socket_at(attacker_.netns(), SOCK_STREAM, 50000);
    ASSERT_EQ(::connect(containers.get(), remote_.get(), remote_.size), 0) << std::strerror(errno);
    ASSERT_TRUE(is_echoed(containers));
    outside().run("ss -K sport = 7 dport = 50000 || true");  // else it would answer the host's as that connection
    const UniqueFd hosts = socket_at(node(), SOCK_STREAM, 50000);
    ASSERT_EQ(::connect(hosts.get(), remote_.get(), remote_.size), 0) << std::strerror(errno);
    EXPECT_TRUE(is_echoed(hosts));
    EXPECT_FALSE(is_echoed(containers));
    EXPECT_TRUE(is_echoed(hosts));
    EXPECT_EQ(counted("host-took-port"), 1U);
    EXPECT_THAT(degraded(), Contains(AllOf(HasSubstr("container attacker"), HasSubstr("port-taken"))));
    EXPECT_EQ(flows_of_host(), 0) << "its socket is enough";
}

// Who has how many, as whoever looks for the one that has most of them would ask.
TEST_F(HostFlowTest, TheFlowsOfEachContainerAreShown) {
    const ContainerProcess other;
    ASSERT_TRUE(attach(other, "other"));
    ask_from_every_port(attacker_.netns(), remote_);
    const auto list = call({.operation = ipc::Operation::endpoint_list});
    ASSERT_TRUE(list);
    ASSERT_EQ(list->at("endpoints").size(), 2U);
    EXPECT_EQ(list->at("endpoints")[0].at("flows4"), kQuestions);
    EXPECT_EQ(list->at("endpoints")[1].at("flows4"), 0);
    const auto shown = call({.operation = ipc::Operation::endpoint_show, .id = "attacker"});
    ASSERT_TRUE(shown);
    EXPECT_EQ(shown->at("flows4"), kQuestions);
    EXPECT_GT(shown->at("flow_share4"), 0);
}

// Sockets that are bound to a device are not found when a container's flow begins.
TEST_F(HostFlowTest, ASocketThatIsBoundToADeviceGetsItsAnswers) {
    const EchoServer echo(outside(), "198.51.100.2");
    const UniqueFd bound = socket_at(node(), SOCK_DGRAM, 50000);
    bind_to_uplink(bound);
    ASSERT_EQ(::connect(bound.get(), remote_.get(), remote_.size), 0) << std::strerror(errno);
    EXPECT_TRUE(is_echoed(bound));
    EXPECT_EQ(flows_of_host(), 1);
    EXPECT_TRUE(asks(attacker_.netns(), remote_, 50000)) << "from another port";
    EXPECT_TRUE(is_echoed(bound));
}

TEST_F(HostFlowTest, ARouterForwardsWithoutAFlow) {
    const EchoServer echo(outside(), "198.51.100.2");
    outside().run("ip route add 172.30.0.0/24 via 198.51.100.1");
    EXPECT_EQ(answered(other_), kQuestions);
    EXPECT_EQ(counted("host-flow"), 0U);
}

TEST_F(HostFlowTest, ARestartLeavesTheHostsFlowsToIt) {
    const auto ping = [](int id) { return formatted("ping -q -e {} -c 1 -W 5 198.51.100.2", id); };
    ASSERT_TRUE(node().succeeds(ping(50000)));
    EXPECT_EQ(flows_of_host(), 1);
    stop(SIGTERM);
    ASSERT_TRUE(start());
    EXPECT_EQ(flows_of_host(), 1);
    ASSERT_TRUE(node().succeeds(ping(50001)));
    EXPECT_EQ(flows_of_host(), 2);
    EXPECT_TRUE(attacker_.netns().succeeds(ping(50000)));
}

// A container has a flow with its port to where the client will ask from, and there has been an answer.
TEST_F(HostFlowTest, AServiceOfTheHostsThatStartsLaterGetsItsClientsDatagrams) {
    const Address client_address = with_port(remote_, 40001);
    const Address service_address = with_port(echo_at("198.51.100.1"), 50000);
    const UniqueFd client = socket_at(outside(), SOCK_DGRAM, 40001);
    ASSERT_EQ(::connect(client.get(), service_address.get(), service_address.size), 0) << std::strerror(errno);
    const UniqueFd containers = socket_at(attacker_.netns(), SOCK_DGRAM, 50000);
    ASSERT_EQ(::connect(containers.get(), client_address.get(), client_address.size), 0) << std::strerror(errno);
    ASSERT_EQ(::send(containers.get(), "x", 1, 0), 1);
    ASSERT_TRUE(eventually([&] { return ::send(client.get(), "x", 1, 0) == 1 && receives(containers); }));
    {
        const UniqueFd passing = socket_at(node(), SOCK_DGRAM, 50000);
        EXPECT_EQ(::send(client.get(), "x", 1, 0), 1);
        EXPECT_TRUE(receives(containers)) << "a resolver's socket for one question takes no port";
    }
    const UniqueFd service = socket_at(node(), SOCK_DGRAM, 50000);
    EXPECT_TRUE(eventually([&] { return ::send(client.get(), "x", 1, 0) == 1 && receives(service); }));
    ASSERT_EQ(::send(containers.get(), "x", 1, 0), 1);
    EXPECT_EQ(::send(client.get(), "x", 1, 0), 1);
    EXPECT_TRUE(receives(service)) << "the container has another port now";
    EXPECT_EQ(counted("host-took-port"), 1U);
}

TEST_F(HostFlowTest, AnswersOfAServiceThatIsBoundToADeviceAreBounded) {
    UniqueFd socket = socket_at(node(), SOCK_DGRAM, 51000);
    bind_to_uplink(socket);
    const DatagramEcho service(std::move(socket));
    expect_answers_take_nothing_of_the_hosts(51000);
}

TEST_F(HostFlowTest, AnswersOfAPublishedServiceAreBounded) {
    if (!add_nat_rule(node(), "prerouting priority dstnat", "iifname up0 udp dport 51000 dnat to 172.30.0.2:7")) {
        GTEST_SKIP() << "this kernel has no NAT of nftables";
    }
    const EchoServer service(other_, "172.30.0.2");
    expect_answers_take_nothing_of_the_hosts(51000);
}

TEST_F(HostFlowTest, WhatIsNotNotedOfTheHostsIsNamed) {
    if (!masquerade_the_other()) {
        GTEST_SKIP() << "this kernel has no NAT of nftables";
    }
    // One port is not enough: such a flow is half as large as a container's.
    std::deque<std::jthread> floods;
    for (const int port : {50000, 50001, 50002}) {
        floods.emplace_back([&, socket = socket_at(other_, SOCK_DGRAM, port)](const std::stop_token& stop) {
            flood_ports(stop, socket, remote_);
        });
    }
    const auto names_the_host = Contains(AllOf(HasSubstr("the host"), HasSubstr("share of the flow table")));
    EXPECT_TRUE(eventually([&] { return testing::Matches(names_the_host)(degraded()); }))
        << testing::PrintToString(degraded());
}

TEST_F(HostFlowTest, APortThatAnotherRuntimePublishedIsReached) {
    if (!add_nat_rule(node(), "prerouting priority dstnat", "iifname up0 tcp dport 50080 dnat to 172.30.0.2:7")) {
        GTEST_SKIP() << "this kernel has no NAT of nftables";
    }
    const EchoServer echo(other_, "172.30.0.2");
    const Address published = with_port(echo_at("198.51.100.1"), 50080);
    // A container has a flow with that port to where the client will connect from.
    const Address client_address = with_port(remote_, 40001);
    const UniqueFd attacker = socket_at(attacker_.netns(), SOCK_STREAM, 50080);
    EXPECT_NE(::connect(attacker.get(), client_address.get(), client_address.size), 0) << "nobody listens there";
    const UniqueFd client = socket_at(outside(), SOCK_STREAM, 40001);
    ASSERT_EQ(::connect(client.get(), published.get(), published.size), 0) << std::strerror(errno);
    EXPECT_TRUE(is_echoed(client));
}

// Such a rule is for all that leaves, so that the kernel's own masquerade meets what netkitd hands to the stack.
TEST_F(HostFlowTest, AMasqueradeOfAllThatLeavesHurtsNoContainer) {
    if (!add_nat_rule(node(), "postrouting priority srcnat", "oifname up0 masquerade")) {
        GTEST_SKIP() << "this kernel has no NAT of nftables";
    }
    const EchoServer echo(outside(), "198.51.100.2");
    for (int i = 0; i < 5; ++i) {
        node().run("ip neigh flush dev up0");
        EXPECT_TRUE(asks(attacker_.netns(), remote_, 50000 + i));
    }
    EXPECT_EQ(counted("host-took-port"), 0U);
    EXPECT_EQ(flows_of_host(), 0);
}

// A rule of the administrator's that leads the container's packets to another machine.
TEST_F(HostFlowTest, WhatTheHostsNatSendsForAContainerEndsNothingOfAnothers) {
    if (!add_nat_rule(node(), "prerouting priority dstnat",
                      "ip daddr 10.77.0.1 udp dport 7777 dnat to 198.51.100.2:7") ||
        !node().succeeds("nft 'add chain ip theirs post { type nat hook postrouting priority srcnat; }; "
                         "add rule ip theirs post ip saddr 10.77.0.0/16 oifname up0 ct status dnat masquerade'")) {
        GTEST_SKIP() << "this kernel has no NAT of nftables";
    }
    const EchoServer echo(outside(), "198.51.100.2");
    const ContainerProcess victim;
    ASSERT_TRUE(attach(victim, "victim"));
    const UniqueFd asks = socket_at(victim.netns(), SOCK_DGRAM, 50000);
    ASSERT_EQ(::connect(asks.get(), remote_.get(), remote_.size), 0) << std::strerror(errno);
    ASSERT_TRUE(is_echoed(asks));
    const Address gateway = with_port(echo_at("10.77.0.1"), 7777);
    const UniqueFd attacks = socket_at(attacker_.netns(), SOCK_DGRAM, 50000);
    ASSERT_EQ(::sendto(attacks.get(), "x", 1, 0, gateway.get(), gateway.size), 1);
    EXPECT_TRUE(eventually([&] { return counted("port-taken") == 1; })) << "it does not leave";
    EXPECT_TRUE(is_echoed(asks));
    EXPECT_EQ(counted("host-took-port"), 0U);
}

// A device on top of the uplink whose packets are none of the host's, whatever address they have.
TEST_F(HostFlowTest, AMacvlansPacketsAreNotTheHosts) {
    if (!node().succeeds("ip link add mv0 link up0 type macvlan mode private")) {
        GTEST_SKIP() << "this kernel has no macvlan";
    }
    const NetworkNamespace stranger;
    node().run(formatted("ip link set mv0 netns {} && true", stranger.path()));
    stranger.run("ip link set mv0 up; ip addr add 198.51.100.77/24 dev mv0; ip addr add 198.51.100.1/32 dev mv0");
    ASSERT_TRUE(attacker_.netns().succeeds("ping -q -e 50000 -c 1 -W 5 198.51.100.2"));
    EXPECT_TRUE(stranger.succeeds("ping -q -e 50001 -c 1 -W 5 -I 198.51.100.77 198.51.100.2"));
    EXPECT_FALSE(stranger.succeeds("ping -q -e 50000 -c 1 -W 1 -I 198.51.100.1 198.51.100.2")) << "a forged source";
    EXPECT_EQ(counted("host-took-port"), 0U);
}

// By a reset with the host's address it would end what keeps the port of a connection of the host's.
TEST_F(HostFlowTest, AMacvlansResetEndsNothingOfTheHosts) {
    const NetworkNamespace stranger;
    if (!node().succeeds(
            formatted("ip link add mv0 netns {} link up0 type macvlan mode private && true", stranger.path()))) {
        GTEST_SKIP() << "this kernel has no macvlan";
    }
    stranger.run("ip link set mv0 up; ip addr add 198.51.100.1/24 dev mv0");
    const EchoServer echo(outside(), "198.51.100.2");
    const UniqueFd hosts = socket_at(node(), SOCK_STREAM, 50000);
    bind_to_uplink(hosts);
    ASSERT_EQ(::connect(hosts.get(), remote_.get(), remote_.size), 0) << std::strerror(errno);
    ASSERT_TRUE(is_echoed(hosts));
    send_raw(stranger, Packet().ip("198.51.100.1", "198.51.100.2").tcp(50000, 7).rst());
    // What it forwards seems to have come in by a device of this host with the same number.
    const NetworkNamespace behind;
    connect(stranger, "in0", behind, "eth0");
    stranger.run(
        "ip addr del 198.51.100.1/24 dev mv0; ip addr add 198.51.100.77/24 dev mv0; sysctl -qw net.ipv4.ip_forward=1");
    stranger.run("ip addr add 172.31.0.1/24 dev in0");
    behind.run(
        "ip addr add 172.31.0.2/24 dev eth0; ip route add default via 172.31.0.1; ip addr add 198.51.100.1/32 dev lo");
    send_raw(behind, Packet().ip("198.51.100.1", "198.51.100.2").tcp(50000, 7).rst());
    // ForwDatagrams (RFC 4293, proc_net(5)).
    EXPECT_TRUE(eventually([&] { return stranger.succeeds("awk '/^Ip: [0-9]/ { exit !($7 > 0) }' /proc/net/snmp"); }));
    std::this_thread::sleep_for(200ms);
    ipc::Request request{.operation = ipc::Operation::flow_list};
    request.flows.hosts = true;
    const nlohmann::json flows = *call(std::move(request));
    ASSERT_EQ(flows.at("flows").size(), 1U);
    EXPECT_EQ(flows.at("flows")[0].at("state"), "established");
}

// Its port towards that client is the host's from its SYN-ACK on, however long the client is silent then.
TEST_F(HostFlowTest, WhoHasOnlyConnectedToAServiceThatIsBoundToADeviceIsKnown) {
    const UniqueFd service = socket_at(node(), SOCK_STREAM, 50000);
    bind_to_uplink(service);
    ASSERT_EQ(::listen(service.get(), 1), 0) << std::strerror(errno);
    const Address host = with_port(echo_at("198.51.100.1"), 50000);
    const UniqueFd client = socket_at(outside(), SOCK_STREAM, 20000);
    ASSERT_EQ(::connect(client.get(), host.get(), host.size), 0) << std::strerror(errno);
    EXPECT_EQ(flows_of_host(), 1);
    send_raw(attacker_.netns(), Packet().ip("10.77.0.2", "198.51.100.2").tcp(50000, 20000).ack());
    const UniqueFd serves(::accept4(service.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_EQ(::send(client.get(), "name", 4, 0), 4);
    std::array<char, 16> data{};
    EXPECT_EQ(::recv(serves.get(), data.data(), data.size(), 0), 4);
    ASSERT_EQ(::send(serves.get(), "answer", 6, 0), 6);
    EXPECT_EQ(::recv(client.get(), data.data(), data.size(), 0), 6);
    EXPECT_EQ(flows_of_host(), 1);
}

// IPv6 has no martian sources: whoever has the host forward may write the host's own address.
TEST_F(HostFlowTest, WhatTheHostForwardsWithItsAddressIsNotTheHosts) {
    node().run(
        "ip addr add 2001:db8::1/64 dev up0 nodad; ip route add default via 2001:db8::2;"
        "ip addr add 2001:db8:30::1/64 dev docker0 nodad; sysctl -qw net.ipv6.conf.all.forwarding=1");
    outside().run("ip addr add 2001:db8::2/64 dev eth0 nodad");
    other_.run(
        "ip addr add 2001:db8:30::2/64 dev eth0 nodad; ip addr add 2001:db8::1/128 dev lo nodad;"
        "ip route add default via 2001:db8:30::1");
    ASSERT_TRUE(eventually([&] { return attacker_.netns().succeeds("ping -q -e 50000 -c 1 -W 1 2001:db8::2"); }));
    ASSERT_TRUE(other_.succeeds("ping -q -c 1 -W 5 -I 2001:db8:30::2 2001:db8:30::1"));
    EXPECT_FALSE(other_.succeeds("ping -q -e 50000 -c 1 -W 1 -I 2001:db8::1 2001:db8::2")) << "a forged source";
    EXPECT_FALSE(other_.succeeds("ping -q -e 50001 -c 1 -W 1 -I 2001:db8::1 2001:db8::2"));
    EXPECT_EQ(counted("host-took-port"), 0U);
    EXPECT_EQ(flows_of_host(), 0);
}

// An ipvlan routes in the host's namespace what its owner forwards, by no device that it came in by.
TEST_F(HostFlowTest, AnIpvlansPacketsAreNotTheHosts) {
    const NetworkNamespace stranger;
    if (!node().succeeds(formatted("ip link add iv0 netns {} link up0 type ipvlan mode l3 && true", stranger.path()))) {
        GTEST_SKIP() << "this kernel has no ipvlan";
    }
    const NetworkNamespace behind;
    connect(stranger, "in0", behind, "eth0");
    stranger.run(
        "ip link set iv0 up; ip addr add 198.51.100.77/24 dev iv0; ip addr add 172.31.0.1/24 dev in0;"
        "sysctl -qw net.ipv4.ip_forward=1");
    behind.run(
        "ip addr add 172.31.0.2/24 dev eth0; ip route add default via 172.31.0.1; ip addr add 198.51.100.1/32 dev lo");
    const EchoServer echo(outside(), "198.51.100.2");
    ASSERT_TRUE(asks(attacker_.netns(), remote_, 50000));
    send_raw(behind, Packet().ip("198.51.100.1", "198.51.100.2").udp(50000, 7));
    EXPECT_TRUE(eventually([&] { return stranger.succeeds("awk '/^Ip: [0-9]/ { exit !($7 > 0) }' /proc/net/snmp"); }));
    std::this_thread::sleep_for(200ms);
    EXPECT_EQ(counted("host-took-port"), 0U);
    EXPECT_EQ(flows_of_host(), 0);
}

// It takes its programs with it: until the daemon hears of that, and for good while none runs.
TEST_F(HostFlowTest, AnUplinkThatIsMovedAwayTakesNoPortsFromContainers) {
    if (!node().succeeds("ip link add mv0 link up0 type macvlan mode private")) {
        GTEST_SKIP() << "this kernel has no macvlan";
    }
    node().run("ip link set mv0 up; ip addr add 198.51.100.5/24 dev mv0; ip route add default dev mv0 metric 4000");
    ASSERT_TRUE(comes_to_be_an_uplink("mv0")) << log();
    ASSERT_TRUE(attacker_.netns().succeeds("ping -q -e 50000 -c 1 -W 5 198.51.100.2"));
    stop(SIGTERM);
    const NetworkNamespace stranger;
    node().run(formatted("ip link set mv0 netns {} && true", stranger.path()));
    stranger.run("ip link set mv0 up; ip addr add 198.51.100.77/24 dev mv0; ip addr add 198.51.100.1/32 dev mv0");
    EXPECT_TRUE(stranger.succeeds("ping -q -e 50001 -c 1 -W 5 -I 198.51.100.77 198.51.100.2"));
    EXPECT_FALSE(stranger.succeeds("ping -q -e 50000 -c 1 -W 1 -I 198.51.100.1 198.51.100.2")) << "a forged source";
    ASSERT_TRUE(start());
    EXPECT_EQ(counted("host-took-port"), 0U);
    EXPECT_EQ(flows_of_host(), 0);
}

// Its new owner's sockets are not the host's.
TEST_F(HostFlowTest, NorDoesWhatComesInByItThenEndTheirFlows) {
    const NetworkNamespace lan;
    const NetworkNamespace owner;
    connect(node(), "up1", lan, "eth0");
    node().run("ip addr add 192.0.2.1/24 dev up1");
    ASSERT_TRUE(comes_to_be_an_uplink("up1"));
    const UniqueFd server = socket_bound_to(outside(), remote_, SOCK_DGRAM);
    const UniqueFd client = socket_at(attacker_.netns(), SOCK_DGRAM, 50001);
    ASSERT_EQ(::connect(client.get(), remote_.get(), remote_.size), 0);
    ASSERT_EQ(::send(client.get(), "name", 4, 0), 4);
    const Address translated = echo_at("198.51.100.1");
    const Address client_seen = with_port(translated, 50001);
    ASSERT_TRUE(receives(server));
    ASSERT_EQ(::sendto(server.get(), "a", 1, 0, client_seen.get(), client_seen.size), 1);
    ASSERT_TRUE(receives(client));

    stop(SIGKILL);
    node().run(formatted("ip link set up1 netns {} && true", owner.path()));
    owner.run(
        "ip link set lo up; ip link set up1 up; ip addr add 198.51.100.1/24 dev up1; "
        "for f in all up1; do sysctl -qw net.ipv4.conf.$f.rp_filter=0; done");
    lan.run("ip addr add 198.51.100.2/24 dev eth0");
    const UniqueFd same = socket_bound_to(owner, client_seen, SOCK_DGRAM);
    const UniqueFd forger = socket_bound_to(lan, remote_, SOCK_DGRAM);
    // The host's sockets are asked about once in a while only.
    for (const auto until = std::chrono::steady_clock::now() + 3s; std::chrono::steady_clock::now() < until;) {
        ASSERT_EQ(::sendto(forger.get(), "b", 1, 0, client_seen.get(), client_seen.size), 1);
        std::this_thread::sleep_for(100ms);
    }
    ASSERT_EQ(::sendto(server.get(), "c", 1, 0, client_seen.get(), client_seen.size), 1);
    EXPECT_TRUE(receives(client));
}

// Their beginning was not seen.
TEST_F(HostFlowTest, ConnectionsFromBeforeTheDaemonAreNoAnswers) {
    if (!masquerade_the_other()) {
        GTEST_SKIP() << "this kernel has no NAT of nftables";
    }
    stop(SIGTERM);
    rlimit files{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
    const UniqueFd listener = socket_bound_to(outside(), remote_, SOCK_STREAM);
    ASSERT_EQ(::listen(listener.get(), SOMAXCONN), 0);
    constexpr int kConnections = NK_HOST_ANSWERS + 100;
    std::vector<UniqueFd> clients;
    std::vector<UniqueFd> accepted;
    for (int connection = 0; connection < kConnections; ++connection) {
        clients.push_back(socket_at(other_, SOCK_STREAM, 50001 + connection));
        ASSERT_EQ(::connect(clients.back().get(), remote_.get(), remote_.size), 0) << std::strerror(errno);
        accepted.emplace_back(::accept(listener.get(), nullptr, nullptr));
    }
    ASSERT_TRUE(start());
    for (const UniqueFd& client : clients) {
        ASSERT_EQ(::send(client.get(), "x", 1, MSG_NOSIGNAL), 1);
    }
    EXPECT_TRUE(eventually([&] { return flows_of_host() == kConnections; })) << flows_of_host();
}

TEST_F(HostFlowTest, ARouterLetsResetsOfOthersThrough) {
    outside().run("ip route add 172.30.0.0/24 via 198.51.100.1");
    EXPECT_EQ(result_of_connecting(outside(), with_port(echo_at("172.30.0.2"), 50000)), ECONNREFUSED);
}

TEST_F(HostFlowTest, WhoConnectsToAPortOfThePoolIsNotToldThatNobodyIsThere) {
    const Address host = echo_at("198.51.100.1");
    EXPECT_EQ(result_of_connecting(outside(), with_port(host, 50000)), ETIMEDOUT);
    EXPECT_EQ(result_of_connecting(outside(), with_port(host, 40000)), ECONNREFUSED);
}

}  // namespace
}  // namespace netkitd::test
