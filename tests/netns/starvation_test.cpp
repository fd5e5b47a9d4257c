// What a container does to get more than its part of what all share, and that others do not notice.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <thread>
#include <vector>

#include "harness/daemon_test.h"
#include "harness/traffic.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

void send_to(const UniqueFd& socket, const Address& to, std::size_t size) {
    static constexpr std::array<char, 3000> kData{};
    (void)::sendto(socket.get(), kData.data(), size, 0, to.get(), to.size);
}

Address resolver_at(const std::string& text) {
    return with_port(echo_at(text), 53);
}

// Each from a port of its own, asked once more after a second without an answer.
bool look_up(const NetworkNamespace& from, const Address& resolver) {
    const UniqueFd socket = socket_in(from, resolver, SOCK_DGRAM);
    if (::connect(socket.get(), resolver.get(), resolver.size) != 0) {
        return false;
    }
    for (int attempt = 0; attempt < 2; ++attempt) {
        std::array<char, 16> answer{};
        pollfd wait{.fd = socket.get(), .events = POLLIN, .revents = 0};
        if (::send(socket.get(), "name", 4, 0) == 4 && ::poll(&wait, 1, 1000) == 1) {
            return ::recv(socket.get(), answer.data(), answer.size(), 0) == 4;
        }
    }
    return false;
}

class StarvationTest : public DaemonTest {};

TEST_F(StarvationTest, WhoFillsTheFlowTableTakesNoConnectionFromOthersAndIsNamed) {
    ASSERT_TRUE(start());
    const ContainerProcess flooder;
    const ContainerProcess victim;
    ASSERT_TRUE(attach(flooder, "flooder"));
    ASSERT_TRUE(attach(victim, "victim"));
    const EchoServer echo(outside(), "198.51.100.2");
    const Address to = echo_at("198.51.100.2");
    Tally before;
    std::jthread connection([&](const std::stop_token& stop) { transfer(stop, victim.netns(), to, before); });
    const UniqueFd socket = socket_in(flooder.netns(), to, SOCK_DGRAM);
    const std::jthread attack([&](const std::stop_token& stop) { flood_ports(stop, socket, to); });
    const auto names_flooder = Contains(AllOf(HasSubstr("container flooder"), HasSubstr("flow-share")));
    ASSERT_TRUE(eventually([&] { return testing::Matches(names_flooder)(degraded()); }))
        << testing::PrintToString(degraded());
    Tally meanwhile;
    std::jthread connections([&](const std::stop_token& stop) { connect_anew(stop, victim.netns(), to, meanwhile); });
    std::this_thread::sleep_for(2s);
    connections.request_stop();
    connections.join();
    connection.request_stop();
    connection.join();
    EXPECT_GT(meanwhile.sent, 10U);
    EXPECT_EQ(meanwhile.came_back, meanwhile.sent);
    EXPECT_EQ(meanwhile.failed, 0U);
    EXPECT_GT(before.sent, 10U);
    EXPECT_EQ(before.came_back, before.sent) << "one that was there before";
    EXPECT_THAT(degraded(), Not(Contains(HasSubstr("container victim"))));
}

// More than there are ports towards the resolver: those of look-ups that are over have to come back.
TEST_F(StarvationTest, WhoAsksForThousandsOfNamesTakesNoPortFromOthers) {
    constexpr int kContainers = 10;
    constexpr int kEach = 2000;
    constexpr int kEnough = 20;  // to know that it is so
    constexpr std::chrono::milliseconds kInterval{10};
    ASSERT_TRUE(start());
    std::deque<ContainerProcess> containers(kContainers + 1);
    for (std::size_t i = 0; i < containers.size(); ++i) {
        ASSERT_TRUE(attach(containers[i], formatted("container-{}", i)));
    }
    const Address address = resolver_at("198.51.100.2");
    const DatagramEcho resolver(socket_bound_to(outside(), address, SOCK_DGRAM));
    std::atomic<int> lost = 0;
    {
        std::vector<std::jthread> askers;
        askers.reserve(kContainers);
        for (int i = 0; i < kContainers; ++i) {
            askers.emplace_back([&, i] {
                auto next = std::chrono::steady_clock::now();
                for (int asked = 0; asked < kEach && lost < kEnough; ++asked) {
                    lost += look_up(containers[static_cast<std::size_t>(i)].netns(), address) ? 0 : 1;
                    std::this_thread::sleep_until(next += kInterval);
                }
            });
        }
    }
    EXPECT_EQ(lost, 0);
    for (int asked = 0; asked < 50; ++asked) {
        EXPECT_TRUE(look_up(containers.back().netns(), address)) << "its look-up " << asked;
    }
    EXPECT_THAT(degraded(), Not(Contains(HasSubstr("ports-exhausted"))));
}

// A datagram to one address after the other of 100.64.0.0/16, which are all on the uplink's link.
void scan(const std::stop_token& stop, const NetworkNamespace& from) {
    const Address first = resolver_at("100.64.1.0");
    const UniqueFd socket = socket_in(from, first, SOCK_DGRAM);
    for (std::uint32_t next = 0; !stop.stop_requested(); next = (next + 1) % 0x8000) {
        sockaddr_in address{};
        std::memcpy(&address, &first.storage, sizeof(address));
        address.sin_addr.s_addr = htonl(ntohl(address.sin_addr.s_addr) + next);
        Address to = first;
        std::memcpy(&to.storage, &address, sizeof(address));
        send_to(socket, to, 1);
        std::this_thread::sleep_for(200us);
    }
}

// Whether the scanner calls its packets copies of our own (NK_TC_INDEX_COPY in bpf/abi.h).
class ScanTest : public StarvationTest, public testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Marked, ScanTest, testing::Bool());

// The kernel's table has room for 1024 (net.ipv4.neigh.default.gc_thresh3), the host's own neighbours among them.
TEST_P(ScanTest, WhoScansALinkLeavesTheHostsNeighbourTableToOthers) {
    node().run("ip addr add 100.64.0.1/16 dev up0");
    outside().run(
        "ip addr add 100.64.200.1/16 dev eth0; ip addr add 100.64.200.2/16 dev eth0;"
        "ip addr add 100.64.200.3/16 dev eth0");
    ASSERT_TRUE(start());
    const ContainerProcess scanner;
    const ContainerProcess victim;
    ASSERT_TRUE(attach(scanner, "scanner"));
    ASSERT_TRUE(attach(victim, "victim"));
    if (GetParam()) {
        scanner.netns().run(
            "tc qdisc add dev eth0 clsact; tc filter add dev eth0 egress protocol ip u32 match u32 0 0 classid 1:6e6b");
    }
    const std::jthread attack([&](const std::stop_token& stop) { scan(stop, scanner.netns()); });
    const auto names_scanner = Contains(AllOf(HasSubstr("container scanner"), HasSubstr("neighbour-share")));
    ASSERT_TRUE(GetParam() || eventually([&] { return testing::Matches(names_scanner)(degraded()); }))
        << testing::PrintToString(degraded());
    std::this_thread::sleep_for(5s);
    const int neighbours = std::stoi(node().run("ip neigh show dev up0 nud all | wc -l"));
    EXPECT_GT(neighbours, 30);
    EXPECT_LT(neighbours, 512);
    EXPECT_TRUE(victim.netns().reaches("100.64.200.1"));
    EXPECT_TRUE(victim.netns().reaches("100.64.200.2"));
    EXPECT_TRUE(node().reaches("100.64.200.3"));
    EXPECT_THAT(degraded(), Not(Contains(HasSubstr("container victim"))));
    EXPECT_TRUE(GetParam() || eventually([&] { return testing::Matches(HasSubstr("container scanner"))(log()); }))
        << log();
}

// The kernel limits its ICMP errors for all together (net.ipv4.icmp_msgs_per_sec), but looks first at those to one
// address: since 6.12 a flood from one container takes none of the others' (net/ipv4/icmp.c, icmpv4_xrlim_allow).
TEST_F(StarvationTest, WhoMakesTheHostSendErrorsTakesNoneFromOthers) {
    ASSERT_TRUE(start());
    const ContainerProcess flooder;
    const ContainerProcess victim;
    ASSERT_TRUE(attach(flooder, "flooder"));
    ASSERT_TRUE(attach(victim, "victim"));
    const std::jthread attack([&](const std::stop_token& stop) {
        const Address to = resolver_at("198.51.100.2");
        const UniqueFd socket = socket_in(flooder.netns(), to, SOCK_DGRAM);
        const int ttl = 1;
        ::setsockopt(socket.get(), IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
        while (!stop.stop_requested()) {
            send_to(socket, to, 1);
        }
    });
    std::this_thread::sleep_for(2s);
    for (int i = 0; i < 5; ++i) {
        const std::string answer = victim.netns().run("ping -c 1 -W 2 -t 1 198.51.100.2 || true");
        EXPECT_THAT(answer, HasSubstr("Time to live exceeded")) << "question " << i;
        std::this_thread::sleep_for(500ms);
    }
}

// Everything at once that takes something of what all share: flows, ports towards a resolver, fragments, neighbours,
// the host's answers. Of both families, as fast as it goes.
class Attack {
public:
    Attack(const std::deque<ContainerProcess>& attackers, const Address& to4, const Address& to6)
        : thread_([&attackers, to4, to6](const std::stop_token& stop) {
              int port = 10;
              while (!stop.stop_requested()) {
                  for (const ContainerProcess& attacker : attackers) {
                      port = port == 65535 ? 10 : port + 1;
                      strike(attacker.netns(), with_port(to4, port));
                      strike(attacker.netns(), with_port(to6, port));
                  }
              }
          }) {}

private:
    static void begin_connection(const NetworkNamespace& from, const Address& to) {
        const UniqueFd socket = socket_in(from, to, SOCK_STREAM | SOCK_NONBLOCK);
        EXPECT_NE(::connect(socket.get(), to.get(), to.size), 0) << "it is only begun";
    }
    static void strike(const NetworkNamespace& from, const Address& to) {
        const UniqueFd datagrams = socket_in(from, to, SOCK_DGRAM);
        send_to(datagrams, to, 1);
        send_to(datagrams, with_port(to, 53), 1);  // from a port of its own each time
        send_to(datagrams, to, 3000);              // in fragments
        begin_connection(from, to);
        begin_connection(from, with_port(to, 9));  // not where the victim connects: its server would be what gives way
        const int ttl = 1;
        ::setsockopt(datagrams.get(), IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
        ::setsockopt(datagrams.get(), IPPROTO_IPV6, IPV6_UNICAST_HOPS, &ttl, sizeof(ttl));
        send_to(datagrams, to, 1);
    }

    std::jthread thread_;
};

bool connects(const NetworkNamespace& from, const Address& to) {
    const UniqueFd socket = socket_in(from, to, SOCK_STREAM);
    std::array<char, 4> answer{};
    return ::connect(socket.get(), to.get(), to.size) == 0 && ::send(socket.get(), "name", 4, MSG_NOSIGNAL) == 4 &&
           ::recv(socket.get(), answer.data(), answer.size(), MSG_WAITALL) == 4;
}

class AttackTest : public StarvationTest, public testing::WithParamInterface<int> {
protected:
    void SetUp() override {
        StarvationTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        node().run("ip addr add 2001:db8::1/64 dev up0 nodad && ip route add default via 2001:db8::2");
        outside().run("ip addr add 2001:db8::2/64 dev eth0 nodad");
        ASSERT_TRUE(start());
        for (int i = 1; i < GetParam(); ++i) {
            ASSERT_TRUE(attach(attackers_.emplace_back(), formatted("attacker-{}", i)));
        }
        ASSERT_TRUE(attach(victim_, "victim"));
    }

    std::deque<ContainerProcess> attackers_;
    const ContainerProcess victim_;
};
INSTANTIATE_TEST_SUITE_P(Of, AttackTest, testing::Values(2, 10, 100));

TEST_P(AttackTest, NothingOfTheOnlyOneThatDoesNotAttackIsDropped) {
    const std::array to{echo_at("198.51.100.2"), echo_at("2001:db8::2")};
    const EchoServer echo4(outside(), "198.51.100.2");
    const EchoServer echo6(outside(), "2001:db8::2");
    const DatagramEcho resolver4(socket_bound_to(outside(), with_port(to[0], 53), SOCK_DGRAM));
    const DatagramEcho resolver6(socket_bound_to(outside(), with_port(to[1], 53), SOCK_DGRAM));
    Tally before;
    std::jthread connection([&](const std::stop_token& stop) { transfer(stop, victim_.netns(), to[0], before); });
    std::array<int, 2> connected{};
    std::array<int, 2> told{};
    {
        const Attack attack(attackers_, to[0], to[1]);
        std::this_thread::sleep_for(4s);
        for (int i = 0; i < 50; ++i) {
            const auto family = static_cast<std::size_t>(i % 2);
            connected.at(family) += connects(victim_.netns(), to.at(family)) ? 1 : 0;
            told.at(family) += look_up(victim_.netns(), with_port(to.at(family), 53)) ? 1 : 0;
        }
    }
    connection.request_stop();
    connection.join();
    EXPECT_THAT(connected, testing::Each(25));
    EXPECT_THAT(told, testing::Each(25));
    EXPECT_EQ(before.came_back, before.sent);
    const nlohmann::json victim = *call({.operation = ipc::Operation::endpoint_show, .id = "victim"});
    for (const auto& drop : victim.at("drops")) {
        EXPECT_EQ(drop.at("name"), "link-scope") << drop.dump();
    }
}

}  // namespace
}  // namespace netkitd::test
