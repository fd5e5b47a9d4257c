// Masqueraded flows over several packets: what is in the maps after each, both halves, both stages.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <barrier>
#include <functional>
#include <numeric>
#include <thread>

#include "bpf/bpf_test.h"
#include "bpf/packets.h"
#include "link/sysctl.h"

namespace netkitd::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr std::uint32_t kWebId = 1;
constexpr std::uint32_t kDbId = 2;
constexpr Mac kWrongMac{0x02, 0, 0, 0, 0, 0xee};

class FlowTest : public BpfTest {
protected:
    void insert(Stage stage, const Flow& flow) {
        const auto inserted = node().insert(stage, flow);
        ASSERT_TRUE(inserted) << inserted.error().message();
    }
    void insert(Stage stage, nk_flow_direction direction, const Flow& flow) {
        const auto inserted = node().insert(stage, direction, flow);
        ASSERT_TRUE(inserted) << inserted.error().message();
    }
    void erase(Stage stage, nk_flow_direction direction, const Flow& flow) {
        const auto erased = node().erase(stage, direction, flow);
        ASSERT_TRUE(erased) << erased.error().message();
    }
    std::vector<std::string> fresh() { return node().flows(Stage::fresh); }
    std::vector<std::string> established() { return node().flows(Stage::established); }
};

Packet web_segment() {
    return Packet().ip("10.77.0.2", "198.51.100.1").tcp(50000, 443);
}
Packet reply_segment() {
    return Packet().eth(kUplinkMac, kRouterMac).ip("198.51.100.1", "203.0.113.2").tcp(443, 50000);
}

std::uint16_t source_port(const RunResult& result) {
    return static_cast<std::uint16_t>(result.packet.at(34) << 8 | result.packet.at(35));
}

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

TEST_F(FlowTest, AConnectionFromSynToItsReply) {
    out(from_web(ipv4()));
    EXPECT_THAT(established(), IsEmpty());
    EXPECT_THAT(fresh(), ElementsAre("tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [] endpoint 1 nkweb"))
        << "a connection that keeps its port begins with one half";
    EXPECT_THAT(out(from_web(ipv4())).counted, IsEmpty()) << "sent again: the same flow";
    EXPECT_THAT(fresh(), SizeIs(1));
    in(reply_to_web(ipv4()));
    EXPECT_THAT(fresh(), IsEmpty());
    EXPECT_THAT(established(),
                ElementsAre("tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [SYN] endpoint 1 eth0",
                            "tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [SYN] endpoint 1 nkweb"));
}

// What went out and came back mirrored is, in the container, the mirror image of what it sent.
TEST_F(FlowTest, RoundTripRestoresTheOriginal) {
    node().settings().port_first = node().settings().port_last = 61000;
    out(from_web_udp(ipv4()));
    const auto answer = Packet().eth(kUplinkMac, kRouterMac).ip("198.51.100.1", "203.0.113.2").udp(443, 61000);
    const RunResult udp = in(Packet(answer).payload("answer"));
    EXPECT_EQ(describe(udp.packet), describe(Packet(answer).payload("answer").to("10.77.0.2", 50000).ttl(63).bytes()));

    out(from_web_ping(ipv4()));
    const auto pong = Packet().eth(kUplinkMac, kRouterMac).ip("198.51.100.1", "203.0.113.2").echo_reply(61000);
    const RunResult ping = in(pong);
    EXPECT_EQ(describe(ping.packet), describe(Packet(pong).to("10.77.0.2", 50000).ttl(63).bytes()));
    EXPECT_THAT(established(), SizeIs(4));
}

TEST_F(FlowTest, PingHasItsIdWhereAPortWouldBe) {
    out(from_web_ping(ipv4()));
    EXPECT_THAT(fresh(), ElementsAre("icmp 10.77.0.2:50000 > 198.51.100.1:0 from 203.0.113.2:50000 [] endpoint 1 eth0",
                                     "icmp 198.51.100.1:0 > 203.0.113.2:50000 to 10.77.0.2:50000 [] endpoint 1 nkweb"));
}

TEST_F(FlowTest, OnePortServesManyDestinations) {
    node().settings().port_first = node().settings().port_last = 50000;
    EXPECT_EQ(source_port(out(web_segment())), 50000);
    EXPECT_EQ(source_port(out(Packet().ip("10.77.0.2", "198.51.100.1").tcp(50000, 80))), 50000);
    EXPECT_EQ(source_port(out(Packet().ip("10.77.0.2", "198.51.100.2").tcp(50000, 443))), 50000);
    EXPECT_THAT(fresh(), SizeIs(3));
}

TEST_F(FlowTest, TwoContainersWithTheSamePortGetTwo) {
    out(web_segment());
    const RunResult second = out_of_db(Packet().ip("10.77.0.3", "198.51.100.1").tcp(50000, 443));
    EXPECT_THAT(second.counted, Contains(Key("port-changed")));
    EXPECT_NE(source_port(second), 50000);
    EXPECT_GE(source_port(second), 49152);
    EXPECT_THAT(fresh(), SizeIs(3)) << "the changed port is in a half of its own";
    const RunResult again = out_of_db(Packet().ip("10.77.0.3", "198.51.100.1").tcp(50000, 443).syn());
    EXPECT_EQ(source_port(again), source_port(second)) << "sent again: the same flow";
    EXPECT_THAT(again.counted, IsEmpty());
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

TEST_F(FlowTest, TheEvictedReverseHalfIsMadeAgain) {
    out(web_segment().syn());
    const std::vector<std::string> both = fresh();
    erase(Stage::fresh, NK_FLOW_REVERSE, Flow{});
    EXPECT_EQ(source_port(out(web_segment())), 50000);
    EXPECT_EQ(fresh(), both);
}

TEST_F(FlowTest, TheEvictedForwardHalfIsMadeAgainWithItsPort) {
    out(from_web_udp(ipv4()));
    const std::vector<std::string> both = fresh();
    ASSERT_THAT(both, SizeIs(2));
    erase(Stage::fresh, NK_FLOW_FORWARD, Flow{.protocol = IPPROTO_UDP});
    const RunResult result = out(from_web_udp(ipv4()));
    EXPECT_EQ(source_port(result), 50000);
    EXPECT_THAT(result.counted, IsEmpty()) << "it is the same flow";
    EXPECT_EQ(fresh(), both);
}

TEST_F(FlowTest, AnEvictedHalfWhosePortWentToAnotherGetsANewPort) {
    out(web_segment());
    erase(Stage::fresh, NK_FLOW_REVERSE, Flow{});
    insert(Stage::established, Flow{.source = "10.77.0.3", .endpoint_id = kDbId});
    const RunResult result = out(web_segment());
    EXPECT_EQ(result.verdict, Verdict::redirect);
    EXPECT_NE(source_port(result), 50000);
    EXPECT_THAT(established(), SizeIs(2)) << "the other's flow is untouched";
    EXPECT_THAT(fresh(), SizeIs(2));
}

TEST_F(FlowTest, AnOrphanInTheEstablishedMapGetsItsForwardHalfBack) {
    insert(Stage::established, NK_FLOW_REVERSE, Flow{});
    EXPECT_EQ(source_port(out(web_segment())), 50000);
    EXPECT_THAT(established(), SizeIs(2));
    EXPECT_THAT(fresh(), IsEmpty());
}

TEST_F(FlowTest, AReplyWhoseForwardHalfWasEvictedStillEstablishesBoth) {
    out(from_web_udp(ipv4()));
    erase(Stage::fresh, NK_FLOW_FORWARD, Flow{.protocol = IPPROTO_UDP});
    EXPECT_EQ(in(to_node(ipv4()).udp(443, 50000)).verdict, Verdict::redirect);
    EXPECT_THAT(fresh(), IsEmpty());
    EXPECT_THAT(established(),
                ElementsAre("udp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [] endpoint 1 eth0",
                            "udp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [] endpoint 1 nkweb"));
}

// The forward half was evicted and made anew with another port; now comes the reply to the old port.
TEST_F(FlowTest, HalvesThatDoNotNameEachOtherAreNotEstablished) {
    insert(Stage::fresh, Flow{.protocol = IPPROTO_UDP});
    insert(Stage::fresh, Flow{.protocol = IPPROTO_UDP, .translated_port = 61000});
    const RunResult reply = in(to_node(ipv4()).udp(443, 50000));
    EXPECT_EQ(reply.verdict, Verdict::redirect);
    EXPECT_THAT(reply.counted, IsEmpty());
    EXPECT_THAT(established(), IsEmpty());
}

TEST_F(FlowTest, AFullTableHurtsNoEstablishedFlow) {
    for (std::uint16_t port = 1; port <= 512; port++) {
        insert(Stage::established, Flow{.source = "10.77.0.3", .destination_port = port, .endpoint_id = kDbId});
    }
    const std::vector<std::string> before = established();
    ASSERT_THAT(before, SizeIs(1024)) << "the table's size";
    out(Packet().ip("10.77.0.2", "198.51.100.1").tcp(50000, 1000).syn());
    const RunResult reply =
        in(Packet().eth(kUplinkMac, kRouterMac).ip("198.51.100.1", "203.0.113.2").tcp(1000, 50000).syn().ack());
    EXPECT_THAT(reply.counted, ElementsAre(std::pair("flow-table-full", 1)));
    EXPECT_EQ(established(), before);
    EXPECT_THAT(fresh(), SizeIs(1)) << "the flow can be established once there is room";
}

class OneFreeEntryTest : public FlowTest {
protected:
    OneFreeEntryTest() { options.established_flows = 1; }
};

TEST_F(OneFreeEntryTest, EstablishesBothHalvesOrNone) {
    out(web_segment().syn());
    EXPECT_EQ(in(reply_to_web(ipv4())).verdict, Verdict::drop);
    EXPECT_THAT(established(), IsEmpty());
}

class SmallLruTest : public FlowTest {
protected:
    SmallLruTest() { options.fresh_flows = 64; }
};

// Far more new connections than the LRU map holds: strangers go, the established flow stays, every packet gets out.
TEST_F(SmallLruTest, AFloodOnlyEvictsStrangers) {
    out(web_segment().syn());
    in(reply_to_web(ipv4()));
    const std::vector<std::string> before = established();
    for (std::uint16_t port = 1; port <= 2000; port++) {
        const RunResult result = out_of_db(Packet().ip("10.77.0.3", "198.51.100.9").tcp(50000, port).syn());
        ASSERT_EQ(result.verdict, Verdict::redirect) << "connection " << port;
    }
    EXPECT_EQ(established(), before);
    EXPECT_LE(fresh().size(), 64U);
    EXPECT_EQ(source_port(out(web_segment())), 50000);
}

TEST_F(FlowTest, FinIsNotedInItsOwnHalf) {
    insert(Stage::established, Flow{.forward_flags = NK_FLOW_SYN, .reverse_flags = NK_FLOW_SYN});
    out(web_segment().fin().ack());
    EXPECT_THAT(established(),
                ElementsAre("tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [SYN FIN] endpoint 1 eth0",
                            "tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [SYN] endpoint 1 nkweb"));
    in(reply_segment().fin().ack());
    EXPECT_THAT(established(),
                Contains("tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [SYN FIN] endpoint 1 nkweb"));
}

TEST_F(FlowTest, ResetIsNotedInBothHalves) {
    const std::vector<std::string> reset{
        "tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [RST] endpoint 1 eth0",
        "tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [RST] endpoint 1 nkweb"};
    insert(Stage::established, Flow{});
    out(web_segment().rst());
    EXPECT_EQ(established(), reset);
    insert(Stage::established, Flow{});
    in(reply_segment().rst());
    EXPECT_EQ(established(), reset);
}

TEST_F(FlowTest, ARefusedConnectionStaysInTheFirstStage) {
    out(web_segment().syn());
    EXPECT_EQ(in(reply_segment().rst().ack()).verdict, Verdict::redirect);
    EXPECT_THAT(established(), IsEmpty());
    EXPECT_THAT(fresh(),
                ElementsAre("tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [RST] endpoint 1 nkweb"));
}

TEST_F(FlowTest, AnotherAttemptAfterARefusedOneIsAConnectionLikeOthers) {
    out(web_segment().syn());
    in(reply_segment().rst().ack());
    out(web_segment().syn());
    in(reply_segment().syn().ack());
    EXPECT_THAT(established(), AllOf(SizeIs(2), Each(Not(HasSubstr("RST")))));
}

struct ClosedCase {
    const char* name;
    std::uint32_t forward_flags;
    std::uint32_t reverse_flags;
    bool closed;
};

class SynReuseTest : public FlowTest, public ::testing::WithParamInterface<ClosedCase> {};

// A SYN on a connection that is over begins a new one under the same ports; on a live one it is a retransmission.
TEST_P(SynReuseTest, RestartsOnlyWhatIsOver) {
    const ClosedCase& param = GetParam();
    insert(Stage::established, Flow{.forward_flags = param.forward_flags, .reverse_flags = param.reverse_flags});
    EXPECT_EQ(source_port(out(web_segment().syn())), 50000);
    for (const auto& [key, value] : node().entries(Stage::established)) {
        const bool forward = key.direction == NK_FLOW_FORWARD;
        const std::uint32_t kept = forward ? param.forward_flags | NK_FLOW_SYN : param.reverse_flags;
        const std::uint32_t restarted = forward ? std::uint32_t{NK_FLOW_SYN} : 0;
        EXPECT_EQ(value.flags, param.closed ? restarted : kept) << (forward ? "forward" : "reverse");
        EXPECT_EQ(value.created_ns != 1, param.closed) << "a new connection has a new age";
    }
    EXPECT_THAT(established(), SizeIs(2));
}

INSTANTIATE_TEST_SUITE_P(
    States, SynReuseTest,
    ::testing::Values(ClosedCase{"Live", NK_FLOW_SYN, NK_FLOW_SYN, false},
                      ClosedCase{"ContainerFinished", NK_FLOW_SYN | NK_FLOW_FIN, NK_FLOW_SYN, false},
                      ClosedCase{"RemoteFinished", NK_FLOW_SYN, NK_FLOW_SYN | NK_FLOW_FIN, false},
                      ClosedCase{"BothFinished", NK_FLOW_SYN | NK_FLOW_FIN, NK_FLOW_SYN | NK_FLOW_FIN, true},
                      ClosedCase{"Reset", NK_FLOW_SYN | NK_FLOW_RST, NK_FLOW_SYN | NK_FLOW_RST, true}),
    [](const auto& param_info) { return param_info.param.name; });

TEST_F(FlowTest, EveryPacketRenewsItsHalf) {
    insert(Stage::established, Flow{});
    out(web_segment());
    for (const auto& [key, value] : node().entries(Stage::established)) {
        EXPECT_EQ(value.last_seen_ns > 1, key.direction == NK_FLOW_FORWARD);
    }
    in(reply_segment());
    for (const auto& [key, value] : node().entries(Stage::established)) {
        EXPECT_GT(value.last_seen_ns, 1U);
        EXPECT_EQ(value.created_ns, 1U);
    }
}

// An address was given to a new container while flows of the old one were still in the table.
class OldEndpointTest : public FlowTest, public ::testing::WithParamInterface<Stage> {};

TEST_P(OldEndpointTest, ItsFlowIsForgottenWhenTheAddressIsUsedAgain) {
    insert(GetParam(), Flow{.translated_port = 61000, .endpoint_id = 99});
    const RunResult result = out(web_segment().syn());
    EXPECT_EQ(source_port(result), 50000);
    EXPECT_THAT(result.counted, ElementsAre(std::pair("flow-created", 1)));
    EXPECT_THAT(established(), IsEmpty());
    EXPECT_THAT(fresh(), SizeIs(1));
    for (const auto& [key, value] : node().entries(Stage::fresh)) {
        EXPECT_EQ(value.endpoint_id, kWebId);
    }
}

INSTANTIATE_TEST_SUITE_P(Stages, OldEndpointTest, ::testing::Values(Stage::fresh, Stage::established),
                         [](const auto& param_info) {
                             return param_info.param == Stage::fresh ? "Unanswered" : "Established";
                         });

// Its reverse half was evicted, and the port is another container's now: that one keeps it.
TEST_P(OldEndpointTest, AnothersHalfUnderItsFormerPortStays) {
    const Flow of_db{.source = "10.77.0.3", .source_port = 40000, .translated_port = 61000, .endpoint_id = kDbId};
    insert(GetParam(), NK_FLOW_FORWARD, Flow{.translated_port = 61000, .endpoint_id = 99});
    insert(GetParam(), NK_FLOW_REVERSE, of_db);
    EXPECT_EQ(source_port(out(web_segment().syn())), 50000);
    EXPECT_EQ(node().entries(GetParam()).size(), GetParam() == Stage::fresh ? 2U : 1U);
    EXPECT_TRUE(std::ranges::any_of(node().entries(GetParam()),
                                    [](const auto& entry) { return entry.second.endpoint_id == kDbId; }));
}

// Its reverse half alone is left: what comes back would go to a device that is gone.
TEST_P(OldEndpointTest, ItsPortIsNotTakenOver) {
    insert(GetParam(), NK_FLOW_REVERSE, Flow{.endpoint_id = 99});
    const RunResult result = out(web_segment().syn());
    EXPECT_NE(source_port(result), 50000);
    EXPECT_THAT(result.counted, Contains(Key("port-changed")));
}

// It comes when another container, with its address, has begun the same connection.
TEST_F(FlowTest, ALateReplyToAnEndpointThatIsGoneEstablishesNothing) {
    insert(Stage::fresh, NK_FLOW_REVERSE, Flow{.endpoint_id = 99});
    const std::uint16_t port = source_port(out(web_segment().syn()));
    in(reply_to_web(ipv4()));
    EXPECT_THAT(established(), IsEmpty());
    in(to_node(ipv4()).tcp(443, port).syn().ack());
    EXPECT_THAT(
        established(),
        ElementsAre(
            std::format("tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:{} [SYN] endpoint 1 eth0", port),
            std::format("tcp 198.51.100.1:443 > 203.0.113.2:{} to 10.77.0.2:50000 [SYN] endpoint 1 nkweb", port)));
}

// The default route moves to another uplink, as when a cable is pulled.
class OtherUplinkTest : public FlowTest, public ::testing::WithParamInterface<Stage> {};

TEST_P(OtherUplinkTest, AFlowThatLeavesByAnotherUplinkBeginsAnewWithItsAddress) {
    insert(GetParam(), Flow{});
    NetnsTest::node().run("ip addr add 203.0.114.2/24 dev eth1; ip route replace default via 203.0.114.1 dev eth1");
    out(web_segment());
    EXPECT_THAT(established(), IsEmpty());
    EXPECT_THAT(fresh(),
                ElementsAre("tcp 198.51.100.1:443 > 203.0.114.2:50000 to 10.77.0.2:50000 [] endpoint 1 nkweb"));
}

INSTANTIATE_TEST_SUITE_P(Stages, OtherUplinkTest, ::testing::Values(Stage::fresh, Stage::established),
                         [](const auto& stage) { return stage.param == Stage::fresh ? "Unanswered" : "Established"; });

// Two uplinks, and a router outside that sends by the other one.
TEST_F(FlowTest, AReplyByAnotherUplinkDoesNotMoveTheFlow) {
    NetnsTest::node().run("ip link set eth1 address 02:00:00:00:00:10");
    out(from_web(ipv4()));
    run(Program::uplink_ingress, "eth1", reply_to_web(ipv4()));
    EXPECT_THAT(established(),
                ElementsAre("tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [SYN] endpoint 1 eth0",
                            "tcp 198.51.100.1:443 > 203.0.113.2:50000 to 10.77.0.2:50000 [SYN] endpoint 1 nkweb"));
}

TEST_F(FlowTest, ARefusedPacketLeavesNoFlowBehind) {
    out(web_segment().ttl(1));
    out(web_segment().fragment(100, false));
    out(web_segment().rst());
    out(Packet().ip("10.77.0.2", "192.0.2.4").tcp(50000, 443));
    in(reply_to_web(ipv4()));
    EXPECT_THAT(fresh(), IsEmpty());
    EXPECT_THAT(established(), IsEmpty());
}

TEST_F(FlowTest, AReplyThatIsDroppedEstablishesNothing) {
    out(web_segment().syn());
    in(reply_to_web(ipv4()).ttl(1));
    in(reply_to_web(ipv4()).fragment(100, false));
    EXPECT_THAT(established(), IsEmpty());
}

// What differs between IPv4 and IPv6 is how addresses are read, written and looked up; once through all of it, for
// each.
class BothFamiliesTest : public FlowTest, public ::testing::WithParamInterface<const Net*> {
protected:
    const Net& net = *GetParam();

    [[nodiscard]] Packet segment() const { return Packet().ip(net.web, net.remote).tcp(50000, 443).ack(); }
    [[nodiscard]] Packet reply() const { return to_node(net).tcp(443, 50000).ack(); }
    void establish() {
        out(from_web(net));
        in(reply_to_web(net));
        ASSERT_THAT(established(), SizeIs(2));
    }
    // Changes what the established forward half remembers.
    void change_forward(const std::function<void(nk_flow&)>& change) {
        for (auto [key, value] : node().entries(Stage::established)) {
            if (key.direction == NK_FLOW_FORWARD) {
                change(value);
                ASSERT_TRUE(node().update(Stage::established, key, value));
            }
        }
    }
    // Whether the flow believes what it remembers: it is made to remember a wrong MAC.
    [[nodiscard]] bool goes_by_what_it_remembers(const Packet& packet) {
        change_forward([](nk_flow& flow) { std::ranges::copy(kWrongMac, flow.next_hop_mac); });
        const RunResult sent = out(packet);
        const Packet right = forwarded(Packet(packet).from(net.node, 50000));
        if (describe(sent.packet) == describe(Packet(right).eth(kWrongMac, kUplinkMac).bytes())) {
            return true;
        }
        EXPECT_TRUE(left_as(sent.packet, right));
        return false;
    }
    // The clock may tick just before a packet, which then asks anew.
    [[nodiscard]] bool knows_the_way() {
        return goes_by_what_it_remembers(segment()) || goes_by_what_it_remembers(segment()) ||
               goes_by_what_it_remembers(segment());
    }
};
INSTANTIATE_TEST_SUITE_P(Family, BothFamiliesTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(BothFamiliesTest, WhatComesBackMirroredIsTheMirrorImageOfWhatWasSent) {
    node().settings().port_first = node().settings().port_last = 61000;
    out(from_web(net));
    out(from_web_udp(net));
    out(from_web_ping(net));
    for (const Packet& answer : {to_node(net).tcp(443, 61000).ack(), to_node(net).udp(443, 61000).payload("answer"),
                                 to_node(net).echo_reply(61000)}) {
        EXPECT_EQ(describe(in(answer).packet), describe(forwarded(Packet(answer).to(net.web, 50000)).bytes()));
    }
    EXPECT_THAT(established(), SizeIs(6));
    EXPECT_THAT(fresh(), IsEmpty());
}

TEST_P(BothFamiliesTest, AnEstablishedFlowKnowsTheWayToTheRouter) {
    establish();
    EXPECT_TRUE(knows_the_way());
    out(segment());
    EXPECT_TRUE(knows_the_way());
}

TEST_P(BothFamiliesTest, ItAsksAnewWhenARouteChanged) {
    establish();
    node().settings().route_generation++;
    EXPECT_FALSE(goes_by_what_it_remembers(segment()));
    EXPECT_TRUE(knows_the_way()) << "it learned the way again";
}

TEST_P(BothFamiliesTest, ItAsksAnewWhenARouteChangedBeforeTheFirstReply) {
    out(from_web(net));
    node().settings().route_generation++;
    in(reply_to_web(net));
    EXPECT_FALSE(goes_by_what_it_remembers(segment()));
}

TEST_P(BothFamiliesTest, ItAsksAnewWhenTheClockTicks) {
    establish();
    change_forward([](nk_flow& flow) { flow.stamp -= 2; });
    EXPECT_FALSE(goes_by_what_it_remembers(segment()));
}

TEST_P(BothFamiliesTest, APacketLargerThanTheKnownMtuAsksAnew) {
    establish();
    change_forward([](nk_flow& flow) { flow.mtu = 100; });
    EXPECT_FALSE(goes_by_what_it_remembers(segment().dont_fragment().payload(200)));
}

TEST_P(BothFamiliesTest, NowAndThenTheKernelsNeighbourIsUsed) {
    const std::string by_neighbour = describe(forwarded(segment().from(net.node, 50000)).bytes());
    EXPECT_EQ(describe(out(segment()).packet), by_neighbour);
    EXPECT_TRUE(left_as(out(segment()).packet, forwarded(segment().from(net.node, 50000))));
    node().settings().route_generation++;
    EXPECT_EQ(describe(out(segment()).packet), by_neighbour);
}

TEST_P(BothFamiliesTest, ANextHopThatBecomesUnknownIsResolvedAgain) {
    establish();
    NetnsTest::node().run("ip neigh flush nud permanent dev eth0; ip -6 neigh flush nud permanent dev eth0");
    node().settings().route_generation++;
    const auto waits = ElementsAre(std::pair("neighbour-missing", 1), std::pair("stack-neighbour", 1));
    EXPECT_THAT(out(segment()).counted, waits);
    EXPECT_THAT(out(segment()).counted, waits) << "nothing was remembered";
}

TEST_P(BothFamiliesTest, TheKnownWayStillChecksWhoSendsAndWhat) {
    establish();
    EXPECT_TRUE(knows_the_way());
    EXPECT_EQ(out_of_db(segment()).verdict, Verdict::drop);
    EXPECT_EQ(out(segment().ttl(1)).verdict, Verdict::pass);
    EXPECT_EQ(out(segment().fragment(100, false)).verdict, Verdict::drop) << "its first one was not seen";
    EXPECT_EQ(out(segment().tcp_header_words(4)).verdict, Verdict::drop);
    EXPECT_EQ(out(segment().ip_total_length(39)).verdict, Verdict::drop);
    EXPECT_EQ(out(segment().ip_total_length(1000)).verdict, Verdict::drop);
}

// Both ways, by the long way and by the short one: the same packet.
TEST_P(BothFamiliesTest, TheShortWayWritesWhatTheLongOneWrites) {
    node().settings().port_first = node().settings().port_last = 61000;
    const Packet query = Packet().ip(net.web, net.remote).udp(1000, 53).payload("query");
    const Packet answer = to_node(net).udp(53, 61000).payload("answer");
    const auto of = [](const RunResult& result) { return describe(std::span(result.packet).subspan(12)); };
    const std::string asked = of(out(query));
    const std::string answered = of(in(answer));
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(of(out(query)), asked);
        EXPECT_EQ(of(in(answer)), answered);
        EXPECT_EQ(describe(in(Packet(answer).without_udp_checksum()).packet),
                  describe(forwarded(Packet(answer).without_udp_checksum().to(net.web, 1000)).bytes()));
    }
}

TEST_P(BothFamiliesTest, AFinOnTheShortWayIsNoted) {
    establish();
    EXPECT_TRUE(knows_the_way());
    out(segment().fin());
    in(reply());
    in(reply().fin());
    for (const auto& [key, value] : node().entries(Stage::established)) {
        EXPECT_EQ(value.flags, NK_FLOW_SYN | NK_FLOW_FIN);
    }
}

TEST_P(BothFamiliesTest, NothingIsDeliveredOnTheShortWayThatWasNotForUs) {
    establish();
    in(reply());
    EXPECT_EQ(in(reply().eth(kRouterMac, kUplinkMac)).verdict, Verdict::pass);
    EXPECT_EQ(in(reply().ttl(1)).verdict, Verdict::drop);
    EXPECT_EQ(in(reply().fragment(100, false)).verdict, Verdict::pass) << "nor was its";
    node().settings().port_first = node().settings().port_last = 61000;
    EXPECT_EQ(in(reply()).verdict, Verdict::pass) << "its port is the host's again";
}

TEST_P(BothFamiliesTest, AnotherContainerWithTheSamePortGetsAnother) {
    out(segment());
    const RunResult second = out_of_db(Packet().ip(net.db, net.remote).tcp(50000, 443));
    EXPECT_THAT(second.counted, Contains(Key("port-changed")));
    EXPECT_THAT(fresh(), SizeIs(3));
}

TEST_P(BothFamiliesTest, APortOfTheHostsOwnIsLeftToIt) {
    node().settings().port_first = 50000;
    node().settings().port_last = 50001;
    const UniqueFd listener = host_socket(SOCK_STREAM, 50000, net.name == "V6" ? AF_INET6 : AF_INET);
    EXPECT_THAT(out(segment()).counted, Contains(Key("port-changed")));
}

TEST_P(BothFamiliesTest, TheFlowOfAnEndpointThatIsGoneIsForgotten) {
    insert(Stage::established, Flow{.source = net.web,
                                    .destination = net.remote,
                                    .translated = net.node,
                                    .translated_port = 61000,
                                    .endpoint_id = 99});
    EXPECT_THAT(out(segment()).counted, ElementsAre(std::pair("flow-created", 1)));
    EXPECT_THAT(established(), IsEmpty());
}

// Two packets of a new flow at once, as from an application that sends before it is answered.
TEST_P(BothFamiliesTest, AnAssociationBeginsAndEndsLikeAConnection) {
    const auto sent = [&](std::uint8_t chunk) { return Packet().ip(net.web, net.remote).sctp(50000, 443, chunk); };
    const auto received = [&](std::uint8_t chunk) { return to_node(net).sctp(443, 50000, chunk); };
    const std::uint8_t init = 1;
    const std::uint8_t init_ack = 2;
    const std::uint8_t shutdown_complete = 14;
    out(sent(init));
    EXPECT_THAT(fresh(), SizeIs(2));
    in(received(init_ack));
    EXPECT_THAT(fresh(), IsEmpty());
    EXPECT_THAT(established(), Each(AllOf(StartsWith("sctp "), HasSubstr("[SYN]"))));
    in(received(shutdown_complete));
    EXPECT_THAT(established(), AllOf(SizeIs(2), Each(HasSubstr("[SYN RST]"))));
    out(sent(init));
    EXPECT_THAT(established(), Not(Contains(HasSubstr("RST")))) << "a new one under the same ports";
}

// It is more easily forged than a packet of the flow.
TEST_P(BothFamiliesTest, AnIcmpErrorNeitherKeepsAFlowAliveNorEstablishesIt) {
    const bool v4 = net.name == "V4";
    const auto error = [&](Packet packet, const Packet& quoted) {
        return packet.icmp(v4 ? 3 : 1, v4 ? 3 : 4).quoting(quoted);
    };
    const Packet to_web = error(to_node(net), Packet().ip(net.node, net.remote).udp(50000, 443));
    const Packet of_web = error(Packet().ip(net.web, net.remote), Packet().ip(net.remote, net.web).udp(443, 50000));
    for (const Stage stage : {Stage::fresh, Stage::established}) {
        insert(stage,
               Flow{.protocol = IPPROTO_UDP, .source = net.web, .destination = net.remote, .translated = net.node});
        EXPECT_EQ(in(to_web).verdict, Verdict::redirect);
        EXPECT_EQ(out(of_web).verdict, Verdict::redirect);
        EXPECT_THAT(node().entries(stage), SizeIs(2));
        for (const auto& [key, value] : node().entries(stage)) {
            EXPECT_EQ(value.last_seen_ns, 1U);
            EXPECT_EQ(value.flags, 0U);
            EXPECT_EQ(value.stamp, 0U);
        }
    }
}

TEST_P(BothFamiliesTest, TwoCpusMakeOneFlow) {
    constexpr int kRounds = 300;
    for (int round = 0; round < kRounds; round++) {
        node().reset(options);
        // No port of the pool is the container's own: each packet tries ports of its own choice.
        const Packet packet = Packet().ip(net.web, net.remote).udp(1000, 443);
        std::barrier start(2);
        std::array<RunResult, 2> results;
        const auto send = [&](std::size_t cpu) {
            NetnsTest::node().inside([&] {
                pin_to_cpu(cpu);
                start.arrive_and_wait();
                results.at(cpu) = out(packet);
            });
        };
        {
            const std::jthread other([&] { send(1); });
            send(0);
        }
        const auto port = [](const RunResult& result) {
            return Bytes(result.packet.end() - 8, result.packet.end() - 6);
        };
        ASSERT_EQ(port(results[0]), port(results[1]));
        ASSERT_THAT(fresh(), SizeIs(2)) << "and nothing left of the one that came second";
    }
}

TEST_P(BothFamiliesTest, APolicyRuleMayLookAtTheMark) {
    const std::string family = net.name == "V4" ? "-4" : "-6";
    NetnsTest::node().run(
        std::format("ip {0} rule add fwmark 5 lookup 100; ip {0} route add prohibit default table 100", family));
    EXPECT_EQ(out(segment()).verdict, Verdict::redirect);
    const auto marked = node().run(Program::veth_ingress, "nkweb", segment().syn(), {.mark = 5});
    ASSERT_TRUE(marked);
    EXPECT_THAT(marked->counted, ElementsAre(std::pair("stack-no-route", 1)));
}

// No daemon tells of it here: what a flow does by itself when its address is not the one that it would get now.
class FormerAddressTest : public BothFamiliesTest {
protected:
    void SetUp() override {
        BothFamiliesTest::SetUp();
        establish();
    }
    // The address of the established flow's next packet.
    [[nodiscard]] std::string source_of_next_packet() {
        node().settings().route_generation++;  // as when the clock ticks
        const RunResult result = out(segment());
        for (const std::string& source : {net.node, net.other_node}) {
            if (describe(result.packet) == describe(forwarded(segment().from(source, 50000)).bytes())) {
                return source;
            }
        }
        return "another packet: " + describe(result.packet);
    }
    void add_other_address() {
        NetnsTest::node().run(
            "ip addr add 203.0.113.9/24 dev eth0; ip addr add 2001:db8:113::9/64 dev eth0 nodad;"
            "echo 1 > /proc/sys/net/ipv4/conf/eth0/promote_secondaries");
    }
    void prefer_other_address() {
        NetnsTest::node().run(
            "ip route replace default via 203.0.113.1 src 203.0.113.9;"
            "ip route replace default via 2001:db8:113::1 src 2001:db8:113::9");
    }
    void remove_first_address() {
        NetnsTest::node().run("ip addr del 203.0.113.2/24 dev eth0; ip addr del 2001:db8:113::2/64 dev eth0");
        NetnsTest::node().run(
            "ip route replace default via 203.0.113.1; ip route replace default via 2001:db8:113::1;"
            "ip neigh replace 203.0.113.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent;"
            "ip neigh replace 2001:db8:113::1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent");
    }
};
INSTANTIATE_TEST_SUITE_P(Family, FormerAddressTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(FormerAddressTest, ASecondAddressChangesNothing) {
    add_other_address();
    EXPECT_EQ(source_of_next_packet(), net.node);
    prefer_other_address();
    EXPECT_EQ(source_of_next_packet(), net.node) << "the host still has it";
    EXPECT_THAT(established(), SizeIs(2));
}

TEST_P(FormerAddressTest, OneThatIsGoneEndsTheFlowAndTheNextPacketHasTheOther) {
    add_other_address();
    prefer_other_address();
    EXPECT_EQ(source_of_next_packet(), net.node);
    remove_first_address();
    EXPECT_EQ(source_of_next_packet(), net.other_node);
    EXPECT_THAT(established(), IsEmpty());
    EXPECT_THAT(fresh(), SizeIs(1));
}

// Without a default route the host's own addresses and those of nobody look alike in the FIB.
TEST_P(FormerAddressTest, OneThatNoRouteLeadsToEndsTheFlowToo) {
    NetnsTest::node().run(
        "ip addr add 192.0.2.250/32 dev eth0; ip addr add 2001:db8:250::1/128 dev eth0 nodad;"
        "ip route del default; ip -6 route del default;"
        "ip addr del 203.0.113.2/24 dev eth0; ip addr del 2001:db8:113::2/64 dev eth0;"
        "ip route add 203.0.113.1 dev eth0; ip -6 route add 2001:db8:113::1 dev eth0;"
        "ip route add 198.51.100.0/24 via 203.0.113.1 src 192.0.2.250;"
        "ip -6 route add 2001:db8:51::/64 via 2001:db8:113::1 dev eth0 src 2001:db8:250::1");
    node().settings().route_generation++;
    EXPECT_THAT(out(segment()).counted, Contains(Key("flow-created")));
    EXPECT_THAT(established(), IsEmpty());
}

// What the routing table answered for one flow is good for the next ones to the same address.
class RememberedRouteTest : public BothFamiliesTest {
protected:
    void SetUp() override {
        BothFamiliesTest::SetUp();
        pin_to_cpu(0);  // each has a memory of its own
    }

    // From now on, the host sends by another address of its own.
    void prefer_another_source() {
        NetnsTest::node().run(
            "ip addr add 203.0.113.9/24 dev eth0; ip addr add 2001:db8:113::9/64 dev eth0 nodad;"
            "ip route replace default via 203.0.113.1 src 203.0.113.9;"
            "ip route replace default via 2001:db8:113::1 src 2001:db8:113::9");
    }
    // The address that a new connection is masqueraded with.
    [[nodiscard]] std::string source_of_new_flow() {
        const RunResult result = out(Packet().ip(net.web, net.remote).tcp(port_, 443).syn());
        for (const std::string& source : {net.node, net.other_node}) {
            const Packet sent = Packet().ip(net.web, net.remote).tcp(port_, 443).syn().from(source, port_);
            if (left_as(result.packet, forwarded(sent))) {
                port_++;
                return source;
            }
        }
        return "another packet: " + describe(result.packet);
    }
    // The clock may tick just before the second one, which then asks anew.
    [[nodiscard]] bool remembers() {
        bool remembered = false;
        for (int attempt = 0; attempt < 3 && !remembered; attempt++) {
            NetnsTest::node().run(
                "ip route replace default via 203.0.113.1; ip route replace default via 2001:db8:113::1");
            node().settings().route_generation++;
            EXPECT_EQ(source_of_new_flow(), net.node);
            prefer_another_source();
            remembered = source_of_new_flow() == net.node;
        }
        return remembered;
    }

private:
    std::uint16_t port_ = 50000;
};
INSTANTIATE_TEST_SUITE_P(Family, RememberedRouteTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(RememberedRouteTest, AnswersNewFlowsUntilTheDaemonSaysThatItChanged) {
    EXPECT_TRUE(remembers());
    node().settings().route_generation++;
    EXPECT_EQ(source_of_new_flow(), net.other_node);
}

// A rule may look at anything: ports, protocol, flow label.
TEST_P(RememberedRouteTest, IsNotWhereTheHostHasPolicyRules) {
    const std::string family = net.name == "V4" ? "-4" : "-6";
    EXPECT_EQ(source_of_new_flow(), net.node);
    NetnsTest::node().run(std::format("ip {} rule add iif eth1 dport 7 lookup main", family));
    prefer_another_source();
    EXPECT_EQ(source_of_new_flow(), net.other_node);
}

// By ports, two flows to one address may have different next hops.
TEST_P(RememberedRouteTest, IsNotWhereMultipathChoosesByPorts) {
    EXPECT_EQ(source_of_new_flow(), net.node);
    ASSERT_TRUE(link::write_sysctl(net.sysctl_dir + "/fib_multipath_hash_policy", "1"));
    prefer_another_source();
    EXPECT_EQ(source_of_new_flow(), net.other_node);
}

TEST_P(RememberedRouteTest, IsOfOneContainer) {
    EXPECT_EQ(source_of_new_flow(), net.node);
    const std::string sysctl = net.sysctl_dir + "/conf/nkdb/forwarding";
    ASSERT_TRUE(link::write_sysctl(sysctl, "0"));
    EXPECT_THAT(out_of_db(Packet().ip(net.db, net.remote).tcp(50000, 443).syn()).counted,
                Contains(Key("forwarding-disabled")));
}

TEST_P(RememberedRouteTest, DoesNotLetALargerPacketThrough) {
    const auto large = [this](std::size_t size) {
        return Packet().ip(net.web, net.special_route(6)).dont_fragment().udp(50000, 53).payload(size);
    };
    EXPECT_EQ(out(large(100)).verdict, Verdict::redirect);
    EXPECT_EQ(out(large(1280)).verdict, Verdict::pass) << "the route's MTU is 1300";
}

TEST_F(FlowTest, ARememberedRouteIsOfOneTypeOfService) {
    pin_to_cpu(0);
    NetnsTest::node().run("ip route add prohibit 198.51.100.1 tos 0x10");
    EXPECT_EQ(out(web_segment()).verdict, Verdict::redirect);
    EXPECT_EQ(out(web_segment().tos(0x10)).verdict, Verdict::pass);
    EXPECT_EQ(out(Packet().ip("10.77.0.2", "198.51.100.1").tcp(50001, 443)).verdict, Verdict::redirect);
}

class ProgramSizeTest : public FlowTest {
protected:
    ProgramSizeTest() { options.netkit_peer = true; }
};

// The datapath's cost is watched: a jump here deserves a look at the generated code.
TEST_F(ProgramSizeTest, ProgramsStaySmall) {
    for (const auto& [program, limit] : {std::pair(Program::netkit_peer, 10600U),
                                         {Program::veth_ingress, 10600U},
                                         {Program::uplink_ingress, 6000U},
                                         {Program::uplink_egress, 1200U}}) {
        const auto count = node().instruction_count(program);
        ASSERT_TRUE(count) << count.error().message();
        RecordProperty(std::string(to_string(program)), static_cast<int>(*count));
        EXPECT_LE(*count, limit) << to_string(program);
    }
}

}  // namespace
}  // namespace netkitd::test
