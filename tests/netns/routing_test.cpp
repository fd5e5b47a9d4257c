// Which way a container's packets take and with which address, when the host has several of either, and when they
// change under running traffic. The outside tells what it sees.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if_arp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "harness/daemon_test.h"
#include "harness/traffic.h"
#include "harness/tun_wire.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::UnorderedElementsAre;

struct Family {
    std::string name;
    std::string option;
    std::string remote;  // an address that both outside hosts have
    std::string container;
    std::array<std::string, 2> node;     // on up0 and on up1
    std::array<std::string, 2> gateway;  // their outside hosts
    std::string second;                  // that a test may add to up0
    int prefix_length = 0;
    std::string hash_policy;  // the sysctl

    [[nodiscard]] std::string via(std::size_t uplink) const {
        return formatted("via {} dev up{}", gateway.at(uplink), uplink);
    }
    [[nodiscard]] std::string with_prefix(const std::string& address) const {
        return formatted("{}/{}{}", address, prefix_length, option == "-6" ? " nodad" : "");
    }
};

const std::array<Family, 2> kFamilies{Family{.name = "V4",
                                             .option = "-4",
                                             .remote = "192.0.2.10",
                                             .container = "10.77.0.2",
                                             .node = {"198.51.100.1", "203.0.113.1"},
                                             .gateway = {"198.51.100.2", "203.0.113.2"},
                                             .second = "198.51.100.9",
                                             .prefix_length = 24,
                                             .hash_policy = "/proc/sys/net/ipv4/fib_multipath_hash_policy"},
                                      Family{.name = "V6",
                                             .option = "-6",
                                             .remote = "2001:db8:10::10",
                                             .container = "fd6e:6b64::2",
                                             .node = {"2001:db8:1::1", "2001:db8:2::1"},
                                             .gateway = {"2001:db8:1::2", "2001:db8:2::2"},
                                             .second = "2001:db8:1::9",
                                             .prefix_length = 64,
                                             .hash_policy = "/proc/sys/net/ipv6/fib_multipath_hash_policy"}};

// A daemon on a host with two uplinks, up0 and up1; the default routes lead out of up0.
class RoutingTest : public DaemonTest, public testing::WithParamInterface<Family> {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        connect(node(), "up1", second_, "eth0");
        for (const Family& family : kFamilies) {
            for (const auto& [host, i] : {std::pair(&outside(), 0U), {&second_, 1U}}) {
                host->run(formatted("ip addr replace {} dev eth0; ip addr add {} dev lo; ip link set lo up",
                                    family.with_prefix(family.gateway.at(i)), family.remote));
                node().run(formatted("ip addr replace {} dev up{}", family.with_prefix(family.node.at(i)), i));
            }
            node().run(formatted("ip {} route replace default {}", family.option, family.via(0)));
            node().run(formatted("ip {} route add default {} metric 4000", family.option, family.via(1)));
        }
        node().run("echo 1 > /proc/sys/net/ipv4/conf/all/promote_secondaries");
        ASSERT_TRUE(start());
        ASSERT_TRUE(attach(web_, "web"));
    }

    // ip(8) of this family, on the node.
    void ip(const std::string& command) const { node().run(formatted("ip {} {}", net.option, command)); }
    [[nodiscard]] UniqueFd socket(int type = SOCK_DGRAM) const { return socket_in(web_.netns(), to_, type); }
    // What the outside sees of a new flow.
    [[nodiscard]] std::string seen() const { return seen_as(socket().get(), to_); }
    // The same, once the daemon has seen what was changed just now.
    [[nodiscard]] bool comes_to_be_seen_as(const std::string& address) const {
        return eventually([&] { return seen() == address; });
    }
    // Translated addresses of the flows that there are.
    [[nodiscard]] std::set<std::string> addresses_of_flows() const {
        std::set<std::string> addresses;
        const json list = call({.operation = ipc::Operation::flow_list}).value();
        for (const json& flow : list.at("flows")) {
            addresses.insert(flow.at("translated").get<std::string>());
        }
        return addresses;
    }

    // Traffic of every kind, from the container to `to_`.
    void begin() {
        for (std::size_t i = 0; i < kKinds.size(); i++) {
            traffic_.emplace_back([this, i](const std::stop_token& stop) {
                std::array{transfer, stream, connect_anew}.at(i)(stop, web_.netns(), to_, tallies_.at(i));
            });
        }
        ASSERT_TRUE(
            eventually([&] { return std::ranges::all_of(tallies_, [](const Tally& t) { return t.sent > 10; }); }));
    }
    void end() {
        for (auto& thread : traffic_) {
            thread.request_stop();
        }
        traffic_.clear();
    }
    void expect_nothing_lost() {
        std::this_thread::sleep_for(3s);  // long enough for all that is remembered to be asked again
        end();
        for (std::size_t i = 0; i < kKinds.size(); i++) {
            const Tally& tally = tallies_.at(i);
            SCOPED_TRACE(kKinds.at(i));
            EXPECT_EQ(tally.came_back, tally.sent);
            EXPECT_EQ(tally.failed, 0U);
            EXPECT_EQ(tally.lost_segments, 0U);
        }
    }
    const Family& net = GetParam();
    NetworkNamespace second_;
    ContainerProcess web_;
    Address to_ = echo_at(net.remote);
    std::array<Tally, 3> tallies_;

private:
    static constexpr std::array<const char*, 3> kKinds{"the transfer", "the stream", "new connections"};

    std::vector<std::jthread> traffic_;
};

class SourceTest : public RoutingTest {
protected:
    void SetUp() override {
        RoutingTest::SetUp();
        if (!IsSkipped()) {
            mirrors_.emplace_back(std::make_unique<Mirror>(outside(), net.remote));
            mirrors_.emplace_back(std::make_unique<Mirror>(second_, net.remote));
            // The kernel may still be bringing up the container's end.
            ASSERT_TRUE(comes_to_be_seen_as(net.node[0]));
        }
    }

private:
    std::vector<std::unique_ptr<Mirror>> mirrors_;
};
INSTANTIATE_TEST_SUITE_P(Family, SourceTest, testing::ValuesIn(kFamilies),
                         [](const auto& family) { return family.param.name; });

TEST_P(SourceTest, IsWhatTheRouteSays) {
    ip(formatted("addr add {} dev up0", net.with_prefix(net.second)));
    ip(formatted("route replace default {} src {}", net.via(0), net.second));
    EXPECT_TRUE(comes_to_be_seen_as(net.second));
    ip(formatted("route add {} {}", net.remote, net.via(1)));
    EXPECT_TRUE(comes_to_be_seen_as(net.node[1])) << "a route of its own, by the other uplink";
}

TEST_P(SourceTest, FollowsPolicyRules) {
    // The other uplink is one by its route in that table alone, as with two providers or wg-quick.
    for (const Family& family : kFamilies) {
        node().run(formatted("ip {} route del default {} metric 4000", family.option, family.via(1)));
    }
    ip(formatted("route add default {} table 100", net.via(1)));
    for (const std::string& selector : {std::string("iif netkitd0"), "from " + net.container, "to " + net.remote,
                                        std::string("not fwmark 7"), std::string("ipproto udp dport 7")}) {
        SCOPED_TRACE(selector);
        ip(formatted("rule add {} lookup 100", selector));
        EXPECT_TRUE(comes_to_be_seen_as(net.node[1]));
        ip(formatted("rule del {} lookup 100", selector));
        EXPECT_TRUE(comes_to_be_seen_as(net.node[0]));
    }
    ip(formatted("rule add from {} lookup 100", net.node[0]));
    EXPECT_EQ(seen(), net.node[0]) << "a rule for the host's own address is not about containers";
}

// As with two providers: what comes by the second one's address goes back there.
TEST_P(SourceTest, AnAnswerByAPublishedPortIsRoutedAsTheAddressThatWasAsked) {
    ip(formatted("route add default {} table 100", net.via(1)));
    ip(formatted("rule add from {} lookup 100", net.node[1]));
    const ContainerProcess server;
    const auto reply = attach(server, "server", {{"io.netkitd.publish", "7:7/tcp,7:7/udp"}});
    ASSERT_TRUE(reply) << reply.error().message();
    const EchoServer echo(server.netns(), reply->at(net.name == "V4" ? "ipv4" : "ipv6"));
    const Address asked = echo_at(net.node[1]);
    for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
        const UniqueFd client = socket_bound_to(second_, with_port(echo_at(net.remote), 0), type);
        std::array<char, 8> answer{};
        EXPECT_EQ(::connect(client.get(), asked.get(), asked.size), 0) << std::strerror(errno);
        EXPECT_EQ(::send(client.get(), "hello", 5, MSG_NOSIGNAL), 5) << std::strerror(errno);
        EXPECT_EQ(::recv(client.get(), answer.data(), 5, MSG_WAITALL), 5) << std::strerror(errno);
    }
}

TEST_P(SourceTest, MultipathSpreadsFlowsAndKeepsEachOnItsPath) {
    node().run("echo 1 > " + net.hash_policy);
    ip(formatted("route del default {} metric 4000", net.via(1)));
    ip(formatted("route replace default nexthop {} nexthop {}", net.via(0), net.via(1)));
    constexpr std::size_t kFlows = 32;
    std::vector<UniqueFd> sockets;
    std::vector<std::string> first;
    for (std::size_t i = 0; i < kFlows; i++) {
        sockets.push_back(socket());
        first.push_back(seen_as(sockets.back().get(), to_));
    }
    EXPECT_THAT(std::set<std::string>(first.begin(), first.end()), UnorderedElementsAre(net.node[0], net.node[1]));
    for (int round = 0; round < 3; round++) {
        std::this_thread::sleep_for(700ms);  // what flows remember is asked again meanwhile
        for (std::size_t i = 0; i < kFlows; i++) {
            EXPECT_EQ(seen_as(sockets.at(i).get(), to_), first.at(i)) << "flow " << i << ", round " << round;
        }
    }
}

TEST_P(SourceTest, OfAFlowStaysWhenAnAddressIsAddedOrPreferred) {
    const UniqueFd flow = socket();
    ASSERT_EQ(seen_as(flow.get(), to_), net.node[0]);
    ip(formatted("addr add {} dev up0", net.with_prefix(net.second)));
    ip(formatted("route replace default {} src {}", net.via(0), net.second));
    EXPECT_TRUE(comes_to_be_seen_as(net.second)) << "new flows have it";
    EXPECT_EQ(seen_as(flow.get(), to_), net.node[0]);
}

// As when a DHCP server gives another address.
TEST_P(SourceTest, OfAFlowChangesWhenItsAddressIsGone) {
    const UniqueFd flow = socket();
    ASSERT_EQ(seen_as(flow.get(), to_), net.node[0]);
    ip(formatted("addr add {} dev up0", net.with_prefix(net.second)));
    ip(formatted("addr del {}/{} dev up0", net.node[0], net.prefix_length));
    ip(formatted("route replace default {}", net.via(0)));
    EXPECT_TRUE(eventually([&] { return log().contains(formatted("flows were ended, of {}", net.node[0])); }));
    EXPECT_THAT(addresses_of_flows(), testing::Not(testing::Contains(net.node[0])));
    EXPECT_EQ(seen_as(flow.get(), to_), net.second);
}

TEST_P(SourceTest, OfAFlowChangesWhenItsAddressIsGoneWhileNoDaemonRuns) {
    const UniqueFd flow = socket();
    ASSERT_EQ(seen_as(flow.get(), to_), net.node[0]);
    stop(SIGKILL);
    ip(formatted("addr add {} dev up0", net.with_prefix(net.second)));
    ip(formatted("addr del {}/{} dev up0", net.node[0], net.prefix_length));
    ip(formatted("route replace default {}", net.via(0)));
    EXPECT_TRUE(eventually([&] { return seen_as(flow.get(), to_, 500ms) == net.second; }));
    ASSERT_TRUE(start());
    EXPECT_TRUE(eventually([&] { return !addresses_of_flows().contains(net.node[0]); }));
    EXPECT_EQ(seen_as(flow.get(), to_), net.second);
}

// With traffic of every kind out of up0 while something changes.
class TrafficTest : public RoutingTest {
protected:
    void SetUp() override {
        RoutingTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        servers_.emplace_back(std::make_unique<EchoServer>(outside(), net.remote));
        servers_.emplace_back(std::make_unique<EchoServer>(second_, net.remote));
        // The kernel may still be bringing up the container's end.
        ASSERT_TRUE(eventually([&] { return web_.netns().succeeds("ping -c 1 -W 1 " + net.remote); }));
    }
    // Those of an uplink's programs.
    [[nodiscard]] std::string link_pins(std::uint32_t ifindex) const {
        return node().run(formatted("ls {}/*/links | grep '^uplink-{}-' || true", bpffs().string(), ifindex));
    }
    [[nodiscard]] std::uint32_t ifindex(const std::string& name) const {
        return static_cast<std::uint32_t>(
            std::stoul(node().run(formatted("ip -j link show {} | jq .[0].ifindex", name))));
    }
    void add_uplink(std::size_t i) {
        connect(node(), formatted("up{}", i), second_, "eth0");
        for (const Family& family : kFamilies) {
            second_.run(formatted("ip addr replace {} dev eth0", family.with_prefix(family.gateway.at(i))));
            node().run(formatted("ip addr replace {} dev up{}", family.with_prefix(family.node.at(i)), i));
            node().run(formatted("ip {} route add default {} metric 4000", family.option, family.via(i)));
        }
    }

private:
    std::vector<std::unique_ptr<EchoServer>> servers_;
};
INSTANTIATE_TEST_SUITE_P(Family, TrafficTest, testing::ValuesIn(kFamilies),
                         [](const auto& family) { return family.param.name; });

TEST_P(TrafficTest, LosesNothingWhenOtherAddressesComeAndGo) {
    begin();
    for (int i = 0; i < 5; i++) {
        // Of IPv6, the kernel would prefer it for new flows if it were not deprecated.
        ip(formatted("addr add {} dev up0 preferred_lft 0", net.with_prefix(net.second)));
        ip(formatted("addr del {}/{} dev up1", net.node[1], net.prefix_length));
        std::this_thread::sleep_for(200ms);
        ip(formatted("addr del {}/{} dev up0", net.second, net.prefix_length));
        ip(formatted("addr add {} dev up1", net.with_prefix(net.node[1])));
        std::this_thread::sleep_for(200ms);
    }
    expect_nothing_lost();
}

TEST_P(TrafficTest, LosesNothingWhenSomebodyElsesFirewallComesAndGoes) {
    const std::string firewall =
        "nft 'table inet theirs { chain forward { type filter hook forward priority 0; policy drop; }; }'";
    if (!node().succeeds(firewall)) {
        GTEST_SKIP() << "this kernel has no nftables";
    }
    begin();
    for (int i = 0; i < 10; i++) {
        node().run(firewall);
        std::this_thread::sleep_for(100ms);
        node().run("nft flush ruleset");
        std::this_thread::sleep_for(100ms);
    }
    expect_nothing_lost();
}

TEST_P(TrafficTest, LosesNothingWhenTheUplinkIsRenamed) {
    begin();
    node().run("ip link set up0 name wan0");
    EXPECT_TRUE(eventually([&] { return uplinks() == std::set<std::string>{"wan0", "up1"}; }));
    expect_nothing_lost();
}

TEST_P(TrafficTest, LosesNothingWhenAnotherUplinkVanishesAndAppears) {
    const std::uint32_t former = ifindex("up1");
    EXPECT_NE(link_pins(former), "");
    begin();
    node().run("ip link del up1");
    EXPECT_TRUE(eventually([&] { return uplinks() == std::set<std::string>{"up0"}; }));
    EXPECT_EQ(link_pins(former), "");
    add_uplink(1);
    EXPECT_TRUE(eventually([&] { return uplinks().contains("up1"); }));
    EXPECT_NE(link_pins(ifindex("up1")), "");
    expect_nothing_lost();
}

// Most of what the addresses are hashed to is up1's: by one order of the hops or by the other, new connections go
// there.
TEST_P(TrafficTest, LosesNothingWhenTheNextHopsChange) {
    ip(formatted("route del default {} metric 4000", net.via(1)));
    begin();
    const std::string some = formatted("nexthop {} weight 1", net.via(0));
    const std::string most = formatted("nexthop {} weight 4", net.via(1));
    bool others_went_by_up1 = false;
    for (const std::string& hops : {some + " " + most, most + " " + some}) {
        ip(formatted("route replace default {}", hops));
        std::this_thread::sleep_for(2s);
        others_went_by_up1 = others_went_by_up1 || addresses_of_flows().contains(net.node[1]);
    }
    EXPECT_TRUE(others_went_by_up1);
    expect_nothing_lost();
}

// The uplink is a macvlan; its neighbours know a way in by the device below as well, of a host that forwards.
TEST_P(TrafficTest, NobodyUnaskedGetsInBelowTheUplink) {
    connect(node(), "nic", second_, "wire");
    node().run(
        "ip link add link nic name mac0 type macvlan mode bridge; ip link set mac0 up;"
        "ip addr add 192.0.2.129/30 dev nic; ip addr add 192.0.2.133/30 dev mac0;"
        "ip addr add 2001:db8:3::1/64 dev nic nodad; ip addr add 2001:db8:4::1/64 dev mac0 nodad;"
        "ip route add default via 192.0.2.134 metric 5000;"
        "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    second_.run(
        "ip addr add 192.0.2.130/30 dev wire; ip addr add 2001:db8:3::2/64 dev wire nodad;"
        "ip route add 10.77.0.0/16 via 192.0.2.129; ip route add fd6e:6b64::/64 via 2001:db8:3::1");
    ASSERT_TRUE(eventually([&] { return uplinks().contains("mac0"); }));
    EXPECT_TRUE(second_.reaches(net.option == "-4" ? "192.0.2.129" : "2001:db8:3::1")) << "the host, as ever";
    EXPECT_TRUE(second_.cannot_reach(net.container));
    EXPECT_TRUE(eventually([&] { return counted("unsolicited") > 0; }));
}

// A macvlan of the host: another card, as far as its neighbours are concerned. The pair below it stands for a card: it
// must not answer for the macvlan's address, or packets would come in by it.
TEST_P(TrafficTest, NobodyUnaskedGetsInByAMacvlan) {
    connect(node(), "nic", second_, "wire");
    node().run(
        "echo 1 > /proc/sys/net/ipv4/conf/nic/arp_ignore;"
        "ip link add link nic name mac0 type macvlan mode bridge; ip link set mac0 up;"
        "ip addr add 192.0.2.129/30 dev mac0; ip addr add 2001:db8:3::1/64 dev mac0 nodad;"
        "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    second_.run(
        "ip addr add 192.0.2.130/30 dev wire; ip addr add 2001:db8:3::2/64 dev wire nodad;"
        "ip route add 10.77.0.0/16 via 192.0.2.129; ip route add fd6e:6b64::/64 via 2001:db8:3::1");
    ASSERT_TRUE(eventually([&] { return uplinks() == std::set<std::string>{"mac0", "up0", "up1"}; }));
    EXPECT_TRUE(second_.reaches(net.option == "-4" ? "192.0.2.129" : "2001:db8:3::1")) << "the host, as ever";
    EXPECT_TRUE(second_.cannot_reach(net.container));
    EXPECT_TRUE(eventually([&] { return counted("unsolicited") > 0; }));
    EXPECT_EQ(counted("no-uplink"), 0U) << "the container answered";
}

// What netkitd does not know how to send to: nothing is sent there, and `status` says why.
TEST_P(TrafficTest, AnUplinkOfAnUnknownKindIsNamed) {
    std::optional<Tun> ppp;
    try {
        ppp.emplace(node(), "ppp0", ARPHRD_PPP);
    } catch (const std::runtime_error& error) {
        GTEST_SKIP() << error.what();
    }
    ip("route add default dev ppp0 metric 1");
    EXPECT_TRUE(eventually([&] { return status().at("degraded").dump().contains("ppp0 has packets of a kind"); }))
        << status().at("degraded");
}

// The remote does not know the connection under its new address, and says so at once.
TEST_P(TrafficTest, EndsWithAResetWhenItsUplinkVanishesAndGoesOnByTheOther) {
    const UniqueFd connection = socket(SOCK_STREAM);
    ASSERT_EQ(::connect(connection.get(), to_.get(), to_.size), 0);
    begin();
    node().run("ip link del up0");
    std::array<char, 1> byte{};
    ASSERT_EQ(::send(connection.get(), byte.data(), 1, MSG_NOSIGNAL), 1);
    EXPECT_EQ(::recv(connection.get(), byte.data(), 1, 0), -1);
    EXPECT_EQ(errno, ECONNRESET);
    const std::uint64_t answered = tallies_[2].came_back;
    EXPECT_TRUE(eventually([&] { return tallies_[2].came_back > answered + 10; })) << "new connections";
    end();
    EXPECT_THAT(addresses_of_flows(), testing::ElementsAre(net.node[1]));
}

// An uplink without Ethernet: the way to some addresses leads out of a tun device.
class L3UplinkTest : public RoutingTest {
protected:
    void SetUp() override {
        RoutingTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        try {
            wire_.emplace(node(), "tun0", second_, "tun0");
        } catch (const std::runtime_error& error) {
            GTEST_SKIP() << error.what();
        }
        node().run(
            "ip addr add 192.0.2.129/30 dev tun0; ip addr add 2001:db8:3::1/64 dev tun0 nodad;"
            "ip route add 192.0.2.77 via 192.0.2.130; ip -6 route add 2001:db8:77f::7 via 2001:db8:3::2;"
            "ip route add default dev tun0 metric 5000");
        second_.run(
            "ip addr add 192.0.2.130/30 dev tun0; ip addr add 2001:db8:3::2/64 dev tun0 nodad;"
            "ip addr add 192.0.2.77/32 dev lo; ip addr add 2001:db8:77f::7/128 dev lo");
        ASSERT_TRUE(eventually([&] { return uplinks().contains("tun0"); }));
        ASSERT_TRUE(eventually([&] { return web_.netns().succeeds("ping -c 1 -W 1 " + remote_); }));
    }

    [[nodiscard]] bool is_v4() const { return net.option == "-4"; }

    const std::string remote_ = is_v4() ? "192.0.2.77" : "2001:db8:77f::7";
    const std::string node_ = is_v4() ? "192.0.2.129" : "2001:db8:3::1";
    const std::string far_ = is_v4() ? "192.0.2.130" : "2001:db8:3::2";

private:
    std::optional<TunWire> wire_;
};
INSTANTIATE_TEST_SUITE_P(Family, L3UplinkTest, testing::ValuesIn(kFamilies),
                         [](const auto& family) { return family.param.name; });

TEST_P(L3UplinkTest, IsSeenWithTheNodesAddress) {
    const Mirror mirror(second_, remote_);
    to_ = echo_at(remote_);
    EXPECT_EQ(seen(), node_);
    EXPECT_GT(counted("copy-ended"), 0U) << "of the first packet, the stack's copy ends at the uplink";
}

TEST_P(L3UplinkTest, BearsTrafficOfEveryKindWithoutLoss) {
    const EchoServer server(second_, remote_);
    to_ = echo_at(remote_);
    begin();
    expect_nothing_lost();
}

TEST_P(L3UplinkTest, BearsPacketsOfItsMtuFragmentsAndErrors) {
    EXPECT_TRUE(
        web_.netns().succeeds(formatted("ping -c 1 -W 2 -M do -s {} {}", 1500 - 8 - (is_v4() ? 20 : 40), remote_)));
    EXPECT_TRUE(web_.netns().succeeds("ping -c 1 -W 2 -s 4000 " + remote_));
    EXPECT_THAT(web_.netns().run("traceroute -n -q 1 -w 2 -m 5 " + remote_), testing::HasSubstr(" " + remote_ + " "));
}

// IPv4 without DF: the host's stack makes the fragments, and they are translated on their way out.
TEST_P(L3UplinkTest, BearsWhatTheStackFragments) {
    if (!is_v4()) {
        GTEST_SKIP() << "IPv6 is fragmented by its sender only";
    }
    node().run("ip route replace 192.0.2.77 via 192.0.2.130 mtu lock 1300");
    EXPECT_TRUE(eventually([&] {
        return web_.netns().succeeds("ping -c 1 -W 1 -M dont -s 1350 " + remote_) && counted("stack-fragments") > 0;
    }));
    EXPECT_EQ(counted("untranslated-source"), 0U);
}

TEST_P(L3UplinkTest, AHostsFlowFromAPortOfThePoolIsItsOwn) {
    const std::string ping = "ping -q -e 50000 -c 1 -W 5 " + remote_;
    EXPECT_TRUE(web_.netns().succeeds(ping));
    EXPECT_TRUE(node().succeeds(ping));
    EXPECT_EQ(counted("host-took-port"), 1U);
    EXPECT_TRUE(web_.netns().succeeds(ping)) << "by another id";
}

TEST_P(L3UplinkTest, TheHostIsReachedAndNobodyUnaskedGetsIn) {
    node().run("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    second_.run("ip route add 10.77.0.0/16 dev tun0; ip -6 route add fd6e:6b64::/64 dev tun0");
    EXPECT_TRUE(second_.reaches(node_));
    EXPECT_TRUE(node().reaches(far_));
    EXPECT_TRUE(second_.cannot_reach(net.container));
    EXPECT_TRUE(eventually([&] { return counted("unsolicited") > 0; }));
}

}  // namespace
}  // namespace netkitd::test
