// Between the host and its containers, by netkitd0: what gets in and what does not, whichever way it came, whether the
// daemon runs or not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <string>

#include "base/format.h"
#include "harness/daemon_test.h"
#include "harness/traffic.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using testing::HasSubstr;

struct Family {
    std::string name;
    std::string container;  // of the network `default`, which is masqueraded
    std::string gateway;
    std::string isolated;  // of the network "blue"
    std::string nobody;
    std::string prefixes;  // of both
    std::string option;
    std::string length;
    std::string node;  // as a stranger knows it
    std::string stranger;
    std::string forwarding;
};
const Family kV4{.name = "V4",
                 .container = "10.77.0.2",
                 .gateway = "10.77.0.1",
                 .isolated = "10.88.0.2",
                 .nobody = "10.77.7.7",
                 .prefixes = "10.64.0.0/10",
                 .option = "-4",
                 .length = "/24",
                 .node = "192.0.2.1",
                 .stranger = "192.0.2.2",
                 .forwarding = "net.ipv4.ip_forward"};
const Family kV6{.name = "V6",
                 .container = "fd6e:6b64::2",
                 .gateway = "fd6e:6b64::1",
                 .isolated = "fd6e:6b65::2",
                 .nobody = "fd6e:6b64::77",
                 .prefixes = "fd6e::/16",
                 .option = "-6",
                 .length = "/64 nodad",
                 .node = "2001:db8:2::1",
                 .stranger = "2001:db8:2::2",
                 .forwarding = "net.ipv6.conf.all.forwarding"};

// A host that forwards, with a container in a network that is masqueraded, another in one that is isolated, and a
// stranger who has a route to both by the host.
class HostDeviceTest : public DaemonTest, public testing::WithParamInterface<Family> {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        configure("");
        ASSERT_TRUE(start());
        ASSERT_TRUE(attach(web_, "web"));
        ASSERT_TRUE(attach(blue_, "blue", {{"io.netkitd.network", "blue"}}));
        node().run(formatted("sysctl -qw {}=1", net.forwarding));
    }
    void configure(const std::string& more) const {
        std::ofstream(scratch("netkitd.json"))
            << R"({"networks": {"default": {)" << more
            << R"(}, "blue": {"ipv4": "10.88.0.0/24", "ipv6": "fd6e:6b65::/64", "isolated": true}}})";
    }
    // By a device that was not there before.
    void let_come(const NetworkNamespace& stranger, const std::string& device) const {
        connect(node(), device, stranger, "eth0");
        node().run(formatted("ip addr add {}{} dev {}", net.node, net.length, device));
        stranger.run(formatted("ip addr add {}{} dev eth0; ip {} route add {} via {}", net.stranger, net.length,
                               net.option, net.prefixes, net.node));
        ASSERT_TRUE(eventually([&] { return stranger.succeeds("ping -c 1 -W 1 " + net.node); }));
    }
    void expect_nobody_gets_in() const {
        for (const std::string& address : {net.container, net.isolated}) {
            EXPECT_TRUE(stranger_.cannot_reach(address)) << address;
        }
    }
    const Family net = GetParam();
    const ContainerProcess web_;
    const ContainerProcess blue_;
    const NetworkNamespace stranger_;
};
INSTANTIATE_TEST_SUITE_P(Family, HostDeviceTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

TEST_P(HostDeviceTest, NobodyUnaskedGetsInWhomTheHostForwards) {
    let_come(stranger_, "strange0");
    expect_nobody_gets_in();
    EXPECT_GT(counted("unsolicited"), 0U);
    stop(SIGKILL);
    expect_nobody_gets_in();
    node().run("ip link del strange0");
    const NetworkNamespace another;
    let_come(another, "strange1");
    EXPECT_TRUE(another.cannot_reach(net.container)) << "one that came while no daemon ran";
}

// It would pass for one of the network's own.
TEST_P(HostDeviceTest, NorWithAContainersAddress) {
    let_come(stranger_, "strange0");
    node().run("for f in all strange0; do sysctl -qw net.ipv4.conf.$f.rp_filter=0; done");
    for (const std::string& source : {net.container, net.isolated}) {
        stranger_.run(formatted("ip addr add {}{} dev lo", source, net.option == "-4" ? "/32" : "/128"));
    }
    const std::uint64_t before = counted("unsolicited");
    EXPECT_FALSE(stranger_.succeeds(formatted("ping -c 1 -W 1 -I {} {}", net.container, net.nobody)));
    stranger_.run(formatted("ip addr del {}{} dev lo", net.container, net.option == "-4" ? "/32" : "/128"));
    EXPECT_FALSE(stranger_.succeeds(formatted("ping -c 1 -W 1 -I {} {}", net.isolated, net.container)));
    EXPECT_GT(counted("unsolicited"), before);
}

// As the other end of a connection that somebody else has begun in its name, by the host, which tracks it, and may
// have a rule of its own that translates it.
class ForgedConnectionTest : public HostDeviceTest {
protected:
    // An accomplice answers a stranger's packet that says that it is a container's.
    void expect_no_answer_gets_in(const std::string& rule, const std::string& seen_by_accomplice) {
        if (!node().succeeds("nft 'add table inet theirs; " + rule + "'")) {
            GTEST_SKIP() << "this kernel tracks no connections";
        }
        stop(SIGKILL);  // so that neither device gets programs
        let_come(stranger_, "strange0");
        node().run("for f in all strange0; do sysctl -qw net.ipv4.conf.$f.rp_filter=0; done");
        connect(node(), "strange1", accomplice_, "eth0");
        node().run(formatted("ip addr add {}{} dev strange1", own, net.length));
        accomplice_.run(formatted("ip link set lo up; ip addr add {0}{1} dev eth0; ip {2} route add default via {3}",
                                  address, net.length, net.option, own));
        stranger_.run(formatted("ip addr add {}{} dev lo; ip link set lo up; ip {} route add default via {}",
                                net.container, v4 ? "/32" : "/128", net.option, net.node));
        // They may be used a moment later.
        ASSERT_TRUE(eventually([&] {
            return stranger_.succeeds("ping -c 1 -W 1 " + net.container) &&
                   accomplice_.succeeds("ping -c 1 -W 1 " + address);
        }));
        const UniqueFd forger = socket_bound_to(stranger_, with_port(echo_at(net.container), 5000), SOCK_DGRAM);
        const UniqueFd other = socket_bound_to(accomplice_, with_port(echo_at(address), 6000), SOCK_DGRAM);
        const UniqueFd victim = socket_bound_to(web_.netns(), with_port(echo_at(net.container), 5000), SOCK_DGRAM);
        const Address to_accomplice = with_port(echo_at(address), 6000);
        const Address answer = with_port(echo_at(seen_by_accomplice), 5000);
        for (int i = 0; i < 5; ++i) {
            (void)::sendto(forger.get(), "x", 1, 0, to_accomplice.get(), to_accomplice.size);
            (void)::sendto(other.get(), "y", 1, 0, answer.get(), answer.size);
            pollfd wait{.fd = victim.get(), .events = POLLIN, .revents = 0};
            EXPECT_EQ(::poll(&wait, 1, 200), 0);
        }
    }

    const bool v4 = net.option == "-4";
    const std::string own = v4 ? "203.0.113.1" : "2001:db8:9::1";
    const std::string address = v4 ? "203.0.113.2" : "2001:db8:9::2";
    const NetworkNamespace accomplice_;
};
INSTANTIATE_TEST_SUITE_P(Family, ForgedConnectionTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

TEST_P(ForgedConnectionTest, ThatTheHostTracksLetsNobodyIn) {
    expect_no_answer_gets_in(
        "add chain inet theirs f { type filter hook forward priority 0; }; "
        "add rule inet theirs f ct state established counter",
        net.container);
}

TEST_P(ForgedConnectionTest, ThatARuleOfTheHostsTranslatesLetsNobodyIn) {
    expect_no_answer_gets_in(
        "add chain inet theirs p { type nat hook postrouting priority srcnat; }; "
        "add rule inet theirs p oifname strange1 masquerade",
        own);
}

TEST_P(HostDeviceTest, NorByATunnel) {
    const bool v4 = net.option == "-4";
    let_come(stranger_, "strange0");
    for (const char* kind : {v4 ? "ipip" : "ip6tnl", v4 ? "gre" : "ip6gre"}) {
        const auto tunnel = [&](const std::string& local, const std::string& remote) {
            return formatted("ip link add tun9 type {} local {} remote {} && ip link set tun9 up", kind, local, remote);
        };
        if (!node().succeeds(tunnel(net.node, net.stranger))) {
            GTEST_SKIP() << "this kernel has no " << kind;
        }
        stranger_.run(tunnel(net.stranger, net.node));
        stranger_.run(formatted("ip {0} route replace {1} dev tun9; ip addr add {2} dev tun9", net.option, net.prefixes,
                                v4 ? "172.31.0.2/24" : "2001:db8:31::2/64 nodad"));
        node().run(formatted("ip addr add {} dev tun9", v4 ? "172.31.0.1/24" : "2001:db8:31::1/64 nodad"));
        EXPECT_TRUE(stranger_.reaches(v4 ? "172.31.0.1" : "2001:db8:31::1")) << kind;
        expect_nobody_gets_in();
        node().run("ip link del tun9");
        stranger_.run("ip link del tun9");
    }
}

// It routes in the host's namespace what its owner sends, by no device that it came in by.
TEST_P(HostDeviceTest, NorByAnIpvlan) {
    if (!node().succeeds(
            formatted("ip link add iv0 netns {} link up0 type ipvlan mode l3 && true", stranger_.path()))) {
        GTEST_SKIP() << "this kernel has no ipvlan";
    }
    const bool v4 = net.option == "-4";
    const NetworkNamespace behind;
    connect(stranger_, "in0", behind, "eth0");
    node().run("ip addr add 2001:db8::1/64 dev up0 nodad");
    stranger_.run(
        formatted("ip link set iv0 up; ip addr add {} dev iv0; ip addr add {} dev in0; sysctl -qw {}=1; "
                  "ip {} route add {} dev iv0",
                  v4 ? "198.51.100.77/24" : "2001:db8::77/64 nodad", v4 ? "172.31.0.1/24" : "2001:db8:31::1/64 nodad",
                  net.forwarding, net.option, net.prefixes));
    behind.run(formatted("ip addr add {} dev eth0; ip {} route add default via {}",
                         v4 ? "172.31.0.2/24" : "2001:db8:31::2/64 nodad", net.option,
                         v4 ? "172.31.0.1" : "2001:db8:31::1"));
    const std::uint64_t before = counted("unsolicited");
    expect_nobody_gets_in();
    EXPECT_TRUE(behind.cannot_reach(net.container));
    // The kernel itself routes nothing of IPv4's there.
    EXPECT_GE(counted("unsolicited"), before + (v4 ? 0 : 3));
}

TEST_P(HostDeviceTest, WhereTheNetworkSaysSoWhatTheHostForwardsGetsIn) {
    configure(R"("accept_forwarded": true, "masquerade": true)");
    stop(SIGTERM);
    ASSERT_TRUE(start()) << log();
    let_come(stranger_, "strange0");
    const std::uint64_t before = counted("unsolicited");
    // Its answers are of no flow.
    EXPECT_TRUE(stranger_.cannot_reach(net.container));
    EXPECT_EQ(counted("unsolicited"), before);
    EXPECT_TRUE(stranger_.cannot_reach(net.isolated));
    EXPECT_GT(counted("unsolicited"), before);
}

// Whatever the host's rp_filter: what a container sends comes in from where the route to it leads.
TEST_P(HostDeviceTest, HostAndContainerReachEachOther) {
    const EchoServer in_container(web_.netns(), net.container);
    const EchoServer on_host(node(), net.gateway);
    for (const char* strictness : {"0", "1", "2"}) {
        node().run(
            formatted("for f in all default netkitd0; do sysctl -qw net.ipv4.conf.$f.rp_filter={}; done", strictness));
        EXPECT_TRUE(node().reaches(net.container)) << strictness;
        EXPECT_TRUE(web_.netns().reaches(net.gateway)) << strictness;
        for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
            EXPECT_TRUE(is_echoed(node(), net.container, type)) << strictness;
            EXPECT_TRUE(is_echoed(web_.netns(), net.gateway, type)) << strictness;
        }
    }
}

TEST_P(HostDeviceTest, ThatNoContainerHasAnAddressIsSaidAtOnce) {
    const std::string unreachable = net.option == "-4" ? "Destination Host Unreachable" : "Address unreachable";
    for (const NetworkNamespace* from : {&node(), &web_.netns()}) {
        EXPECT_THAT(from->run(formatted("ping -n -c 1 -W 3 {} || true", net.nobody)), HasSubstr(unreachable));
        const Address server = echo_at(net.nobody);
        const UniqueFd socket = socket_in(*from, server, SOCK_STREAM);
        EXPECT_EQ(::connect(socket.get(), server.get(), server.size), -1);
        EXPECT_EQ(errno, EHOSTUNREACH);
    }
    EXPECT_GT(counted("no-container"), 0U);
}

TEST_P(HostDeviceTest, AContainerWithASmallerMtuIsSentNothingLarger) {
    const ContainerProcess narrow;
    const auto reply = attach(narrow, "narrow", {{"io.netkitd.network", "default"}, {"io.netkitd.mtu", "1300"}});
    ASSERT_TRUE(reply) << reply.error().message();
    const std::string address = reply->at(net.option == "-4" ? "ipv4" : "ipv6").get<std::string>();
    const std::string too_big = node().run(formatted("ping -n -c 1 -W 1 -M do -s 1350 {} 2>&1 || true", address));
    EXPECT_THAT(too_big, HasSubstr("Message too long"));
    EXPECT_TRUE(node().succeeds(formatted("ping -c 1 -W 2 -M dont -s 3000 {}", address))) << "in fragments";
    EXPECT_TRUE(narrow.netns().succeeds(formatted("ping -c 1 -W 2 -s 3000 {}", net.gateway)));
    EXPECT_TRUE(web_.netns().succeeds(formatted("ping -c 1 -W 2 -s 3000 {}", net.gateway)));
}

// By an acknowledgement that has no socket any more.
TEST_P(HostDeviceTest, WhatIsOverIsAcknowledged) {
    const Address service = with_port(echo_at(net.gateway), 7000);
    const UniqueFd listener = socket_bound_to(node(), service, SOCK_STREAM);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    UniqueFd client = socket_in(web_.netns(), service, SOCK_STREAM);
    ASSERT_EQ(::connect(client.get(), service.get(), service.size), 0);
    UniqueFd server(::accept(listener.get(), nullptr, nullptr));
    ASSERT_GE(server.get(), 0);
    server = UniqueFd();
    char end = 0;
    ASSERT_EQ(::recv(client.get(), &end, 1, 0), 0);
    if (!web_.netns().succeeds("nft 'table inet lost { chain in { type filter hook input priority 0; "
                               "tcp flags & (syn | fin | rst | ack) == ack drop; }; }'")) {
        GTEST_SKIP() << "this kernel has no nftables";
    }
    const std::uint64_t before = counted("unsolicited");
    client = UniqueFd();
    const auto is_waiting = [&] { return web_.netns().run("ss -Htn state last-ack").contains(":7000"); };
    ASSERT_TRUE(eventually(is_waiting));
    web_.netns().run("sleep 0.1; nft delete table inet lost");
    EXPECT_TRUE(eventually([&] { return !is_waiting(); }));
    EXPECT_EQ(counted("unsolicited"), before) << "it comes to its end without an answer too, in a minute";
}

// Its firewall answers a SYN before there is a socket.
TEST_P(HostDeviceTest, AServiceBehindASynProxyIsReached) {
    if (!node().succeeds("nft 'table inet shield { "
                         "chain raw { type filter hook prerouting priority raw; tcp dport 7 tcp flags syn notrack; }; "
                         "chain in { type filter hook input priority 0; tcp dport 7 ct state invalid,untracked "
                         "synproxy mss 1400 wscale 7 timestamp sack-perm; ct state invalid drop; }; }' && "
                         "sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0")) {
        GTEST_SKIP() << "this kernel has no SYNPROXY of nftables";
    }
    const EchoServer server(node(), net.gateway);
    const Address service = echo_at(net.gateway);
    const UniqueFd client = socket_in(web_.netns(), service, SOCK_STREAM);
    EXPECT_EQ(::connect(client.get(), service.get(), service.size), 0) << std::strerror(errno);
}

// As an administrator expects of them.
TEST_P(HostDeviceTest, FirewallRulesNameTheHostDevice) {
    if (!node().succeeds(
            "nft 'table inet theirs { chain in { type filter hook input priority 0; iifname netkitd0 udp dport 7 drop; "
            "iifname netkitd0 tcp dport 7 reject with tcp reset; }; "
            "chain out { type filter hook output priority 0; oifname netkitd0 tcp dport 7 reject; }; }'")) {
        GTEST_SKIP() << "this kernel has no nftables";
    }
    const EchoServer in_container(web_.netns(), net.container);
    const EchoServer on_host(node(), net.gateway);
    const Address server = echo_at(net.container);
    const UniqueFd refused = socket_in(node(), server, SOCK_STREAM);
    EXPECT_EQ(::connect(refused.get(), server.get(), server.size), -1);
    EXPECT_EQ(errno, ECONNREFUSED);
    const Address host = echo_at(net.gateway);
    const UniqueFd reset = socket_in(web_.netns(), host, SOCK_STREAM);
    EXPECT_EQ(::connect(reset.get(), host.get(), host.size), -1);
    EXPECT_EQ(errno, ECONNREFUSED);
    const UniqueFd unheard = socket_in(web_.netns(), host, SOCK_DGRAM);
    ASSERT_EQ(::connect(unheard.get(), host.get(), host.size), 0);
    ASSERT_EQ(::send(unheard.get(), "hello", 5, 0), 5);
    pollfd wait{.fd = unheard.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&wait, 1, 300), 0);
    EXPECT_TRUE(web_.netns().reaches(net.gateway));
}

}  // namespace
}  // namespace netkitd::test
