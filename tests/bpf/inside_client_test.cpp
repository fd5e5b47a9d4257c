// Clients among the containers of this host, whose sockets were not led: db and web come to the ports that web has at
// the node's address.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <chrono>
#include <string>
#include <utility>

#include "bpf/bpf_test.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;
using ::testing::SizeIs;

constexpr std::uint16_t kPort = 8053;
constexpr std::uint16_t kContainerPort = 53;
constexpr std::uint16_t kClientPort = 50000;
constexpr std::uint32_t kId = 0x1234;
constexpr std::uint32_t kRoutedId = 3;

class InsideClientTest : public BpfTest, public ::testing::WithParamInterface<const Net*> {
protected:
    void SetUp() override {
        BpfTest::SetUp();
        if (!IsSkipped() && !HasFatalFailure()) {
            publish(web());
        }
    }
    [[nodiscard]] datapath::Frontend web(std::uint8_t protocol = IPPROTO_UDP) const {
        return frontend_of_web(net, protocol, kPort, kContainerPort);
    }

    [[nodiscard]] Packet question(std::string_view from) const {
        return Packet().ip(from, net.node).udp(kClientPort, kPort).payload("who?");
    }
    [[nodiscard]] Packet question() const { return question(net.db); }
    // As web sends it to that address.
    [[nodiscard]] Packet answer(std::string_view to) const {
        return Packet().ip(net.web, to).udp(kContainerPort, kClientPort).payload("it is I");
    }
    [[nodiscard]] Packet answer() const { return answer(net.db); }

    const Net& net = *GetParam();
};
INSTANTIATE_TEST_SUITE_P(Family, InsideClientTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

// What comes out of one container's program and goes to another.
Bytes delivered(Packet packet, std::uint8_t ttl = 63) {
    return packet.eth(kContainerMac, kHostEndMac).ttl(ttl).bytes();
}

TEST_P(InsideClientTest, AQuestionComesFromTheClientAndItsAnswerFromWhereItWasAsked) {
    for (int i = 0; i < 3; ++i) {
        const RunResult asked = out_of_db(question());
        EXPECT_EQ(asked.verdict, Verdict::redirect);
        EXPECT_EQ(describe(asked.packet), describe(delivered(question().to(net.web, kContainerPort))));
        const RunResult answered = out(answer());
        EXPECT_EQ(answered.verdict, Verdict::redirect);
        EXPECT_EQ(describe(answered.packet), describe(delivered(answer().from(net.node, kPort))));
    }
    EXPECT_THAT(node().flows(Stage::established), AllOf(SizeIs(2), Each(HasSubstr("INSIDE"))));
}

TEST_P(InsideClientTest, WhoAsksTheContainerItselfIsAnsweredByIt) {
    EXPECT_EQ(describe(out_of_db(question().to(net.web, kContainerPort)).packet),
              describe(delivered(question().to(net.web, kContainerPort))));
    EXPECT_EQ(describe(out(answer()).packet), describe(delivered(answer())));
    out_of_db(question());
    const Packet other = Packet().ip(net.web, net.db).udp(kContainerPort, kClientPort + 1);
    EXPECT_EQ(describe(out(other).packet), describe(delivered(other)));
}

// Of a virtual machine in a container, say: its stack has no socket here.
TEST_P(InsideClientTest, AConnectionWithoutASocketHere) {
    publish(web(IPPROTO_TCP));
    const Packet client = Packet().ip(net.db, net.node).tcp(kClientPort, kPort);
    const Packet server = Packet().ip(net.web, net.db).tcp(kContainerPort, kClientPort);
    const auto comes = [&](const Packet& packet) {
        EXPECT_EQ(describe(out_of_db(packet).packet), describe(delivered(Packet(packet).to(net.web, kContainerPort))));
    };
    const auto goes = [&](const Packet& packet) {
        EXPECT_EQ(describe(out(packet).packet), describe(delivered(Packet(packet).from(net.node, kPort))));
    };
    comes(Packet(client).syn());
    goes(Packet(server).syn().ack());
    comes(Packet(client).ack());
    goes(Packet(server).ack().payload("hello"));
    EXPECT_THAT(node().flows(Stage::established), Each(Not(HasSubstr("ARRIVING"))));
    comes(Packet(client).fin().ack());
    goes(Packet(server).fin().ack());
    comes(Packet(client).syn());
    EXPECT_THAT(node().flows(Stage::fresh), AllOf(SizeIs(2), Each(HasSubstr("INSIDE")))) << "anew";
    goes(Packet(server).rst().ack());
}

// Its own address it would not answer. (It takes two steps there.)
TEST_P(InsideClientTest, AContainerIsItsGatewayForItself) {
    for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(describe(out(question(net.web)).packet),
                  describe(delivered(question(net.gateway).to(net.web, kContainerPort), 62)));
        EXPECT_EQ(describe(out(answer(net.gateway)).packet),
                  describe(delivered(answer(net.web).from(net.node, kPort), 62)));
    }
}

TEST_P(InsideClientTest, WhatHasNotTwoStepsLeftDoesNotReachTheContainerItself) {
    EXPECT_THAT(out(question(net.web).ttl(2)).counted, Contains(Key("stack-host")));
    out(question(net.web));
    EXPECT_THAT(out(answer(net.gateway).ttl(2)).counted, Contains(Key("stack-host")));
}

TEST_P(InsideClientTest, FragmentsFollowTheFirstOfThem) {
    const auto part = [&](std::string_view from, std::string_view to, std::uint16_t offset) {
        return Packet().ip(from, to).identification(kId).fragment(offset, offset == 0).protocol(IPPROTO_UDP);
    };
    // IPv4's has an identification of the node's.
    const auto became = [&](Packet packet, std::string_view asked) {
        return describe(delivered(net.is_ipv6() ? packet : packet.identification(first_fragment_id(asked))));
    };
    EXPECT_TRUE(out_of_db(part(net.db, net.node, 126).payload(500)).counted.contains("stack-host"))
        << "before the first: for all that is known, the host's";
    EXPECT_EQ(describe(out_of_db(part(net.db, net.node, 0).udp(kClientPort, kPort).payload(1000)).packet),
              became(part(net.db, net.web, 0).udp(kClientPort, kContainerPort).payload(1000), net.node));
    EXPECT_EQ(describe(out_of_db(part(net.db, net.node, 126).payload(500)).packet),
              became(part(net.db, net.web, 126).payload(500), net.node));
    EXPECT_EQ(describe(out(part(net.web, net.db, 0).udp(kContainerPort, kClientPort).payload(1000)).packet),
              became(part(net.node, net.db, 0).udp(kPort, kClientPort).payload(1000), net.db));
    EXPECT_EQ(describe(out(part(net.web, net.db, 126).payload(500)).packet),
              became(part(net.node, net.db, 126).payload(500), net.db));
    EXPECT_EQ(in(part(net.db, net.node, 126).payload(500).eth(kUplinkMac, kRouterMac)).verdict, Verdict::pass)
        << "nobody outside continues it";
}

// That has clients itself, one of them the host: what it sends there is no answer to them.
TEST_P(InsideClientTest, FragmentsOfAContainerThatHasClientsGoWhereItsFirstOneWent) {
    constexpr std::uint16_t kOfDb = 8054;
    datapath::Frontend of_db = frontend_of_web(net, IPPROTO_UDP, kOfDb, kContainerPort);
    of_db.container = IpAddr::parse(net.db).value();
    of_db.endpoint_id = kDbId;
    publish(of_db);
    out_of_db(question());
    const auto part = [&](std::string_view to, std::uint16_t offset) {
        return Packet().ip(net.web, to).identification(kId).fragment(offset, offset == 0).protocol(IPPROTO_UDP);
    };
    const auto became = [&](Packet packet) {
        return describe(delivered(net.is_ipv6() ? packet : packet.identification(first_fragment_id(net.node))));
    };
    EXPECT_EQ(describe(out(part(net.node, 0).udp(kClientPort, kOfDb).payload(1000)).packet),
              became(part(net.db, 0).udp(kClientPort, kContainerPort).payload(1000)));
    EXPECT_EQ(describe(out(part(net.node, 126).payload(500)).packet), became(part(net.db, 126).payload(500)));
    // Of another packet with the same identification, whose first one is the host's own.
    EXPECT_THAT(out(part(net.node, 0).udp(kClientPort, kOfDb + 1).payload(1000)).counted, Contains(Key("stack-host")));
    EXPECT_THAT(out(part(net.node, 126).payload(500)).counted, Contains(Key("stack-host")));
}

TEST_P(InsideClientTest, ErrorsComeFromWhereTheClientAsked) {
    const IcmpType closed{.type = std::uint8_t(net.is_ipv6() ? 1 : 3), .code = std::uint8_t(net.is_ipv6() ? 4 : 3)};
    const auto error = [&](const std::string& from, const std::string& to, const Packet& about) {
        return Packet().ip(from, to).icmp(closed.type, closed.code).quoting(about);
    };
    const Packet asked = question().to(net.web, kContainerPort).ttl(63);
    const Packet answered = answer().from(net.node, kPort).ttl(63);
    EXPECT_EQ(describe(out(error(net.web, net.db, asked)).packet), describe(delivered(error(net.web, net.db, asked))))
        << "as it is: nobody asked";
    out_of_db(question());
    EXPECT_EQ(describe(out(error(net.web, net.db, asked)).packet),
              describe(delivered(error(net.node, net.db, Packet(asked).to(net.node, kPort)))));
    out(answer());
    EXPECT_EQ(describe(out_of_db(error(net.db, net.node, answered)).packet),
              describe(delivered(error(net.db, net.web, Packet(answered).from(net.web, kContainerPort)))));
}

// It is kept with the host's address, where others are as well.
TEST_P(InsideClientTest, NobodyTellsAClientOfASmallerPathToTheHost) {
    const IcmpType too_big{.type = std::uint8_t(net.is_ipv6() ? 2 : 3), .code = std::uint8_t(net.is_ipv6() ? 0 : 4)};
    out_of_db(question());
    const Packet told = Packet()
                            .ip(net.web, net.db)
                            .icmp(too_big.type, too_big.code)
                            .icmp_rest(600)
                            .quoting(question().to(net.web, kContainerPort).ttl(63));
    EXPECT_EQ(describe(out(told).packet), describe(delivered(told)));
}

// Then the host refuses it.
TEST_P(InsideClientTest, WhereItMayNotComeItIsTheHosts) {
    const auto to_host = [&](const Packet& packet) { return out_of_db(packet).counted.contains("stack-host"); };
    EXPECT_TRUE(to_host(Packet().ip(net.db, net.node).udp(kClientPort, kPort + 1)));
    EXPECT_TRUE(to_host(Packet().ip(net.db, net.node).tcp(kClientPort, kPort).syn()));
    EXPECT_TRUE(to_host(Packet().ip(net.db, net.gateway).udp(kClientPort, kPort))) << "not published there";
    EXPECT_TRUE(to_host(question().ttl(1)));
    datapath::Frontend waits = web(IPPROTO_TCP);
    waits.hold = std::chrono::seconds(10);
    publish(waits);
    ASSERT_TRUE(node().end(waits));
    EXPECT_TRUE(to_host(Packet().ip(net.db, net.node).tcp(kClientPort, kPort).syn())) << "its container is gone";
    datapath::Frontend some = web();
    some.allowed = {IpPrefix::single(IpAddr::parse(net.remote).value())};
    publish(some);
    EXPECT_TRUE(to_host(question()));
    some.allowed.push_back(IpPrefix::single(IpAddr::parse(net.db).value()));
    publish(some);
    EXPECT_FALSE(to_host(question()));
    ASSERT_TRUE(node().take_back(some));
    EXPECT_TRUE(to_host(question())) << "not any more";
}

TEST_P(InsideClientTest, AnIsolatedNetworkIsNotReachedByItsPublishedPorts) {
    const auto ask = [&] { return run(Program::veth_ingress, "nkrouted", question(net.routed)); };
    EXPECT_EQ(ask().verdict, Verdict::redirect);
    node().network(1, net.is_ipv6()).flags |= NK_NETWORK_ISOLATED;
    for (int i = 0; i < 2; ++i) {
        const RunResult refused = ask();
        EXPECT_EQ(refused.verdict, Verdict::drop);
        EXPECT_THAT(refused.counted, ElementsAre(std::pair("isolated", 1)));
        node().lose_flows();
    }
}

// Of those who are not answered yet the client's latest are known, and all others' but for those that share its ring.
TEST_P(InsideClientTest, AFloodOfAClientDrivesOutItsOwnAlone) {
    const Packet from_outside = to_node(net).udp(kClientPort, kPort);
    const Packet of_routed = question(net.routed);
    in(from_outside);
    run(Program::veth_ingress, "nkrouted", of_routed);
    out_of_db(question());
    const std::size_t before = node().entries().size();
    for (std::uint16_t port = 1; port <= 3 * NK_ARRIVALS_INSIDE; ++port) {
        EXPECT_EQ(out_of_db(Packet().ip(net.db, net.node).udp(port, kPort)).verdict, Verdict::redirect);
    }
    EXPECT_EQ(node().entries().size(), before - 2 + std::size_t{2} * NK_ARRIVALS_INSIDE);
    EXPECT_TRUE(left_as(out(Packet().ip(net.web, net.remote).udp(kContainerPort, kClientPort)).packet,
                        forwarded(Packet().ip(net.node, net.remote).udp(kPort, kClientPort))));
    EXPECT_EQ(describe(out(answer(net.routed)).packet), describe(delivered(answer(net.routed).from(net.node, kPort))));
    EXPECT_EQ(describe(out(answer()).packet), describe(delivered(answer())));
}

// A container that starts again has another number.
TEST_P(InsideClientTest, TheNextContainerGetsTheNextQuestion) {
    out_of_db(question());
    out(answer());
    out_of_db(question());
    datapath::Frontend next = web();
    next.container = IpAddr::parse(net.routed).value();
    next.endpoint_id = kRoutedId;
    publish(next);
    EXPECT_EQ(describe(out_of_db(question()).packet), describe(delivered(question().to(net.routed, kContainerPort))));
    EXPECT_EQ(node().flow_counts(kWebId).flows4 + node().flow_counts(kWebId).flows6, 0U);
}

// With the client's address, from outside.
TEST_P(InsideClientTest, NobodyOutsideSpeaksForAClient) {
    const Packet forged = Packet(question()).eth(kUplinkMac, kRouterMac);
    out_of_db(question());
    out(answer());
    for (int i = 0; i < 2; ++i) {
        const RunResult refused = in(forged);
        EXPECT_EQ(refused.verdict, Verdict::drop);
        EXPECT_THAT(refused.counted, ElementsAre(std::pair("unsolicited", 1)));
        out_of_db(question());
    }
    const RunResult error = in(Packet()
                                   .eth(kUplinkMac, kRouterMac)
                                   .ip(net.remote, net.node)
                                   .icmp(net.is_ipv6() ? 1 : 3, net.is_ipv6() ? 4 : 3)
                                   .quoting(answer().from(net.node, kPort)));
    EXPECT_EQ(error.verdict, Verdict::drop);
    EXPECT_THAT(error.counted, ElementsAre(std::pair("unsolicited", 1)));
}

}  // namespace
}  // namespace netkitd::test
