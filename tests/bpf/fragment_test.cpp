// Fragmented packets, fragment by fragment, through masquerade and back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <ranges>
#include <set>
#include <vector>

#include "bpf/bpf_test.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

using Counted = std::map<std::string, std::uint64_t>;

constexpr std::uint32_t kId = 4711;
constexpr std::uint32_t kOtherId = 4712;
constexpr std::chrono::seconds kLifetime{15};
// Of later fragments, in 8 bytes.
constexpr std::array<std::uint16_t, 3> kOffsets{126, 189, 252};

class FragmentTest : public BpfTest, public ::testing::WithParamInterface<const Net*> {
protected:
    // From the host's stack, which has it from a container.
    RunResult leave(const Packet& packet, std::string_view uplink = "eth0") {
        return run(Program::uplink_egress, uplink, packet, {.came_in_by = "netkitd0"});
    }

    [[nodiscard]] bool v4() const { return net.name == "V4"; }
    // As it leaves: IPv4 has got an identification of the node's.
    [[nodiscard]] Packet with_id(Packet packet) const {
        return v4() ? packet.identification(first_fragment_id(net.remote)) : packet;
    }

    const Net& net = *GetParam();
};
INSTANTIATE_TEST_SUITE_P(Family, FragmentTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

Packet first(const std::string& source, const std::string& destination, std::uint16_t source_port,
             std::uint16_t destination_port, std::uint32_t id = kId) {
    return Packet()
        .ip(source, destination)
        .identification(id)
        .fragment(0, true)
        .udp(source_port, destination_port)
        .payload(1000);
}

Packet later(const std::string& source, const std::string& destination, std::uint16_t offset, std::uint32_t id = kId) {
    return Packet()
        .ip(source, destination)
        .identification(id)
        .fragment(offset, offset < 200)
        .protocol(IPPROTO_UDP)
        .payload(500);
}

Packet at_uplink(Packet packet) {
    return packet.eth(kUplinkMac, kRouterMac);
}

std::uint16_t id_of(const RunResult& ipv4) {
    return static_cast<std::uint16_t>(ipv4.packet.at(18) << 8 | ipv4.packet.at(19));
}

TEST_P(FragmentTest, LaterOnesLeaveAsTheFirstDid) {
    node().settings().port_first = node().settings().port_last = 61000;
    const RunResult sent = out(first(net.web, net.remote, 50000, 443));
    EXPECT_EQ(describe(sent.packet), describe(forwarded(with_id(first(net.node, net.remote, 61000, 443))).bytes()));
    for (const std::uint16_t offset : kOffsets) {
        const RunResult followed = out(later(net.web, net.remote, offset));
        EXPECT_EQ(followed.verdict, Verdict::redirect);
        EXPECT_THAT(followed.counted, IsEmpty());
        EXPECT_TRUE(left_as(followed.packet, forwarded(with_id(later(net.node, net.remote, offset)))));
    }
}

// Only the first one shows what is behind the extension.
TEST_P(FragmentTest, AnExtensionBehindTheFragmentHeader) {
    if (v4()) {
        GTEST_SKIP() << "IPv4 has no extensions";
    }
    const auto with_extension = [](const std::string& source, const std::string& destination) {
        return Packet()
            .ip(source, destination)
            .identification(kId)
            .fragment(0, true)
            .extension(IPPROTO_DSTOPTS, 16)
            .udp(50000, 443)
            .payload(1000);
    };
    EXPECT_EQ(describe(out(with_extension(net.web, net.remote)).packet),
              describe(forwarded(with_extension(net.node, net.remote)).bytes()));
    EXPECT_EQ(out(later(net.web, net.remote, 128).protocol(IPPROTO_DSTOPTS)).verdict, Verdict::redirect);
}

TEST_P(FragmentTest, LaterOnesArriveWhereTheFirstDid) {
    node().settings().port_first = node().settings().port_last = 61000;
    out(first(net.web, net.remote, 50000, 443));
    const RunResult delivered = in(at_uplink(first(net.remote, net.node, 443, 61000)));
    EXPECT_EQ(describe(delivered.packet),
              describe(at_uplink(forwarded(first(net.remote, net.web, 443, 50000))).bytes()));
    for (const std::uint16_t offset : kOffsets | std::views::reverse) {
        const RunResult followed = in(at_uplink(later(net.remote, net.node, offset)));
        EXPECT_EQ(followed.verdict, Verdict::redirect);
        EXPECT_EQ(describe(followed.packet),
                  describe(at_uplink(forwarded(later(net.remote, net.web, offset))).bytes()));
    }
}

// They have no ports: what containers of another runtime send in somebody else's name is none of a container's.
TEST_P(FragmentTest, LaterOnesArriveByNoBridgeOfThisHostsThatTheirSourceIsNotBehind) {
    node().settings().port_first = node().settings().port_last = 61000;
    out(first(net.web, net.remote, 50000, 443));
    in(at_uplink(first(net.remote, net.node, 443, 61000)));
    node().set_inner_bridge("eth1");
    EXPECT_EQ(run(Program::uplink_ingress, "eth1", at_uplink(later(net.remote, net.node, 126))).verdict, Verdict::pass);
    // Nor do they end what the first one began.
    run(Program::uplink_ingress, "eth1", at_uplink(first(net.remote, net.node, 443, 22)));
    EXPECT_EQ(in(at_uplink(later(net.remote, net.node, 126))).verdict, Verdict::redirect);
}

TEST_P(FragmentTest, OfTwoContainersWithOneIdentificationLeaveWithTwo) {
    const RunResult of_web = out(first(net.web, net.remote, 50000, 443));
    const RunResult of_db = out_of_db(first(net.db, net.remote, 50001, 443));
    if (v4()) {
        EXPECT_NE(id_of(of_web), id_of(of_db));
        EXPECT_EQ(id_of(out(later(net.web, net.remote, 126))), id_of(of_web));
        EXPECT_EQ(id_of(out_of_db(later(net.db, net.remote, 126))), id_of(of_db));
    } else {
        EXPECT_TRUE(left_as(out(later(net.web, net.remote, 126)).packet, forwarded(later(net.node, net.remote, 126))))
            << "32 bits that begin at random";
    }
}

// What others see of theirs says nothing of those of another destination, and each destination has all 65536.
TEST_P(FragmentTest, EachDestinationHasIdentificationsOfItsOwn) {
    if (!v4()) {
        GTEST_SKIP() << "IPv6 leaves a container's own";
    }
    const auto send = [&](const std::string& to) { return id_of(out(first(net.web, to, 50000, 443))); };
    const std::uint16_t here = send(net.remote);
    const std::uint16_t there = send(net.other_remote);
    EXPECT_EQ(here, first_fragment_id(net.remote));
    EXPECT_EQ(there, first_fragment_id(net.other_remote));
    EXPECT_EQ(send(net.remote), static_cast<std::uint16_t>(here + 1));
    EXPECT_EQ(send(net.remote), static_cast<std::uint16_t>(here + 2));
    EXPECT_EQ(send(net.other_remote), static_cast<std::uint16_t>(there + 1));
    node().settings().secret[3] = 1;
    EXPECT_NE(send(net.remote), static_cast<std::uint16_t>(here + 3)) << "another secret, other numbers";
}

// More than there are identifications: what is kept at the destination for half a minute is mixed with nobody else's.
TEST_P(FragmentTest, HoweverManyAContainerSendsNoneHasAnothersIdentification) {
    if (!v4()) {
        GTEST_SKIP() << "IPv6 leaves a container's own";
    }
    constexpr int kFlood = 70000;
    constexpr int kOthers = 1500;  // more than a block
    const auto of_web = [&] { return id_of(out(first(net.web, net.remote, 50000, 443))); };
    std::set<std::uint16_t> webs{of_web()};
    std::set<std::uint16_t> others;
    for (int i = 0; i < kFlood; i++) {
        others.insert(id_of(out_of_db(first(net.db, net.remote, 50001, 443))));
    }
    for (int i = 0; i < kOthers; i++) {
        webs.insert(of_web());
    }
    EXPECT_EQ(webs.size(), kOthers + 1U);
    EXPECT_GT(others.size(), 10000U) << "many are one container's, as long as nobody else wants them";
    std::vector<std::uint16_t> both;
    std::ranges::set_intersection(webs, others, std::back_inserter(both));
    EXPECT_THAT(both, IsEmpty());
}

// 40 fragmented packets a millisecond, for as long as a packet's fragments are apart on a slow link.
TEST_P(FragmentTest, AnothersFloodOfFirstOnesTakesNobodysPlace) {
    constexpr std::uint32_t kFlood = 4000;
    const RunResult sent = out(first(net.web, net.remote, 50000, 443));
    in(at_uplink(first(net.remote, net.node, 443, 50000)));
    for (std::uint32_t i = 0; i < kFlood; i++) {
        out_of_db(first(net.db, net.remote, 50001, 443, i));
    }
    EXPECT_EQ(out(later(net.web, net.remote, 126)).verdict, Verdict::redirect);
    EXPECT_EQ(in(at_uplink(later(net.remote, net.node, 126))).verdict, Verdict::redirect);
}

TEST_P(FragmentTest, OutOfAContainerTheyFollowNobodyElse) {
    out(first(net.web, net.remote, 50000, 443));
    std::vector<Packet> strangers{later(net.web, net.remote, 126, kOtherId), later(net.web, net.other_remote, 126)};
    if (v4()) {
        strangers.push_back(later(net.web, net.remote, 126).protocol(IPPROTO_TCP));
    }
    for (const Packet& stranger : strangers) {
        const RunResult refused = out(stranger);
        EXPECT_EQ(refused.verdict, Verdict::drop);
        EXPECT_THAT(refused.counted, ElementsAre(Pair("fragment", 1)));
    }
    EXPECT_EQ(out_of_db(later(net.db, net.remote, 126)).verdict, Verdict::drop);
    node().age_fragments(kLifetime);
    EXPECT_EQ(out(later(net.web, net.remote, 126)).verdict, Verdict::drop) << "an old one is no longer believed";
}

TEST_P(FragmentTest, OfAFirstOneThatWasRefusedNothingLeaves) {
    node().settings().port_first = node().settings().port_last = 61000;
    out(first(net.web, net.remote, 50000, 443));
    EXPECT_THAT(out(first(net.web, net.remote, 50001, 443)).counted, ElementsAre(Pair("ports-exhausted", 1)));
    EXPECT_THAT(out(later(net.web, net.remote, 126)).counted, ElementsAre(Pair("fragment", 1)))
        << "it is not a part of the packet before, which had the same identification";
}

TEST_P(FragmentTest, ASuccessorWithTheSameAddressDoesNotGoOnWithThem) {
    out(first(net.web, net.remote, 50000, 443));
    ASSERT_TRUE(node().add_endpoint(net.web, "nkweb", 9));
    EXPECT_THAT(out(later(net.web, net.remote, 126)).counted, ElementsAre(Pair("fragment", 1)));
}

TEST_P(FragmentTest, OutOfAnotherUplinkTheyWouldHaveTheWrongAddress) {
    out(first(net.web, net.remote, 50000, 443));
    NetnsTest::node().run(
        "ip addr add 203.0.114.2/24 dev eth1; ip addr add 2001:db8:114::2/64 dev eth1 nodad;"
        "ip route add 198.51.100.1 via 203.0.114.1; ip route add 2001:db8:51::1 via 2001:db8:114::1");
    node().settings().route_generation++;
    EXPECT_THAT(out(later(net.web, net.remote, 126)).counted, ElementsAre(Pair("fragment", 1)));
}

TEST_P(FragmentTest, FromOutsideWhatIsNotKnownIsTheHosts) {
    EXPECT_EQ(in(at_uplink(later(net.remote, net.node, 126))).verdict, Verdict::pass);
    out(first(net.web, net.remote, 50000, 443));
    in(at_uplink(first(net.remote, net.node, 443, 50000)));
    EXPECT_EQ(in(at_uplink(later(net.remote, net.node, 126, kOtherId))).verdict, Verdict::pass);
    EXPECT_EQ(in(at_uplink(later(net.other_remote, net.node, 126))).verdict, Verdict::pass);
    EXPECT_EQ(in(at_uplink(later(net.remote, net.node, 126))).verdict, Verdict::redirect);
    node().age_fragments(kLifetime);
    EXPECT_EQ(in(at_uplink(later(net.remote, net.node, 126))).verdict, Verdict::pass);
}

TEST_P(FragmentTest, TheHostsPacketWithTheSameIdentificationIsItsOwn) {
    out(first(net.web, net.remote, 50000, 443));
    in(at_uplink(first(net.remote, net.node, 443, 50000)));
    EXPECT_EQ(in(at_uplink(first(net.remote, net.node, 443, 7))).verdict, Verdict::pass);
    EXPECT_EQ(in(at_uplink(later(net.remote, net.node, 126))).verdict, Verdict::pass);
}

TEST_P(FragmentTest, TtlUsedUp) {
    out(first(net.web, net.remote, 50000, 443));
    in(at_uplink(first(net.remote, net.node, 443, 50000)));
    EXPECT_THAT(in(at_uplink(later(net.remote, net.node, 126)).ttl(1)).counted, ElementsAre(Pair("ttl-expired", 1)));
    EXPECT_THAT(out(later(net.web, net.remote, 126).ttl(1)).counted, ElementsAre(Pair("stack-ttl", 1)));
}

// What the stack makes of a packet that was too big; IPv4 only.
class StackFragmentTest : public FragmentTest {
protected:
    const std::string remote = net.special_route(6);  // MTU 1300
    const std::uint16_t node_id = first_fragment_id(remote);

    void hand_over() {
        node().settings().port_first = node().settings().port_last = 61000;
        const RunResult handed = out(Packet().ip(net.web, remote).identification(kId).udp(50000, 443).payload(2000));
        EXPECT_EQ(handed.verdict, Verdict::redirect);
        EXPECT_EQ(handed.counted, (Counted{{"flow-created", 1}, {"port-changed", 1}, {"stack-fragments", 1}}));
    }
    void expect_untranslated(const Packet& packet, std::string_view uplink = "eth0") {
        const RunResult refused = leave(packet, uplink);
        EXPECT_EQ(refused.verdict, Verdict::drop);
        EXPECT_THAT(refused.counted, ElementsAre(Pair("untranslated-source", 1)));
    }
    void expect_translated(const Packet& packet, const Packet& becomes) {
        const RunResult left = leave(packet);
        EXPECT_EQ(left.verdict, Verdict::pass);
        EXPECT_THAT(left.counted, IsEmpty());
        EXPECT_EQ(describe(left.packet), describe(becomes.bytes()));
    }
};
INSTANTIATE_TEST_SUITE_P(Family, StackFragmentTest, ::testing::Values(&ipv4()),
                         [](const auto& family) { return family.param->name; });

TEST_P(StackFragmentTest, AreTranslatedWhereTheyLeave) {
    hand_over();
    expect_translated(first(net.web, remote, 50000, 443), first(net.node, remote, 61000, 443, node_id));
    for (const std::uint16_t offset : kOffsets) {
        expect_translated(later(net.web, remote, offset), later(net.node, remote, offset, node_id));
    }
    expect_translated(first(net.web, remote, 50000, 443).without_udp_checksum(),
                      first(net.node, remote, 61000, 443, node_id).without_udp_checksum());
}

TEST_P(StackFragmentTest, IsTranslatedWholeWhereTheMtuHasGrownMeanwhile) {
    hand_over();
    expect_translated(Packet().ip(net.web, remote).identification(kId).udp(50000, 443).payload(2000),
                      Packet().ip(net.node, remote).identification(node_id).udp(61000, 443).payload(2000));
}

TEST_P(StackFragmentTest, OfEveryProtocol) {
    const auto tcp = [&](const std::string& source, std::uint32_t id) {
        return Packet().ip(source, remote).identification(id).tcp(50000, 443).ack().payload(1400);
    };
    const auto ping = [&](const std::string& source, std::uint32_t id) {
        return Packet().ip(source, remote).identification(id).echo_request(50000).payload(1400);
    };
    EXPECT_EQ(out(tcp(net.web, 7)).verdict, Verdict::redirect);
    EXPECT_EQ(out(ping(net.web, 8)).verdict, Verdict::redirect);
    expect_translated(tcp(net.web, 7), tcp(net.node, node_id));
    expect_translated(ping(net.web, 8), ping(net.node, static_cast<std::uint16_t>(node_id + 1)));
}

// With the identification of another packet of its own, a container would send from a port that is another's.
TEST_P(StackFragmentTest, AnEchoReplyIsNotTakenForTheRequest) {
    const Packet big = Packet().ip(net.web, remote).identification(kId).echo_request(50000).payload(1400);
    const Packet reply = Packet().ip(net.web, remote).identification(kId).echo_reply(50000).payload(1400);
    EXPECT_EQ(out(big).verdict, Verdict::redirect);
    expect_untranslated(reply);
}

TEST_P(StackFragmentTest, OfAPacketThatTheContainerHadFragmented) {
    const Packet big = Packet().ip(net.web, remote).identification(kId).fragment(0, true).udp(50000, 443).payload(1400);
    EXPECT_EQ(out(big).verdict, Verdict::redirect);
    EXPECT_EQ(out(later(net.web, remote, 176).payload(1400)).verdict, Verdict::redirect);
    EXPECT_EQ(describe(out(later(net.web, remote, 352)).packet),
              describe(forwarded(later(net.node, remote, 352, node_id)).bytes()))
        << "one that fits goes its own way, with the same identification";
    expect_translated(later(net.web, remote, 176), later(net.node, remote, 176, node_id));
}

// Whoever has the host forward its packets can write a container's address, and any identification.
TEST_P(StackFragmentTest, NobodyElsesLeave) {
    hand_over();
    for (const char* const device : {"", "eth1", "nkweb"}) {
        for (const Packet& packet : {first(net.web, remote, 50000, 443), later(net.web, remote, 126)}) {
            const RunResult refused = run(Program::uplink_egress, "eth0", packet, {.came_in_by = device});
            EXPECT_THAT(refused.counted, ElementsAre(Pair("untranslated-source", 1))) << device;
        }
    }
    expect_translated(later(net.web, remote, 126), later(net.node, remote, 126, node_id));
    ASSERT_TRUE(node().add_endpoint(net.web, "nkweb", 9));
    expect_untranslated(later(net.web, remote, 126));
}

TEST_P(StackFragmentTest, NothingElseLeaves) {
    expect_untranslated(later(net.web, remote, 126));
    hand_over();
    expect_untranslated(first(net.web, remote, 50001, 443));
    expect_untranslated(first(net.web, remote, 50000, 444));
    expect_untranslated(first(net.web, remote, 50000, 443, kOtherId));
    expect_untranslated(later(net.web, net.remote, 126));
    expect_untranslated(later(net.db, remote, 126));
    expect_untranslated(later(net.web, remote, 126), "eth1");
    expect_untranslated(later(net.web, remote, 126).vlan(5));
    node().age_fragments(kLifetime);
    expect_untranslated(later(net.web, remote, 126));
}

}  // namespace
}  // namespace netkitd::test
