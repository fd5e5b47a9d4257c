// Which of the node's ports a flow gets.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <set>

#include "bpf/flow_fixture.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::SizeIs;

// A socket in the test's netns, bound to any address, and listening if it is a TCP one.
UniqueFd host_socket(int type, std::uint16_t port, int family = AF_INET) {
    UniqueFd socket_fd(::socket(family, type, 0));
    sockaddr_in6 address{};  // its port is where sockaddr_in has it
    address.sin6_family = static_cast<sa_family_t>(family);
    address.sin6_port = htons(port);
    sockaddr_storage generic{};
    std::memcpy(&generic, &address, sizeof(address));
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the sockets' interface
    EXPECT_EQ(bind(socket_fd.get(), reinterpret_cast<const sockaddr*>(&generic), sizeof(address)), 0)
        << std::strerror(errno);
    if (type == SOCK_STREAM) {
        EXPECT_EQ(listen(socket_fd.get(), 1), 0) << std::strerror(errno);
    }
    return socket_fd;
}

TEST_F(FlowTest, OnePortServesManyDestinations) {
    node().settings().port_first = node().settings().port_last = 50000;
    EXPECT_EQ(source_port(out(web_segment())), 50000);
    EXPECT_EQ(source_port(out(Packet().ip("10.77.0.2", "198.51.100.1").tcp(50000, 80))), 50000);
    EXPECT_EQ(source_port(out(Packet().ip("10.77.0.2", "198.51.100.2").tcp(50000, 443))), 50000);
    EXPECT_THAT(fresh(), SizeIs(6));
}

TEST_F(FlowTest, TwoContainersWithTheSamePortGetTwo) {
    out(web_segment());
    const RunResult second = out_of_db(Packet().ip("10.77.0.3", "198.51.100.1").tcp(50000, 443));
    EXPECT_THAT(second.counted, Contains(Key("port-changed")));
    EXPECT_NE(source_port(second), 50000);
    EXPECT_GE(source_port(second), 49152);
    EXPECT_THAT(fresh(), SizeIs(4));
    const RunResult again = out_of_db(Packet().ip("10.77.0.3", "198.51.100.1").tcp(50000, 443).syn());
    EXPECT_EQ(source_port(again), source_port(second)) << "sent again: the same flow";
    EXPECT_THAT(again.counted, IsEmpty());
}

// As of SIP, whose ports are not of the pool: its peers tell each other which port they see (RFC 4787, REQ-1).
TEST_P(BothFamiliesTest, APortOutsideThePoolHasOneFaceToAllRemotes) {
    const auto port_of = [&](const RunResult& sent) {
        const std::size_t offset = net.is_ipv6() ? 54 : 34;
        return sent.packet.at(offset) << 8 | sent.packet.at(offset + 1);
    };
    for (const std::uint16_t port : std::array<std::uint16_t, 4>{5060, 41641, 700, 41642}) {
        const auto from_web_to = [&](const std::string& remote, std::uint16_t remote_port) {
            return port_of(out(Packet().ip(net.web, remote).udp(port, remote_port)));
        };
        const int face = from_web_to(net.remote, 5060);
        EXPECT_GE(face, 49152);
        EXPECT_LT(face, 49152 + 12288) << "of the commons";
        EXPECT_EQ(from_web_to(net.remote, 5061), face);
        EXPECT_EQ(from_web_to(net.other_remote, 5060), face);
        EXPECT_NE(port_of(out_of_db(Packet().ip(net.db, net.remote).udp(port, 5060))), face);
    }
}

TEST_F(FlowTest, ThePortOfAnEstablishedFlowIsTaken) {
    insert(Stage::established, Flow{.source = "10.77.0.3", .endpoint_id = kDbId});
    const RunResult result = out(web_segment());
    EXPECT_NE(source_port(result), 50000);
    EXPECT_THAT(result.counted, Contains(Key("port-changed")));
    EXPECT_THAT(established(), SizeIs(2));
}

TEST_F(FlowTest, ATinyPoolIsUsedToItsLastPort) {
    node().settings().port_first = 60000;
    node().settings().port_last = 60030;
    for (std::uint16_t port = 1; port <= 31; port++) {
        const RunResult result = out(Packet().ip("10.77.0.2", "198.51.100.1").tcp(port, 443));
        EXPECT_EQ(result.verdict, Verdict::redirect) << "connection " << port;
    }
    const RunResult last = out(Packet().ip("10.77.0.2", "198.51.100.1").tcp(32, 443));
    EXPECT_EQ(last.verdict, Verdict::drop);
    EXPECT_THAT(last.counted, ElementsAre(std::pair("ports-exhausted", 1)));
    EXPECT_THAT(fresh(), SizeIs(62));
}

// 64 ports, all taken: the 32 tries come to an end.
TEST_F(FlowTest, GivesUpAfterItsTries) {
    node().settings().port_first = 60000;
    node().settings().port_last = 60063;
    for (std::uint16_t port = 60000; port <= 60063; port++) {
        insert(Stage::established, Flow{.source = "10.77.0.3", .translated_port = port, .endpoint_id = kDbId});
    }
    const RunResult result = out(web_segment());
    EXPECT_THAT(result.counted, ElementsAre(std::pair("ports-exhausted", 1)));
    EXPECT_THAT(fresh(), IsEmpty());
}

// Of two ports the own one is taken: the second or the third try finds the other.
TEST_F(FlowTest, TriesAreCountedByHowManyThereWere) {
    node().settings().port_first = 50000;
    node().settings().port_last = 50001;
    insert(Stage::established, Flow{.source = "10.77.0.3", .translated_port = 50000, .endpoint_id = kDbId});
    EXPECT_EQ(source_port(out(web_segment())), 50001);
    EXPECT_THAT(node().port_tries(), ElementsAre(1, 0, 0, 0));
    out(Packet().ip("10.77.0.2", "198.51.100.2").tcp(50000, 443));
    EXPECT_THAT(node().port_tries(), ElementsAre(1, 0, 0, 0)) << "the first try is in no bucket";
}

// 31 of 32 ports taken, and walked from anywhere: all buckets together have what needed more than one try.
TEST_F(FlowTest, ManyTriesAreCountedHigher) {
    node().settings().port_first = 60000;
    node().settings().port_last = 60030;
    for (std::uint16_t port = 1; port <= 31; port++) {
        out(Packet().ip("10.77.0.2", "198.51.100.1").tcp(port, 443));
    }
    const auto tries = node().port_tries();
    EXPECT_GT(tries[NK_PORT_TRIES_8] + tries[NK_PORT_TRIES_16] + tries[NK_PORT_TRIES_32], 0U);
    EXPECT_LE(std::accumulate(tries.begin(), tries.end(), std::uint64_t{0}), 31U);
}

// The default pool, and a remote to which others have all ports that are for everybody.
class HomeTest : public BothFamiliesTest {
protected:
    static constexpr std::uint16_t kFirstHome = 49152 + 12288;

    HomeTest() { options.flow_entries = 65536; }

    static std::uint16_t home_of(std::uint32_t endpoint_id) {
        return static_cast<std::uint16_t>(kFirstHome + (endpoint_id + kFirstEndpointsHome) % 256 * NK_HOME_PORTS);
    }
    void take(std::uint16_t first, std::uint16_t last, std::uint32_t endpoint_id, std::uint8_t protocol = IPPROTO_TCP,
              std::uint16_t remote_port = 443) {
        for (int port = first; port <= last; port++) {
            insert(Stage::established, NK_FLOW_REVERSE,
                   Flow{.protocol = protocol,
                        .source = net.nobody,
                        .destination = net.remote,
                        .destination_port = remote_port,
                        .translated = net.node,
                        .translated_port = static_cast<std::uint16_t>(port),
                        .endpoint_id = endpoint_id});
        }
    }
    // 0: it did not get out.
    [[nodiscard]] std::uint16_t port_of(const Packet& packet, bool is_web = true) {
        const RunResult sent = is_web ? out(packet) : out_of_db(packet);
        const std::size_t offset = net.is_ipv6() ? 54 : 34;
        return sent.verdict == Verdict::redirect
                   ? static_cast<std::uint16_t>(sent.packet.at(offset) << 8 | sent.packet.at(offset + 1))
                   : std::uint16_t{0};
    }
};
INSTANTIATE_TEST_SUITE_P(Family, HomeTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(HomeTest, WhereOthersHaveEveryOtherPortAContainerHasItsHome) {
    take(49152, kFirstHome - 1, 99);
    for (std::uint16_t port = 50000; port < 50008; port++) {
        const std::uint16_t got = port_of(Packet().ip(net.web, net.remote).tcp(port, 443).syn());
        EXPECT_GE(got, home_of(kWebId));
        EXPECT_LT(got, home_of(kWebId) + NK_HOME_PORTS);
    }
    const std::uint16_t got = port_of(Packet().ip(net.db, net.remote).tcp(50000, 443).syn(), false);
    EXPECT_GE(got, home_of(kDbId));
    EXPECT_LT(got, home_of(kDbId) + NK_HOME_PORTS);
}

// Each search tries half of it.
TEST_P(HomeTest, WhoGoesOnTryingGetsAllOfItsHome) {
    take(49152, kFirstHome - 1, 99);
    std::set<std::uint16_t> had;
    for (std::uint16_t port = 50000; port < 50200; port++) {
        had.insert(port_of(Packet().ip(net.web, net.remote).tcp(port, 443).syn()));
    }
    had.erase(0);
    EXPECT_EQ(had.size(), NK_HOME_PORTS);
}

TEST_P(HomeTest, APortOfAnothersHomeIsNotKeptAndOneOfTheOwnIs) {
    const auto from = [&](int port) {
        return port_of(Packet().ip(net.web, net.remote).tcp(static_cast<std::uint16_t>(port), 443).syn());
    };
    EXPECT_EQ(from(home_of(kWebId) + 3), home_of(kWebId) + 3);
    EXPECT_LT(from(home_of(kDbId) + 3), kFirstHome);
    EXPECT_EQ(from(kFirstHome - 1), kFirstHome - 1);
}

// A flood of others' look-ups holds all other ports: what is told gives its port back at once then.
TEST_P(HomeTest, WhoHasItsHomeAloneLooksUpNamesWithoutEnd) {
    take(49152, kFirstHome - 1, 99, IPPROTO_UDP, 53);
    for (int question = 0; question < 200; question++) {
        const auto port = static_cast<std::uint16_t>(20000 + question);
        const std::uint16_t got = port_of(Packet().ip(net.web, net.remote).udp(port, 53));
        ASSERT_GE(got, home_of(kWebId)) << "question " << question;
        ASSERT_LT(got, home_of(kWebId) + NK_HOME_PORTS);
        const RunResult answer = in(to_node(net).udp(53, got));
        EXPECT_EQ(answer.verdict, Verdict::redirect);
    }
    const nk_flow_counts counts = node().flow_counts(kWebId);
    EXPECT_LE(net.is_ipv6() ? counts.flows6 : counts.flows4, std::uint32_t{NK_HOME_PORTS});
}

TEST_P(HomeTest, WhoHasItsHomeAloneConnectsWithoutEnd) {
    take(49152, kFirstHome - 1, 99);
    for (int connection = 0; connection < 200; connection++) {
        const auto port = static_cast<std::uint16_t>(20000 + connection);
        const Packet segment = Packet().ip(net.web, net.remote).tcp(port, 443);
        const std::uint16_t got = port_of(Packet(segment).syn());
        ASSERT_GE(got, home_of(kWebId)) << "connection " << connection;
        in(to_node(net).tcp(443, got).syn().ack());
        out(Packet(segment).fin().ack());
        EXPECT_EQ(in(to_node(net).tcp(443, got).fin().ack()).verdict, Verdict::redirect);
    }
}

// What is not answered, or not closed by the container itself, keeps its port: resets can be forged.
TEST_P(HomeTest, WhatIsNotSpentKeepsItsPort) {
    take(49152, kFirstHome - 1, 99);
    for (int connection = 0; connection < NK_HOME_PORTS; connection++) {
        insert(Stage::established, Flow{.source = net.web,
                                        .source_port = static_cast<std::uint16_t>(20000 + connection),
                                        .destination = net.remote,
                                        .translated = net.node,
                                        .translated_port = static_cast<std::uint16_t>(home_of(kWebId) + connection),
                                        .reverse_flags = NK_FLOW_FIN | NK_FLOW_RST});
    }
    EXPECT_EQ(port_of(Packet().ip(net.web, net.remote).tcp(50000, 443).syn()), 0);
    EXPECT_EQ(port_of(Packet().ip(net.web, net.remote).udp(50000, 443)), 50000);
}

// Whose home others took too: it is refused, by as many tries as there are.
TEST_P(HomeTest, WhoFindsNoneIsRefused) {
    take(49152, kFirstHome - 1, 99);
    take(home_of(kWebId), home_of(kWebId) + NK_HOME_PORTS - 1, 257);
    EXPECT_THAT(out(Packet().ip(net.web, net.remote).tcp(50000, 443).syn()).counted,
                ElementsAre(std::pair("ports-exhausted", 1)));
}

// Whoever goes on asking for what is not to be had gets three tries only, until the epoch changes.
TEST_P(HomeTest, ARefusalIsOfOneContainerAndOneRemotePort) {
    take(49152, kFirstHome - 1, 99);
    take(home_of(kWebId), home_of(kWebId) + NK_HOME_PORTS - 1, 257);
    const auto ask = [&](std::uint16_t remote_port) {
        return out(Packet().ip(net.web, net.remote).tcp(1000, remote_port).syn()).verdict;
    };
    EXPECT_EQ(ask(443), Verdict::drop);
    EXPECT_EQ(ask(443), Verdict::drop);
    EXPECT_EQ(ask(444), Verdict::redirect);
    EXPECT_EQ(out_of_db(Packet().ip(net.db, net.remote).tcp(1000, 443).syn()).verdict, Verdict::redirect)
        << "another container has its home";
}

class HostSocketTest : public FlowTest {
protected:
    HostSocketTest() { options.port_first = 50000, options.port_last = 50001; }
};

TEST_F(HostSocketTest, AListeningPortIsLeftToTheHost) {
    const UniqueFd listener = host_socket(SOCK_STREAM, 50000);
    EXPECT_EQ(source_port(out(web_segment())), 50001);
    EXPECT_EQ(source_port(out(from_web_udp(ipv4()))), 50000) << "a TCP listener holds no UDP port";
}

TEST_F(HostSocketTest, ABoundUdpPortIsLeftToTheHost) {
    const UniqueFd bound = host_socket(SOCK_DGRAM, 50000);
    EXPECT_EQ(source_port(out(from_web_udp(ipv4()))), 50001);
    EXPECT_EQ(source_port(out(web_segment())), 50000);
}

TEST_P(BothFamiliesTest, AnotherContainerWithTheSamePortGetsAnother) {
    out(segment());
    const RunResult second = out_of_db(Packet().ip(net.db, net.remote).tcp(50000, 443));
    EXPECT_THAT(second.counted, Contains(Key("port-changed")));
    EXPECT_THAT(fresh(), SizeIs(4));
}

TEST_P(BothFamiliesTest, APortOfTheHostsOwnIsLeftToIt) {
    node().settings().port_first = 50000;
    node().settings().port_last = 50001;
    const UniqueFd listener = host_socket(SOCK_STREAM, 50000, net.name == "V6" ? AF_INET6 : AF_INET);
    EXPECT_THAT(out(segment()).counted, Contains(Key("port-changed")));
}

}  // namespace
}  // namespace netkitd::test
