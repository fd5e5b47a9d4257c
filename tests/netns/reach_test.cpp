// A container reaches what its host reaches: a second card's network, a tunnel's prefixes, another runtime's bridge,
// all without configuration; with the host's address on that device, and nobody gets in unasked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <set>
#include <string>

#include "base/format.h"
#include "harness/daemon_test.h"
#include "harness/traffic.h"
#include "harness/tun_wire.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

struct Family {
    std::string name;
    std::string option;
    std::string container;
    std::string gateway;
    std::string network;
    std::string length;  // of addresses on a device
    std::string node;    // on the device that a test is about
    std::string other;   // behind it
    std::string far;     // behind that, by a route
    std::string far_route;
    std::array<std::string, 2> halves;  // of all there is, as OpenVPN has them
    std::string other_prefix;
};
const Family kV4{.name = "V4",
                 .option = "-4",
                 .container = "10.77.0.2",
                 .gateway = "10.77.0.1",
                 .network = "10.77.0.0/16",
                 .length = "/24",
                 .node = "192.0.2.1",
                 .other = "192.0.2.2",
                 .far = "203.0.113.7",
                 .far_route = "203.0.113.0/24",
                 .halves = {"0.0.0.0/1", "128.0.0.0/1"},
                 .other_prefix = "192.0.2.0/24"};
const Family kV6{.name = "V6",
                 .option = "-6",
                 .container = "fd6e:6b64::2",
                 .gateway = "fd6e:6b64::1",
                 .network = "fd6e:6b64::/64",
                 .length = "/64 nodad",
                 .node = "2001:db8:2::1",
                 .other = "2001:db8:2::2",
                 .far = "2001:db8:7::7",
                 .far_route = "2001:db8:7::/64",
                 .halves = {"::/1", "8000::/1"},
                 .other_prefix = "2001:db8:2::/64"};

// A daemon that runs, with a container; the host has its uplink up0 and forwards nothing.
class ReachTest : public DaemonTest, public testing::WithParamInterface<Family> {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        ASSERT_TRUE(start());
        ASSERT_TRUE(attach(web_, "web"));
    }
    void configure(const std::string& json) {
        std::ofstream(scratch("netkitd.json")) << json;
        stop(SIGTERM);
        ASSERT_TRUE(start()) << log();
    }
    // ip(8) of this family, on the node.
    void ip(const std::string& command) const { node().run(formatted("ip {} {}", net.option, command)); }

    // The addresses of both ends, and what is behind the other one.
    void set_addresses(const std::string& device, const std::string& others_device) const {
        ip(formatted("addr add {}{} dev {}", net.node, net.length, device));
        other_.run(formatted("ip {0} addr add {1}{2} dev {3}; ip link set lo up; ip {0} addr add {4}{5} dev lo",
                             net.option, net.other, net.length, others_device, net.far,
                             net.option == "-4" ? "/32" : "/128"));
    }
    void add_card(const std::string& name) const {
        connect(node(), name, other_, "eth0");
        // Else the kernel takes IPv6 addresses away with the link, and the daemon ends the flows of what is gone.
        node().run(formatted("sysctl -qw net.ipv6.conf.{}.keep_addr_on_down=1", name));
        set_addresses(name, "eth0");
    }
    // Of port0. It asks no neighbour either before its link-local address has passed duplicate address detection
    // (harness/netns.cpp).
    void bridge_port(const std::string& name) const {
        node().run(
            formatted("ip link add {0} type bridge && echo 0 > /proc/sys/net/ipv6/conf/{0}/dad_transmits && "
                      "ip link set {0} up && ip link set port0 master {0}",
                      name));
    }
    // As another runtime makes it, or libvirt: `other_` is a container of its, which has all its ways by the bridge.
    void add_bridge(const std::string& name) const {
        node().run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        connect(node(), "port0", other_, "eth0");
        bridge_port(name);
        set_addresses(name, "eth0");
        other_.run(formatted("ip {} route add default via {}", net.option, net.node));
    }

    // What whoever is there sees of a new flow.
    [[nodiscard]] std::string seen_by(const std::string& mirror) const {
        const Address to = echo_at(mirror);
        return seen_as(socket_in(web_.netns(), to, SOCK_DGRAM).get(), to);
    }
    // By every kind of packet, with the host's address there.
    void expect_reached(const std::string& device, const std::string& address) const {
        SCOPED_TRACE(formatted("{} by {}", address, device));
        ASSERT_TRUE(comes_to_be_an_uplink(device)) << log();
        EXPECT_TRUE(web_.netns().reaches(address));
        EXPECT_TRUE(eventually([&] {
            // The first one may only tell of a smaller MTU.
            return web_.netns().succeeds(formatted("ping -c 1 -W 2 -s 4000 {}", address));
        })) << "in fragments";
        {
            const EchoServer server(other_, address);
            EXPECT_TRUE(is_echoed(web_.netns(), address));
        }
        {
            const Mirror mirror(other_, address);
            EXPECT_EQ(seen_by(address), net.node);
        }
        // Nobody listens there now: the error finds its way back.
        const Address to = echo_at(address);
        const UniqueFd refused = socket_in(web_.netns(), to, SOCK_DGRAM);
        ASSERT_EQ(::connect(refused.get(), to.get(), to.size), 0);
        ASSERT_EQ(::send(refused.get(), "hello", 5, 0), 5);
        char byte = 0;
        EXPECT_EQ(::recv(refused.get(), &byte, 1, 0), -1);
        EXPECT_EQ(errno, ECONNREFUSED);
    }
    void expect_nobody_gets_in() const {
        const std::uint64_t before = counted("unsolicited");
        other_.run(formatted("ip {} route replace {} via {}", net.option, net.network, net.node));
        EXPECT_TRUE(other_.cannot_reach(net.container));
        EXPECT_GT(counted("unsolicited"), before);
        other_.run(formatted("ip {} route del {}", net.option, net.network));
    }

    const Family net = GetParam();
    const ContainerProcess web_;
    const NetworkNamespace other_;
};
INSTANTIATE_TEST_SUITE_P(Family, ReachTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

TEST_P(ReachTest, ASecondCardsNetworkAndWhatIsBehindIt) {
    add_card("up1");
    ip(formatted("route add {} via {}", net.far_route, net.other));
    expect_reached("up1", net.other);
    expect_reached("up1", net.far);
    expect_nobody_gets_in();
}

TEST_P(ReachTest, ATunnelWithSomePrefixes) {
    const TunWire wire(node(), "vpn0", other_, "vpn0");
    set_addresses("vpn0", "vpn0");
    ip(formatted("route add {} dev vpn0", net.far_route));
    expect_reached("vpn0", net.other);
    expect_reached("vpn0", net.far);
    expect_nobody_gets_in();
}

// The kernel's own tunnels, on top of a card that leads nowhere else.
class KernelTunnelTest : public ReachTest {
protected:
    void SetUp() override {
        ReachTest::SetUp();
        if (!IsSkipped()) {
            connect(node(), "under0", other_, "under0");
            node().run("ip addr add 198.18.0.1/24 dev under0; ip addr add 2001:db8:18::1/64 dev under0 nodad");
            other_.run("ip addr add 198.18.0.2/24 dev under0; ip addr add 2001:db8:18::2/64 dev under0 nodad");
        }
    }
    void expect_reached_by_tunnel() const {
        set_addresses("vpn0", "vpn0");
        ip(formatted("route add {} dev vpn0", net.far_route));
        expect_reached("vpn0", net.other);
        expect_reached("vpn0", net.far);
        expect_nobody_gets_in();
    }
};
INSTANTIATE_TEST_SUITE_P(Family, KernelTunnelTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

TEST_P(KernelTunnelTest, Wireguard) {
    if (!node().succeeds("ip link add vpn0 type wireguard")) {
        GTEST_SKIP() << "this kernel has no wireguard";
    }
    other_.run("ip link add vpn0 type wireguard");
    for (const char* side : {"1", "2"}) {
        node().run(formatted("wg genkey > {}", scratch(side)));
    }
    const auto bring_up = [&](const NetworkNamespace& netns, const std::string& own, const std::string& others) {
        netns.run(
            formatted("wg set vpn0 listen-port 51820 private-key {} peer $(wg pubkey < {}) "
                      "allowed-ips 0.0.0.0/0,::/0 endpoint 198.18.0.{}:51820 && ip link set vpn0 up",
                      scratch(own), scratch(others), others));
    };
    bring_up(node(), "1", "2");
    bring_up(other_, "2", "1");
    expect_reached_by_tunnel();
}

TEST_P(KernelTunnelTest, IpInIp) {
    const bool v4 = net.option == "-4";
    const auto tunnel = [&](const char* own, const char* others) {
        const std::string address = v4 ? "198.18.0." : "2001:db8:18::";
        return formatted("ip {} link add vpn0 type {} local {}{} remote {}{} && ip link set vpn0 up", net.option,
                         v4 ? "ipip" : "ip6tnl mode ip6ip6", address, own, address, others);
    };
    if (!node().succeeds(tunnel("1", "2"))) {
        GTEST_SKIP() << "this kernel has no ipip";
    }
    other_.run(tunnel("2", "1"));
    expect_reached_by_tunnel();
}

// A device of a VRF, where the main table leads there.
class VrfTest : public ReachTest {
protected:
    void SetUp() override {
        ReachTest::SetUp();
        if (!IsSkipped() && !node().succeeds("ip link add red0 type vrf table 10 && ip link set red0 up")) {
            GTEST_SKIP() << "this kernel has no VRF";
        }
    }
    void expect_reached_in_vrf(const std::string& device) const {
        node().run(formatted("ip link set {} master red0", device));
        if (net.option == "-6") {
            ip(formatted("addr replace {}{} dev {}", net.node, net.length, device));  // the kernel took it
        }
        ip(formatted("route add {} dev {}", net.other_prefix, device));
        ip(formatted("route add {} via {} dev {}", net.far_route, net.other, device));
        expect_reached(device, net.far);
        expect_nobody_gets_in();
    }
};
INSTANTIATE_TEST_SUITE_P(Family, VrfTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

TEST_P(VrfTest, ACard) {
    add_card("up1");
    expect_reached_in_vrf("up1");
}

TEST_P(VrfTest, AnothersBridge) {
    add_bridge("theirs0");
    expect_reached_in_vrf("theirs0");
}

// Two routes that are longer than the default one, which stays: OpenVPN's redirect-gateway def1.
TEST_P(ReachTest, ATunnelWithBothHalvesOfAllThereIs) {
    const TunWire wire(node(), "vpn0", other_, "vpn0");
    set_addresses("vpn0", "vpn0");
    ip(formatted("route add {} dev vpn0", net.halves.at(0)));
    ip(formatted("route add {} dev vpn0", net.halves.at(1)));
    expect_reached("vpn0", net.far);
    EXPECT_TRUE(node().reaches(net.container));
    EXPECT_TRUE(web_.netns().reaches(net.gateway));
    expect_nobody_gets_in();
}

TEST_P(ReachTest, ContainersOnAnothersBridge) {
    add_bridge("theirs0");
    expect_reached("theirs0", net.other);
    expect_nobody_gets_in();
    EXPECT_THAT(uplinks(), Not(Contains("port0")));
}

TEST_P(ReachTest, ContainersOnAnothersBridgeGetInWhereTheyAreNotMasqueraded) {
    add_bridge("theirs0");
    configure(formatted(R"({{"masquerade": {{"non_masquerade_cidrs": ["{}"]}}}})", net.other_prefix));
    ASSERT_TRUE(comes_to_be_an_uplink("theirs0"));
    const EchoServer ours(web_.netns(), net.container);
    const EchoServer theirs(other_, net.other);
    EXPECT_TRUE(other_.reaches(net.container));
    EXPECT_TRUE(web_.netns().reaches(net.other));
    EXPECT_TRUE(is_echoed(other_, net.container));
    EXPECT_TRUE(is_echoed(web_.netns(), net.other));
}

// With its source forged: whoever is asked is behind another device.
TEST_P(ReachTest, NoContainerOnAnothersBridgeAnswersForSomebodyElse) {
    add_card("up1");
    ASSERT_TRUE(comes_to_be_an_uplink("up1"));
    const NetworkNamespace forger;
    connect(node(), "port0", forger, "eth0");
    const bool v4 = net.option == "-4";
    bridge_port("theirs0");
    ip(formatted("addr add {} dev theirs0", v4 ? "203.0.113.1/24" : "2001:db8:9::1/64 nodad"));
    ASSERT_TRUE(comes_to_be_an_uplink("theirs0"));
    forger.run(
        formatted("ip {0} addr add {1} dev eth0; ip {0} route add default via {2}; ip link set lo up; "
                  "ip {0} addr add {3}{4} dev lo",
                  net.option, v4 ? "203.0.113.2/24" : "2001:db8:9::2/64 nodad", v4 ? "203.0.113.1" : "2001:db8:9::1",
                  net.other, v4 ? "/32" : "/128"));
    const EchoServer server(other_, net.other);
    const Address asked = echo_at(net.other);
    const UniqueFd client = socket_bound_to(web_.netns(), with_port(echo_at(net.container), 50000), SOCK_DGRAM);
    const auto exchange = [&] {
        std::array<char, 8> answer{};
        return ::sendto(client.get(), "hello", 5, 0, asked.get(), asked.size) == 5 &&
               ::recv(client.get(), answer.data(), answer.size(), 0) == 5;
    };
    ASSERT_TRUE(exchange());
    const UniqueFd forged = socket_bound_to(forger, asked, SOCK_DGRAM);
    const Address port = with_port(echo_at(net.node), 50000);
    const std::uint64_t before = counted("unsolicited");
    ASSERT_EQ(::sendto(forged.get(), "forged", 6, 0, port.get(), port.size), 6);
    EXPECT_TRUE(eventually([&] { return counted("unsolicited") > before; }));
    EXPECT_TRUE(exchange());
}

// By a rule of the host's, which its stack carries out: the answer comes the same way.
class PublishedForABridgeTest : public ReachTest {
protected:
    void SetUp() override {
        ReachTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        add_bridge("theirs0");
        ASSERT_TRUE(comes_to_be_an_uplink("theirs0"));
        const std::string family = net.option == "-4" ? "ip" : "ip6";
        if (!node().succeeds(formatted(
                "nft 'add table {0} theirs; add chain {0} theirs nat {{ type nat hook prerouting priority dstnat; }}; "
                "add rule {0} theirs nat fib daddr type local {0} daddr != {1} "
                "meta l4proto {{ tcp, udp }} th dport 8888 dnat to {2}:7'",
                family, net.other, net.option == "-4" ? net.other : "[" + net.other + "]"))) {
            GTEST_SKIP() << "this kernel has no NAT of nftables";
        }
    }
    void expect_reached(int type) const {
        SCOPED_TRACE(type == SOCK_STREAM ? "TCP" : "UDP");
        const EchoServer server(other_, net.other);
        const Address published = with_port(echo_at(net.node), 8888);
        const UniqueFd client = socket_in(web_.netns(), published, type);
        ASSERT_EQ(::connect(client.get(), published.get(), published.size), 0) << std::strerror(errno);
        for (int i = 0; i < 3; ++i) {
            std::array<char, 8> answer{};
            ASSERT_EQ(::send(client.get(), "hello", 5, 0), 5);
            EXPECT_EQ(::recv(client.get(), answer.data(), answer.size(), 0), 5);
        }
    }
};
INSTANTIATE_TEST_SUITE_P(Family, PublishedForABridgeTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

TEST_P(PublishedForABridgeTest, IsReached) {
    expect_reached(SOCK_STREAM);
    expect_reached(SOCK_DGRAM);
    expect_nobody_gets_in();
}

// Whatever else comes from there is not handed to the stack, which does not forward here.
TEST_P(PublishedForABridgeTest, IsReachedWithTheContainersOwnAddress) {
    configure(formatted(R"({{"masquerade": {{"non_masquerade_cidrs": ["{}"]}}}})", net.other_prefix));
    ASSERT_TRUE(comes_to_be_an_uplink("theirs0"));
    expect_reached(SOCK_STREAM);
    expect_reached(SOCK_DGRAM);
    node().run("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.theirs0.forwarding=0");
    const EchoServer ours(web_.netns(), net.container);
    EXPECT_TRUE(is_echoed(other_, net.container));
}

// Docker has bridges ask the firewall, which has begun to translate what netkitd's program sees then.
TEST_P(PublishedForABridgeTest, IsReachedWhereBridgesAskTheFirewall) {
    const std::string family = net.option == "-4" ? "ip" : "ip6";
    if (!node().succeeds(formatted("sysctl -qw net.bridge.bridge-nf-call-{}tables=1", family))) {
        GTEST_SKIP() << "this kernel's bridges ask no firewall";
    }
    configure(formatted(
        R"({{"masquerade": {{"non_masquerade_cidrs": ["{}"]}}, "networks": {{"default": {{"accept_forwarded": true}}}}}})",
        net.other_prefix));
    ASSERT_TRUE(comes_to_be_an_uplink("theirs0"));
    node().run(
        formatted("nft 'add chain {0} theirs post {{ type nat hook postrouting priority srcnat; }}; "
                  "add rule {0} theirs post ct status dnat masquerade; "
                  "add rule {0} theirs nat meta l4proto {{ tcp, udp }} th dport 9999 dnat to {1}:7'",
                  family, net.option == "-4" ? net.container : "[" + net.container + "]"));
    expect_reached(SOCK_STREAM);
    expect_reached(SOCK_DGRAM);
    // And the other way round.
    const EchoServer ours(web_.netns(), net.container);
    const Address published = with_port(echo_at(net.node), 9999);
    const UniqueFd client = socket_in(other_, published, SOCK_STREAM);
    EXPECT_EQ(::connect(client.get(), published.get(), published.size), 0) << std::strerror(errno);
}

TEST_P(ReachTest, ADeviceThatIsRenamedGoesOnAndOneThatGoesIsForgotten) {
    add_card("up1");
    ASSERT_TRUE(comes_to_be_an_uplink("up1"));
    const EchoServer server(other_, net.other);
    Tally tally;
    {
        const std::jthread traffic(
            [&](const std::stop_token& stop) { transfer(stop, web_.netns(), echo_at(net.other), tally); });
        ASSERT_TRUE(eventually([&] { return tally.came_back > 10; }));
        node().run("ip link set up1 down && ip link set up1 name lan1 && ip link set lan1 up");
        ASSERT_TRUE(comes_to_be_an_uplink("lan1"));
        const std::uint64_t before = tally.came_back;
        EXPECT_TRUE(eventually([&] { return tally.came_back > before + 10; }));
    }
    EXPECT_EQ(tally.failed, 0U);
    node().run("ip link del lan1");
    EXPECT_TRUE(eventually([&] { return uplinks() == std::set<std::string>{"up0"}; }));
}

TEST_P(ReachTest, ADeviceThatIsNoUplinkAnyMoreIsNamed) {
    add_card("up1");
    ASSERT_TRUE(comes_to_be_an_uplink("up1"));
    configure(R"({"uplinks": ["up0"]})");
    EXPECT_TRUE(eventually([&] { return log().contains("up1 is no uplink any more"); })) << log();
}

// The programs of a link that goes down and up stay: else the host would get containers' packets, and reset them.
TEST_P(ReachTest, ALinkThatGoesDownForAMomentEndsNoConnection) {
    add_card("up1");
    ASSERT_TRUE(comes_to_be_an_uplink("up1"));
    const EchoServer server(other_, net.other);
    Tally tally;
    {
        const std::jthread traffic(
            [&](const std::stop_token& stop) { transfer(stop, web_.netns(), echo_at(net.other), tally); });
        ASSERT_TRUE(eventually([&] { return tally.came_back > 10; }));
        for (int flap = 0; flap < 3; ++flap) {
            const std::uint64_t before = tally.came_back;
            node().run("ip link set up1 down && sleep 0.4");
            EXPECT_THAT(uplinks(), Contains("up1")) << "its programs are there";
            node().run("ip link set up1 up");
            EXPECT_TRUE(eventually([&] { return tally.came_back > before + 10; }));
        }
    }
    EXPECT_EQ(tally.failed, 0U);
}

TEST_P(ReachTest, AnAddressThatChangesIsUsedAtOnce) {
    add_card("up1");
    ASSERT_TRUE(comes_to_be_an_uplink("up1"));
    const Mirror mirror(other_, net.other);
    EXPECT_TRUE(eventually([&] { return seen_by(net.other) == net.node; }));
    const std::string second = net.node + "9";
    ip(formatted("addr add {}{} dev up1", second, net.length));
    ip(formatted("addr del {} dev up1", net.node + (net.option == "-4" ? "/24" : "/64")));
    ip(formatted("addr replace {}{} dev up1", second, net.length));
    EXPECT_TRUE(eventually([&] { return seen_by(net.other) == second; })) << seen_by(net.other);
    EXPECT_TRUE(eventually([&] { return log().contains(formatted("flows were ended, of {}", net.node)); })) << log();
}

// Where nothing can be sent, whoever sends is told.
TEST_P(ReachTest, WhereADeviceIsNoUplinkThatIsSaidAtOnce) {
    add_bridge("theirs0");
    ip(formatted("route add {} dev port0", net.far_route));
    const std::string told = net.option == "-4" ? "Destination Net Unreachable" : "No route";
    EXPECT_TRUE(eventually(
        [&] { return web_.netns().run(formatted("ping -n -c 1 -W 3 {} || true", net.far)).contains(told); }));
    const Address to = echo_at(net.far);
    const UniqueFd stream = socket_in(web_.netns(), to, SOCK_STREAM);
    EXPECT_EQ(::connect(stream.get(), to.get(), to.size), -1);
    EXPECT_EQ(errno, ENETUNREACH);
    EXPECT_THAT(uplinks(), Not(Contains("port0")));
    EXPECT_THAT(degraded(), Contains(testing::AllOf(HasSubstr("no-uplink"), HasSubstr("port0"))));
}

// Rules that send all there is by a tunnel, before the main table is asked: Tailscale's exit node.
class ExitNodeTest : public ReachTest {
protected:
    void SetUp() override {
        ReachTest::SetUp();
        if (!IsSkipped()) {
            rules_at_first_ = rules();
            connect(node(), "exit0", other_, "exit0");
            set_addresses("exit0", "exit0");
        }
    }
    void use_exit_node() const {
        ip(formatted("route add default via {} dev exit0 table 52", net.other));
        ip("rule add preference 5270 lookup 52");
    }
    [[nodiscard]] std::string rules() const { return node().run(formatted("ip {} rule", net.option)); }
    [[nodiscard]] bool host_and_container_reach_each_other() const {
        return node().reaches(net.container) && web_.netns().reaches(net.gateway);
    }

    std::string rules_at_first_;
};
INSTANTIATE_TEST_SUITE_P(Family, ExitNodeTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

TEST_P(ExitNodeTest, CutsNeitherTheHostNorTheOutsideFromContainers) {
    EXPECT_THAT(rules_at_first_, Not(HasSubstr(net.network))) << "without another's rule there is none of ours";
    use_exit_node();
    EXPECT_TRUE(eventually([&] { return node().succeeds("ping -c 1 -W 1 " + net.container); })) << rules();
    for (const char* strictness : {"0", "1"}) {
        node().run(formatted("for f in all netkitd0; do sysctl -qw net.ipv4.conf.$f.rp_filter={}; done", strictness));
        EXPECT_TRUE(host_and_container_reach_each_other()) << strictness;
    }
    expect_reached("exit0", net.far);
    expect_nobody_gets_in();
    stop(SIGKILL);
    EXPECT_TRUE(host_and_container_reach_each_other()) << "without a daemon";
    ASSERT_TRUE(start());
    EXPECT_TRUE(host_and_container_reach_each_other());
    ip("rule del preference 5270 lookup 52");
    EXPECT_TRUE(eventually([&] { return rules() == rules_at_first_; })) << rules();
}

TEST_P(ExitNodeTest, OursIsBeforeTheFirstThatLeadsPastTheMainTable) {
    use_exit_node();
    ASSERT_TRUE(eventually([&] { return rules().contains("5269:"); })) << rules();
    ip("rule add preference 100 lookup main suppress_prefixlength 0");
    ip("rule add preference 5210 fwmark 0x80000 unreachable");
    EXPECT_TRUE(eventually([&] { return rules().contains("5209:") && !rules().contains("5269:"); })) << rules();
    node().run(formatted("ip {} rule flush protocol 120", net.option));
    EXPECT_TRUE(eventually([&] { return rules().contains("5209:"); })) << "deleted by somebody: " << rules();
}

// As an address or a link of the host's always has.
TEST_P(ExitNodeTest, WhatTheHostHasInAPrefixGoesFirst) {
    use_exit_node();
    ASSERT_TRUE(eventually([&] { return rules().contains("5269:"); })) << rules();
    const bool v4 = net.option == "-4";
    const std::string host = v4 ? "10.77.9.1" : "fd6e:6b64::9:1";
    const std::string behind = v4 ? "10.77.9.2" : "fd6e:6b64::9:2";
    const std::string length = v4 ? "/24" : "/112 nodad";
    const NetworkNamespace neighbour;
    connect(node(), "late0", neighbour, "eth0");
    ip(formatted("addr add {}{} dev late0", host, length));
    neighbour.run(formatted("ip addr add {}{} dev eth0", behind, length));
    EXPECT_TRUE(node().reaches(behind));
    EXPECT_TRUE(eventually([&] { return node().succeeds("ping -c 1 -W 1 " + net.container); }));
}

// In the tunnel's own table: Tailscale's routes to others' networks.
TEST_P(ExitNodeTest, SoDoesWhatAnotherTableHasOfIt) {
    use_exit_node();
    ASSERT_TRUE(eventually([&] { return rules().contains("5269:"); })) << rules();
    const bool v4 = net.option == "-4";
    const std::string part = v4 ? "10.77.9.0/24" : "fd6e:6b64::9:0/112";
    const std::string behind = v4 ? "10.77.9.2" : "fd6e:6b64::9:2";
    other_.run(formatted("ip {} addr add {}{} dev lo", net.option, behind, v4 ? "/32" : "/128"));
    ip(formatted("route add {} via {} dev exit0 onlink table 52", part, net.other));
    EXPECT_TRUE(eventually([&] { return node().succeeds("ping -c 1 -W 1 " + behind); })) << rules();
    EXPECT_TRUE(eventually([&] { return web_.netns().succeeds("ping -c 1 -W 1 " + behind); }));
    EXPECT_TRUE(host_and_container_reach_each_other());
    EXPECT_THAT(rules(), HasSubstr(formatted("5268:\tfrom all to {} goto 5270", part)));
    ip(formatted("route del {} table 52", part));
    EXPECT_TRUE(eventually([&] { return !rules().contains(part); })) << rules();
    EXPECT_TRUE(host_and_container_reach_each_other());
    // Another rule that leads there, for some packets only: what is not of those goes where it did without netkitd.
    ip(formatted("route add {} via {} dev exit0 onlink table 52", part, net.other));
    ip("rule del preference 5270 lookup 52");
    ip("rule add preference 5270 fwmark 0x1 lookup 52");
    EXPECT_TRUE(eventually([&] { return rules().contains(part); }));
    EXPECT_TRUE(eventually([&] { return host_and_container_reach_each_other(); }));
}

TEST_P(ExitNodeTest, TheHostsOtherRulesDecideAboutThatToo) {
    use_exit_node();
    const bool v4 = net.option == "-4";
    const std::string part = v4 ? "10.77.9.0/24" : "fd6e:6b64::9:0/112";
    const std::string behind = v4 ? "10.77.9.2" : "fd6e:6b64::9:2";
    other_.run(formatted("ip {} addr add {}{} dev lo", net.option, behind, v4 ? "/32" : "/128"));
    ip(formatted("route add {} via {} dev exit0 onlink table 52", part, net.other));
    ASSERT_TRUE(eventually([&] { return node().succeeds("ping -c 1 -W 1 " + behind); })) << rules();
    ip(formatted("rule add preference 5000 to {} prohibit", part));
    EXPECT_TRUE(eventually([&] { return rules().contains(formatted("to {} goto 5000", part)); })) << rules();
    EXPECT_TRUE(node().cannot_reach(behind));
    EXPECT_TRUE(host_and_container_reach_each_other());
}

// Nobody's packets go by them, or the network goes first as in the main table.
TEST_P(ExitNodeTest, NotWhatATableHasThatNoRuleLeadsToNorAWholeNetwork) {
    use_exit_node();
    ASSERT_TRUE(eventually([&] { return rules().contains("5269:"); })) << rules();
    const bool v4 = net.option == "-4";
    ip(formatted("route add {} via {} dev exit0 onlink table 999", v4 ? "10.77.0.0/24" : "fd6e:6b64::/112", net.other));
    ip(formatted("route add {} via {} dev exit0 onlink table 52", net.network, net.other));
    // What is heard of later.
    const std::string seen = v4 ? "10.77.9.0/24" : "fd6e:6b64::9:0/112";
    ip(formatted("route add {} via {} dev exit0 onlink table 52", seen, net.other));
    EXPECT_TRUE(eventually([&] { return rules().contains(seen); })) << rules();
    EXPECT_THAT(rules(), Not(HasSubstr(v4 ? "10.77.0.0/24" : "fd6e:6b64::/112")));
    EXPECT_TRUE(host_and_container_reach_each_other());
    const ContainerProcess late;
    EXPECT_TRUE(attach(late, "late")) << "there are addresses";
}

// The kernel asks rules one by one.
TEST_P(ExitNodeTest, AtMost64PartsHaveRules) {
    use_exit_node();
    ASSERT_TRUE(eventually([&] { return rules().contains("5269:"); })) << rules();
    node().run(
        formatted("for i in $(seq 1 80); do echo route add {} via {} dev exit0 onlink table 52; done | ip {} -batch -",
                  net.option == "-4" ? "10.77.$i.0/24" : "fd6e:6b64::$i:0/112", net.other, net.option));
    const auto parts = [&] { return node().run(formatted("ip {} rule | grep -c goto || true", net.option)); };
    EXPECT_TRUE(eventually([&] { return parts().starts_with("64"); })) << parts();
    stop(SIGTERM);
    purge();
    EXPECT_TRUE(parts().starts_with("0")) << parts();
}

TEST_P(ExitNodeTest, ARuleAboutAllOtherDestinationsLeadsPastTheMainTableToo) {
    ip(formatted("route add default via {} dev exit0 table 52", net.other));
    ip(formatted("rule add preference 5270 not to {} lookup 52", net.far_route));
    EXPECT_TRUE(eventually([&] { return node().succeeds("ping -c 1 -W 1 " + net.container); })) << rules();
}

// wg-quick's: the main table without its default route, then the tunnel's. IPv4 goes by the tunnel; of IPv6 the kernel
// does not say that the route is suppressed, and nothing is to pass by the tunnel.
TEST_P(ExitNodeTest, WhatARuleSuppressesIsNotTheWay) {
    outside().run(formatted("ip {} addr add {}{} dev lo; ip link set lo up", net.option, net.far,
                            net.option == "-4" ? "/32" : "/128"));
    if (net.option == "-6") {
        node().run("ip addr add 2001:db8:1::1/64 dev up0 nodad && ip -6 route add default via 2001:db8:1::2");
        outside().run("ip addr add 2001:db8:1::2/64 dev eth0 nodad");
    }
    ip(formatted("route add default via {} dev exit0 table 52", net.other));
    ip("rule add preference 5280 lookup 52");
    ip("rule add preference 5270 lookup main suppress_prefixlength 0");
    const Mirror by_tunnel(other_, net.far);
    const Mirror past_it(outside(), net.far);
    if (net.option == "-4") {
        EXPECT_TRUE(eventually([&] { return seen_by(net.far) == net.node; })) << seen_by(net.far);
        return;
    }
    EXPECT_TRUE(eventually([&] { return counted("policy-rule") > 0 || seen_by(net.far).empty(); }));
    EXPECT_EQ(seen_by(net.far), "");
    EXPECT_GT(counted("policy-rule"), 0U);
    EXPECT_THAT(degraded(), Contains(HasSubstr("policy rule 5270")));
    ip("rule del preference 5270");
    EXPECT_TRUE(eventually([&] { return seen_by(net.far) == net.node; })) << seen_by(net.far);
}

TEST_P(ExitNodeTest, ItsRulesAreGoneWithAPurge) {
    use_exit_node();
    ASSERT_TRUE(eventually([&] { return rules().contains(net.network); })) << rules();
    stop(SIGTERM);
    purge();
    EXPECT_THAT(rules(), Not(HasSubstr(net.network)));
    EXPECT_THAT(rules(), HasSubstr("5270:"));
}

class ManyDevicesTest : public DaemonTest {};

// Ports of a bridge, as those of another runtime's containers are.
TEST_F(ManyDevicesTest, AThousandPortsOfABridgeAreNoUplinks) {
    ASSERT_TRUE(start());
    node().run(
        "ip link add theirs0 type bridge && ip link set theirs0 up && ip addr add 192.0.2.1/24 dev theirs0; "
        "for i in $(seq 1000); do echo link add port$i type veth peer name peer$i; echo link set port$i master "
        "theirs0; "
        "echo link set port$i up; done | ip -batch -");
    EXPECT_TRUE(eventually([&] { return status().at("uplinks").size() == 2U; })) << status().at("uplinks");
    const ContainerProcess web;
    EXPECT_TRUE(attach(web, "web"));
    EXPECT_EQ(node().run("ls " + (pins() / "links").string() + " | grep -c ^uplink-"), "4\n");
}

TEST_F(ManyDevicesTest, WaysOutComeFirstWhereThereAreMoreUplinksThanRoom) {
    node().run(
        "for i in $(seq 300); do echo link add lan$i type veth peer name peer$i; echo link set lan$i up; "
        "echo addr add 192.0.$((i / 250 + 2)).$((i % 250 + 1))/32 dev lan$i; done | ip -batch -;"
        "ip route add default dev lan300 metric 7");
    ASSERT_TRUE(start()) << log();
    const nlohmann::json now = status();
    ASSERT_EQ(now.at("uplinks").size(), 256U);
    EXPECT_EQ(now.at("uplinks").back().at("name"), "lan300");
    EXPECT_THAT(degraded(), Contains(testing::AllOf(HasSubstr("45 devices"), HasSubstr("lan255"))));
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
}

}  // namespace
}  // namespace netkitd::test
