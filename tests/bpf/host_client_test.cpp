// Clients among the host's own programs, whose sockets are not led: they come to the port that web has at the node's
// address and at its loopback ones, by the loopback device.
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
using ::testing::SizeIs;

constexpr std::uint16_t kPort = 8053;
constexpr std::uint16_t kContainerPort = 53;
constexpr std::uint16_t kClientPort = 50000;
constexpr Mac kNoMac{};

class HostClientTest : public BpfTest, public ::testing::WithParamInterface<const Net*> {
protected:
    HostClientTest() { options.loopback_egress = true; }

    void SetUp() override {
        BpfTest::SetUp();
        if (!IsSkipped() && !HasFatalFailure()) {
            publish(web());
        }
    }
    [[nodiscard]] datapath::Frontend web() const { return frontend_of_web(net, IPPROTO_UDP, kPort, kContainerPort); }
    // NOLINTNEXTLINE(modernize-use-nodiscard): as those of BpfTest
    RunResult of_host(const Packet& packet) { return run(Program::loopback_egress, "lo", packet); }

    // From one of the host's addresses to another one.
    [[nodiscard]] static Packet question(std::string_view from, std::string_view to) {
        return Packet().ip(from, to).udp(kClientPort, kPort).payload("who?");
    }
    // As web sends it: to that address.
    [[nodiscard]] Packet answer(std::string_view to) const {
        return Packet().ip(net.web, to).udp(kContainerPort, kClientPort).payload("it is I");
    }
    [[nodiscard]] static std::string at_web(Packet packet, std::uint8_t ttl = 63) {
        return describe(packet.eth(kContainerMac, kHostEndMac).ttl(ttl).bytes());
    }
    // As it comes in by the loopback device, whose address is none.
    [[nodiscard]] static std::string at_loopback(Packet packet, std::uint8_t ttl = 63) {
        return describe(packet.eth(kNoMac, kNoMac).ttl(ttl).bytes());
    }
    // As if the program were silent for so long.
    void age_questions(std::chrono::nanoseconds time) {
        for (auto [key, half] : node().entries()) {
            if (key.direction == NK_FLOW_REVERSE) {
                half.last_seen_ns -= static_cast<std::uint64_t>(time.count());
                ASSERT_TRUE(node().update(key, half));
            }
        }
    }

    const Net& net = *GetParam();
    const std::string loopback = net.is_ipv6() ? "::1" : "127.0.0.1";
};
INSTANTIATE_TEST_SUITE_P(Family, HostClientTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(HostClientTest, WhoAsksByTheNodesAddressIsAnsweredFromThere) {
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(describe(of_host(question(net.node, net.node)).packet),
                  at_web(question(net.node, net.web).to(net.web, kContainerPort)));
        const RunResult answered = out(answer(net.node));
        EXPECT_EQ(answered.verdict, Verdict::redirect);
        EXPECT_EQ(describe(answered.packet), at_loopback(answer(net.node).from(net.node, kPort)));
    }
    EXPECT_THAT(node().flows(Stage::established), AllOf(SizeIs(2), Each(HasSubstr("OF_HOST"))));
}

// It takes two steps each way.
TEST_P(HostClientTest, WhoAsksByLoopbackIsTheGatewayToTheContainer) {
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(describe(of_host(question(loopback, loopback)).packet),
                  at_web(question(net.gateway, net.web).to(net.web, kContainerPort), 62));
        EXPECT_EQ(describe(out(answer(net.gateway)).packet), at_loopback(answer(loopback).from(loopback, kPort), 62));
    }
}

TEST_P(HostClientTest, WhatNobodyAskedForIsAsEver) {
    of_host(question(net.node, net.node));
    of_host(question(loopback, loopback));
    for (const std::string& host : {net.node, net.gateway}) {
        const Packet other = Packet().ip(net.web, host).udp(kContainerPort, kClientPort + 1);
        EXPECT_THAT(out(other).counted, Contains(Key("stack-host"))) << host;
        EXPECT_THAT(out_of_db(Packet().ip(net.db, host).udp(kContainerPort, kClientPort)).counted,
                    Contains(Key("stack-host")))
            << "another container's to " << host;
    }
}

// What another program has by then is not the container's to speak to.
TEST_P(HostClientTest, AnAnswerCountsAsLongAsTheProgramGoesOn) {
    for (const auto& [asked, client] : {std::pair(net.node, net.node), std::pair(loopback, net.gateway)}) {
        SCOPED_TRACE(asked);
        of_host(question(asked, asked));
        out(answer(client));
        age_questions(std::chrono::seconds(119));
        EXPECT_EQ(out(answer(client)).counted.count("stack-host"), 0U);
        age_questions(std::chrono::seconds(2));
        EXPECT_THAT(out(answer(client)).counted, Contains(Key("stack-host")));
        of_host(question(asked, asked));
        EXPECT_EQ(out(answer(client)).counted.count("stack-host"), 0U) << "it asks again";
    }
}

TEST_P(HostClientTest, FragmentsOfAnAnswerFollowTheFirst) {
    const auto part = [&](std::string_view from, std::string_view to, std::uint16_t offset) {
        return Packet().ip(from, to).identification(0x1234).fragment(offset, offset == 0).protocol(IPPROTO_UDP);
    };
    const auto became = [&](Packet packet, std::string_view client, std::uint8_t ttl) {
        return at_loopback(net.is_ipv6() ? packet : packet.identification(first_fragment_id(client)), ttl);
    };
    of_host(question(net.node, net.node));
    EXPECT_EQ(describe(out(part(net.web, net.node, 0).udp(kContainerPort, kClientPort).payload(1000)).packet),
              became(part(net.node, net.node, 0).udp(kPort, kClientPort).payload(1000), net.node, 63));
    EXPECT_EQ(describe(out(part(net.web, net.node, 126).payload(500)).packet),
              became(part(net.node, net.node, 126).payload(500), net.node, 63));
    of_host(question(loopback, loopback));
    EXPECT_EQ(describe(out(part(net.web, net.gateway, 0).udp(kContainerPort, kClientPort).payload(1000)).packet),
              became(part(loopback, loopback, 0).udp(kPort, kClientPort).payload(1000), net.gateway, 62));
    EXPECT_EQ(describe(out(part(net.web, net.gateway, 126).payload(500)).packet),
              became(part(loopback, loopback, 126).payload(500), net.gateway, 62));
}

TEST_P(HostClientTest, ErrorsComeFromWhereItWasAsked) {
    const IcmpType closed{.type = std::uint8_t(net.is_ipv6() ? 1 : 3), .code = std::uint8_t(net.is_ipv6() ? 4 : 3)};
    const auto error = [&](const std::string& from, const std::string& to, const Packet& about) {
        return Packet().ip(from, to).icmp(closed.type, closed.code).quoting(about);
    };
    of_host(question(net.node, net.node));
    EXPECT_EQ(describe(out(error(net.web, net.node, question(net.node, net.web).to(net.web, kContainerPort))).packet),
              at_loopback(error(net.node, net.node, question(net.node, net.node))));
    of_host(question(loopback, loopback));
    EXPECT_EQ(
        describe(out(error(net.web, net.gateway, question(net.gateway, net.web).to(net.web, kContainerPort))).packet),
        at_loopback(error(loopback, loopback, question(loopback, loopback)), 62));
    out(answer(net.node));
    EXPECT_EQ(describe(of_host(error(net.node, net.node, answer(net.node).from(net.node, kPort))).packet),
              at_web(error(net.node, net.web, answer(net.node))))
        << "the program has gone";
}

// As a container's that is its own client (inside_client_test.cpp), which is its gateway to itself, too.
TEST_P(HostClientTest, OneOfBothIsAnsweredWhoAsksFromOnePort) {
    of_host(question(loopback, net.node));
    EXPECT_EQ(out(question(net.web, net.node)).verdict, Verdict::drop);
    EXPECT_EQ(describe(out(answer(net.gateway)).packet), at_loopback(answer(loopback).from(net.node, kPort), 62));
}

TEST_P(HostClientTest, TheNextContainerGetsTheNextQuestion) {
    of_host(question(net.node, net.node));
    out(answer(net.node));
    of_host(question(net.node, net.node));
    datapath::Frontend next = web();
    next.container = IpAddr::parse(net.routed).value();
    next.endpoint_id = 3;
    publish(next);
    EXPECT_EQ(describe(of_host(question(net.node, net.node)).packet),
              at_web(question(net.node, net.routed).to(net.routed, kContainerPort)));
    EXPECT_EQ(node().flow_counts(kWebId).flows4 + node().flow_counts(kWebId).flows6, 0U);
}

// The host may come anywhere.
TEST_P(HostClientTest, NeitherIsolationNorAnAllowListIsAboutIt) {
    datapath::Frontend some = web();
    some.allowed = {IpPrefix::single(IpAddr::parse(net.remote).value())};
    publish(some);
    node().network(0, net.is_ipv6()).flags |= NK_NETWORK_ISOLATED;
    for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(of_host(question(net.node, net.node)).verdict, Verdict::redirect);
        EXPECT_EQ(of_host(question(loopback, loopback)).verdict, Verdict::redirect);
    }
}

// With the program's address, from outside; the uplink's programs know no such flow.
TEST_P(HostClientTest, NobodyOutsideSpeaksForAProgram) {
    of_host(question(net.node, net.node));
    out(answer(net.node));
    const RunResult refused = in(question(net.node, net.node).eth(kUplinkMac, kRouterMac));
    EXPECT_EQ(refused.verdict, Verdict::drop);
    EXPECT_THAT(refused.counted, ElementsAre(std::pair("unsolicited", 1)));
}

// Of all of them, the latest are known.
TEST_P(HostClientTest, AFloodOfAProgramDrivesOutNobodyElses) {
    in(to_node(net).udp(kClientPort, kPort));
    out_of_db(Packet().ip(net.db, net.node).udp(kClientPort, kPort));
    const std::size_t before = node().entries().size();
    for (std::uint16_t port = 1; port <= 300; ++port) {
        EXPECT_EQ(of_host(Packet().ip(net.node, net.node).udp(port, kPort)).verdict, Verdict::redirect);
    }
    EXPECT_EQ(node().entries().size(), before + 600);
}

}  // namespace
}  // namespace netkitd::test
