// What a rule of the host's sends on for a container, translated by the host: the answers get in, to whom they are for,
// and nobody else's packets pass for such.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <string>

#include "abi.h"
#include "base/format.h"
#include "harness/daemon_test.h"
#include "harness/traffic.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

struct Family {
    std::string name;
    std::string option;
    std::string nft;
    std::string container;
    std::string gateway;
    std::string host;  // on strange0
    std::string remote;
    std::string length;
    std::string single;
    std::string inner;  // beyond another namespace of this host
    std::string inner_gateway;
};
const Family kV4{.name = "V4",
                 .option = "-4",
                 .nft = "ip",
                 .container = "10.77.0.2",
                 .gateway = "10.77.0.1",
                 .host = "192.0.2.1",
                 .remote = "192.0.2.2",
                 .length = "/24",
                 .single = "/32",
                 .inner = "172.31.0.2",
                 .inner_gateway = "172.31.0.1"};
const Family kV6{.name = "V6",
                 .option = "-6",
                 .nft = "ip6",
                 .container = "fd6e:6b64::2",
                 .gateway = "fd6e:6b64::1",
                 .host = "2001:db8:2::1",
                 .remote = "2001:db8:2::2",
                 .length = "/64 nodad",
                 .single = "/128 nodad",
                 .inner = "2001:db8:31::2",
                 .inner_gateway = "2001:db8:31::1"};

constexpr int kPublished = 8888;

class SentByRuleTest : public DaemonTest, public testing::WithParamInterface<Family> {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        connect(node(), "strange0", remote_, "eth0");
        node().run(
            formatted("ip addr add {}{} dev strange0; sysctl -qw net.ipv4.ip_forward=1 "
                      "net.ipv6.conf.all.forwarding=1",
                      net.host, net.length));
        remote_.run(formatted("ip addr add {}{} dev eth0", net.remote, net.length));
        ASSERT_TRUE(start());
        ASSERT_TRUE(comes_to_be_an_uplink("strange0"));
        ASSERT_TRUE(attach(web_, "web"));
        if (!node().succeeds(formatted("nft 'add table {0} theirs; "
                                       "add chain {0} theirs pre {{ type nat hook prerouting priority dstnat; }}; "
                                       "add chain {0} theirs post {{ type nat hook postrouting priority srcnat; }}; "
                                       "add rule {0} theirs post oifname strange0 masquerade'",
                                       net.nft))) {
            GTEST_SKIP() << "this kernel has no NAT of nftables";
        }
    }
    // The host publishes there what is at `address`.
    void publish(const std::string& address, int port) const {
        const std::string target = net.option == "-4" ? address : "[" + address + "]";
        node().run(
            formatted("nft add rule {} theirs pre udp dport {} dnat to {}:{}", net.nft, kPublished, target, port));
    }
    // How many connections are noted.
    [[nodiscard]] int notes() const {
        const UniqueFd map(bpf_obj_get((pins() / "maps/sent_by_rule-2").c_str()));
        EXPECT_GE(map.get(), 0);
        std::array<std::byte, 40> key{};
        int count = 0;
        for (int error = bpf_map_get_next_key(map.get(), nullptr, key.data()); error == 0;
             error = bpf_map_get_next_key(map.get(), key.data(), key.data())) {
            ++count;
        }
        return count;
    }
    [[nodiscard]] static bool gets_one(const UniqueFd& socket, int timeout_ms) {
        pollfd wait{.fd = socket.get(), .events = POLLIN, .revents = 0};
        std::array<char, 16> data{};
        return ::poll(&wait, 1, timeout_ms) == 1 && ::recv(socket.get(), data.data(), data.size(), 0) > 0;
    }

    const Family net = GetParam();
    const ContainerProcess web_;
    const NetworkNamespace remote_;
};
INSTANTIATE_TEST_SUITE_P(Family, SentByRuleTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

// The host remembers the connection for longer than the container lives.
TEST_P(SentByRuleTest, AnswersAreForWhoAskedNotForWhoHasTheAddressNow) {
    publish(net.remote, 7);
    const Address published = with_port(echo_at(net.gateway), kPublished);
    const Address own = with_port(echo_at(net.container), 5000);
    const UniqueFd server = socket_bound_to(remote_, echo_at(net.remote), SOCK_DGRAM);
    Address seen{.storage = {}, .size = sizeof(sockaddr_storage)};
    const auto answer = [&] { return ::sendto(server.get(), "answer", 6, 0, seen.get(), seen.size) == 6; };
    {
        const UniqueFd client = socket_bound_to(web_.netns(), own, SOCK_DGRAM);
        ASSERT_EQ(::sendto(client.get(), "hello", 5, 0, published.get(), published.size), 5);
        std::array<char, 16> data{};
        ASSERT_EQ(::recvfrom(server.get(), data.data(), data.size(), 0, reinterpret_cast<sockaddr*>(&seen.storage),
                             &seen.size),
                  5);
        ASSERT_TRUE(answer());
        ASSERT_TRUE(gets_one(client, 5000));
    }
    ASSERT_TRUE(detach("web"));
    const ContainerProcess late;
    const std::string key = net.option == "-4" ? "io.netkitd.ipv4" : "io.netkitd.ipv6";
    const auto reply = attach(late, "late", {{"io.netkitd.network", "default"}, {key, net.container}});
    ASSERT_TRUE(reply) << reply.error().message();
    const UniqueFd heir = socket_bound_to(late.netns(), own, SOCK_DGRAM);
    const std::uint64_t before = counted("unsolicited");
    ASSERT_TRUE(answer());
    EXPECT_FALSE(gets_one(heir, 300));
    EXPECT_EQ(counted("unsolicited"), before + 1);
}

// Which has devices with the same numbers, and may translate what a container of its sends in another's name.
TEST_P(SentByRuleTest, WhatAnotherNamespaceForwardsIsNotNoted) {
    const NetworkNamespace theirs;
    const NetworkNamespace inner;
    if (!node().succeeds(
            formatted("ip link add mv0 link strange0 netns {} type macvlan mode bridge && true", theirs.path()))) {
        GTEST_SKIP() << "this kernel has no macvlan";
    }
    theirs.run(formatted("ip link add d0 index {} type veth peer name d1 netns {}",
                         status().at("host_device").at("ifindex").get<int>(), inner.path()));
    theirs.run(
        formatted("ip link set mv0 up; ip link set d0 up; ip addr add {0}9{1} dev mv0; ip addr add {2}{1} dev d0; "
                  "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; "
                  "nft 'add table {3} n; add chain {3} n post {{ type nat hook postrouting priority srcnat; }}; "
                  "add rule {3} n post oifname mv0 masquerade'; ip {4} route add {5} dev d0",
                  net.host, net.length, net.inner_gateway, net.nft, net.option, net.container));
    inner.run(
        formatted("ip link set lo up; ip link set d1 up; ip addr add {0}{1} dev d1; ip {2} route add default via {3}; "
                  "ip addr add {4}{5} dev lo",
                  net.inner, net.length, net.option, net.inner_gateway, net.container, net.single));
    const UniqueFd server = socket_bound_to(remote_, echo_at(net.remote), SOCK_DGRAM);
    const UniqueFd forged = socket_bound_to(inner, with_port(echo_at(net.container), 5000), SOCK_DGRAM);
    const Address to = echo_at(net.remote);
    ASSERT_TRUE(eventually(
        [&] { return ::sendto(forged.get(), "forged", 6, 0, to.get(), to.size) == 6 && gets_one(server, 500); }));
    EXPECT_EQ(notes(), 0);
    publish(net.remote, 7);
    const Address published = with_port(echo_at(net.gateway), kPublished);
    const UniqueFd client = socket_in(web_.netns(), published, SOCK_DGRAM);
    ASSERT_EQ(::sendto(client.get(), "hello", 5, 0, published.get(), published.size), 5);
    ASSERT_TRUE(gets_one(server, 5000));
    EXPECT_EQ(notes(), 1) << "a container's own is";
}

}  // namespace
}  // namespace netkitd::test
