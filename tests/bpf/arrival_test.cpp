// Flows that somebody outside begins, to a published port of web's: from the first packet until it is the container's,
// and what a flood of them may cost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "base/format.h"
#include "bpf/bpf_test.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr std::uint16_t kPort = 8080;
constexpr std::uint16_t kContainerPort = 80;
constexpr std::uint32_t kNoNetns = 1'000'000;
constexpr std::chrono::milliseconds kBeyondASecond{1050};

class ArrivalTest : public BpfTest, public ::testing::WithParamInterface<const Net*> {
protected:
    void SetUp() override {
        BpfTest::SetUp();
        if (!IsSkipped()) {
            publish(web());
        }
    }
    [[nodiscard]] datapath::Frontend web(std::uint8_t protocol = IPPROTO_TCP) const {
        return frontend_of_web(net, protocol, kPort, kContainerPort);
    }

    // Of a client's connection, and as the container sees and sends it.
    [[nodiscard]] Packet client(std::uint16_t port = 50000) const { return to_node(net).tcp(port, kPort); }
    [[nodiscard]] Packet server(std::uint16_t port = 50000) const {
        return Packet().ip(net.web, net.remote).tcp(kContainerPort, port);
    }
    void take_up(std::uint16_t port = 50000) {
        in(client(port).syn());
        out(server(port).syn().ack());
        in(client(port).ack());
        out(server(port).ack());
    }
    [[nodiscard]] std::uint32_t counted_flows() {
        const nk_flow_counts counts = node().flow_counts(kWebId);
        return net.is_ipv6() ? counts.flows6 : counts.flows4;
    }
    [[nodiscard]] std::size_t entries() { return node().entries().size(); }
    // As if the way that the flow knows led there.
    void change_next_hop(std::uint16_t client_port, const Mac& mac) {
        for (auto [key, value] : node().entries()) {
            if (key.direction == NK_FLOW_FORWARD && ntohs(key.dport) == client_port) {
                std::ranges::copy(mac, value.next_hop_mac);
                ASSERT_TRUE(node().update(key, value));
            }
        }
    }

    const Net& net = *GetParam();
};
INSTANTIATE_TEST_SUITE_P(Family, ArrivalTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

TEST_P(ArrivalTest, AConnectionFromSynToItsFirstData) {
    const RunResult syn = in(client().syn());
    EXPECT_EQ(syn.verdict, Verdict::redirect);
    EXPECT_EQ(describe(syn.packet), describe(client().syn().to(net.web, kContainerPort).ttl(63).bytes()));
    EXPECT_THAT(syn.counted, ElementsAre(std::pair("flow-arrived", 1)));
    EXPECT_THAT(node().flows(Stage::fresh), SizeIs(2));
    EXPECT_EQ(counted_flows(), 0U);

    const RunResult answer = out(server().syn().ack());
    EXPECT_EQ(answer.verdict, Verdict::redirect);
    EXPECT_TRUE(left_as(answer.packet, forwarded(server().syn().ack().from(net.node, kPort))));
    EXPECT_EQ(in(client().ack()).verdict, Verdict::redirect);
    EXPECT_EQ(counted_flows(), 0U) << "anybody can send that";

    EXPECT_TRUE(left_as(out(server().ack().payload("hello")).packet,
                        forwarded(server().ack().payload("hello").from(net.node, kPort))));
    EXPECT_EQ(counted_flows(), 1U);
    EXPECT_THAT(node().flows(Stage::established), Each(Not(HasSubstr("ARRIVING"))));
    EXPECT_THAT(out(server().ack()).counted, IsEmpty());
    EXPECT_THAT(in(client().ack()).counted, IsEmpty());
    EXPECT_EQ(counted_flows(), 1U) << "once";
}

// The way to a client is found once, by the first of its connections, until the clock ticks.
TEST_P(ArrivalTest, AClientsNextConnectionIsAnsweredByTheWayThatIsKnown) {
    pin_to_cpu(0);
    bool went = false;
    for (std::uint16_t port = 50000; port < 50010 && !went; port += 2) {
        const std::uint16_t next = port + 1;
        take_up(port);
        in(client(next).syn());
        change_next_hop(next, kWrongMac);
        const Packet answer = forwarded(server(next).syn().ack().from(net.node, kPort));
        const RunResult sent = out(server(next).syn().ack());
        went = describe(sent.packet) == describe(Packet(answer).eth(kWrongMac, kUplinkMac).bytes());
        EXPECT_TRUE(went || left_as(sent.packet, answer));
        EXPECT_THAT(node().flows(Stage::fresh), IsEmpty()) << "answered";
        const std::uint32_t before = counted_flows();
        in(client(next).ack());
        out(server(next).ack());
        EXPECT_EQ(counted_flows(), before + 1);
    }
    EXPECT_TRUE(went);
}

// Of one whose beginning came to a former container, or before the flow was lost.
TEST_P(ArrivalTest, WhatGoesOnInTheMiddleIsAnsweredByTheWayThatIsKnown) {
    pin_to_cpu(0);
    take_up(50000);
    in(client(50001).ack());
    out(server(50001).ack());
    EXPECT_THAT(node().flows(Stage::fresh), IsEmpty());
    EXPECT_EQ(counted_flows(), 2U);
}

TEST_P(ArrivalTest, OfAnotherPortOrProtocolIsTheHosts) {
    EXPECT_EQ(in(to_node(net).tcp(50000, kPort + 1).syn()).verdict, Verdict::pass);
    EXPECT_EQ(in(to_node(net).udp(50000, kPort)).verdict, Verdict::pass);
    EXPECT_EQ(entries(), 0U);
}

TEST_P(ArrivalTest, AtAnAddressThatIsNotTheHostsIsForwardedAsEver) {
    const std::string other = net.is_ipv6() ? "2001:db8:113::77" : "203.0.113.77";
    EXPECT_EQ(in(Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, other).tcp(50000, kPort).syn()).verdict,
              Verdict::pass);
    EXPECT_EQ(entries(), 0U);
}

TEST_P(ArrivalTest, APortOfOneAddressIsNoOthers) {
    datapath::Frontend one = web();
    one.address = IpAddr::parse(net.is_ipv6() ? "2001:db8:113::9" : "203.0.113.9").value();
    one.port = 9090;
    publish(one);
    const auto syn_to = [&](const std::string& address) {
        return in(Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, address).tcp(50000, 9090).syn()).verdict;
    };
    EXPECT_EQ(syn_to(net.node), Verdict::pass);
    EXPECT_EQ(syn_to(one.address->to_string()), Verdict::redirect);
}

TEST_P(ArrivalTest, OnlyThoseMayComeWhomItAllows) {
    const auto from = [&](const std::string& source) {
        return in(Packet().eth(kUplinkMac, kRouterMac).ip(source, net.node).tcp(50000, 9090).syn());
    };
    const std::string neighbour = net.is_ipv6() ? "2001:db8:999::1" : "192.0.2.1";
    datapath::Frontend some = web();
    some.port = 9090;
    some.allowed = {IpPrefix::parse("192.0.2.0/24").value(), IpPrefix::parse("2001:db8:999::/48").value()};
    publish(some);
    EXPECT_EQ(from(neighbour).verdict, Verdict::redirect);
    EXPECT_THAT(from(net.remote).counted, ElementsAre(std::pair("not-allowed", 1)));
    EXPECT_EQ(in(client(50001).syn()).verdict, Verdict::redirect) << "by another port";
    some.allowed = {IpPrefix::single(IpAddr::parse(net.remote).value())};
    publish(some);
    EXPECT_EQ(from(net.remote).verdict, Verdict::redirect);
    some.allowed = {IpPrefix::parse(net.is_ipv6() ? "192.0.2.0/24" : "2001:db8:999::/48").value()};
    publish(some);
    EXPECT_EQ(from(neighbour).verdict, Verdict::redirect) << "it came before";
    some.port = 9091;
    publish(some);
    EXPECT_THAT(in(to_node(net).tcp(50001, 9091).syn()).counted, ElementsAre(std::pair("not-allowed", 1)));
}

TEST_P(ArrivalTest, WhereNobodyListensSynsAreHeldForATime) {
    datapath::Frontend waits = web();
    waits.hold = std::chrono::seconds(1);
    waits.netns_id = kNoNetns;
    publish(waits);
    EXPECT_EQ(in(client().ack()).verdict, Verdict::redirect) << "whatever it is, it does not begin here";
    for (int i = 0; i < 2; ++i) {
        const RunResult held = in(client(50001).syn());
        EXPECT_EQ(held.verdict, Verdict::drop);
        EXPECT_THAT(held.counted, ElementsAre(std::pair("held", 1)));
    }
    std::this_thread::sleep_for(kBeyondASecond);
    EXPECT_EQ(in(client(50001).syn()).verdict, Verdict::redirect) << "the container refuses";
    EXPECT_EQ(in(client(50002).syn()).verdict, Verdict::redirect);
}

TEST_P(ArrivalTest, AFormerContainersPortIsHeldForATime) {
    datapath::Frontend waits = web();
    waits.hold = std::chrono::seconds(1);
    publish(waits);
    ASSERT_TRUE(node().end(waits));
    EXPECT_THAT(in(client().syn()).counted, ElementsAre(std::pair("held", 1)));
    EXPECT_EQ(in(client().ack()).verdict, Verdict::pass) << "the host resets it";
    EXPECT_EQ(out(server().syn().ack()).verdict, Verdict::redirect) << "a flow of its own, as from any port";
    std::this_thread::sleep_for(kBeyondASecond);
    EXPECT_EQ(in(client(50001).syn()).verdict, Verdict::pass) << "the host refuses";
}

TEST_P(ArrivalTest, APortThatIsTakenBackIsTheHosts) {
    ASSERT_TRUE(node().take_back(web()));
    EXPECT_EQ(in(client().syn()).verdict, Verdict::pass);
    EXPECT_EQ(out(server().syn().ack()).verdict, Verdict::redirect) << "a flow of its own, as from any port";
}

// With addresses that nobody outside has, he would be answered by somebody else, or looked upon as one.
TEST_P(ArrivalTest, FromAContainersAddressOrTheHostsIsDropped) {
    for (const std::string& source :
         {net.web, net.gateway, net.db, net.node, std::string(net.is_ipv6() ? "::1" : "127.0.0.1")}) {
        EXPECT_EQ(in(Packet().eth(kUplinkMac, kRouterMac).ip(source, net.node).tcp(50000, kPort).syn()).verdict,
                  Verdict::drop)
            << source;
    }
    EXPECT_EQ(entries(), 0U);
}

// Whoever sent from the port before it was published would get its clients, and speak for it.
TEST_P(ArrivalTest, AnothersFlowWithThePortEndsWhereItIsPublished) {
    constexpr std::uint16_t kOfThePool = 50000;
    const Packet question = Packet().ip(net.db, net.remote).udp(kOfThePool, 5060);
    const Packet client = to_node(net).udp(5060, kOfThePool);
    EXPECT_TRUE(left_as(out_of_db(question).packet, forwarded(Packet(question).from(net.node, kOfThePool))));
    ASSERT_EQ(describe(in(client).packet), describe(Packet(client).to(net.db, kOfThePool).ttl(63).bytes()));
    datapath::Frontend published = web(IPPROTO_UDP);
    published.port = kOfThePool;
    publish(published);
    node().settings().route_generation++;
    const RunResult arrived = in(client);
    EXPECT_EQ(describe(arrived.packet), describe(Packet(client).to(net.web, kContainerPort).ttl(63).bytes()));
    EXPECT_THAT(arrived.counted, ElementsAre(std::pair("flow-arrived", 1)));
    EXPECT_FALSE(left_as(out_of_db(question).packet, forwarded(Packet(question).from(net.node, kOfThePool))));
    EXPECT_EQ(describe(in(client).packet), describe(arrived.packet));
}

// Its own, which the client's port clashes with.
TEST_P(ArrivalTest, AContainersOwnFlowWithItsPublishedPortStays) {
    const Packet question = Packet().ip(net.web, net.remote).tcp(50000, 7000).syn();
    ASSERT_EQ(out(question).verdict, Verdict::redirect);
    datapath::Frontend published = web();
    published.port = 50000;
    publish(published);
    node().settings().route_generation++;
    EXPECT_EQ(describe(in(to_node(net).tcp(7000, 50000).syn().ack()).packet),
              describe(to_node(net).tcp(7000, 50000).syn().ack().to(net.web, 50000).ttl(63).bytes()));
    EXPECT_THAT(in(to_node(net).tcp(7000, 50000).syn()).counted, ElementsAre(std::pair("port-clash", 1)));
}

// Two datagrams from each address that he makes up, the second when the first was answered.
TEST_P(ArrivalTest, WhoSeemsToSendAgainLeavesTheContainerHalfOfItsShare) {
    publish(web(IPPROTO_UDP));
    node().settings().flow_share4 = node().settings().flow_share6 = 6;
    node().settings().flow_common4 = node().settings().flow_common6 = 0;
    for (std::uint16_t port = 1; port <= 10; ++port) {
        in(to_node(net).udp(port, kPort));
        out(Packet().ip(net.web, net.remote).udp(kContainerPort, port));
        EXPECT_EQ(in(to_node(net).udp(port, kPort)).verdict, Verdict::redirect) << "it is served all the same";
    }
    EXPECT_EQ(counted_flows(), 3U);
    EXPECT_EQ(out(Packet().ip(net.web, net.remote).udp(50000, 53)).verdict, Verdict::redirect);
    EXPECT_EQ(counted_flows(), 4U);
}

// What is lost comes back with the client's next packet, and the container never begins a flow of its own instead.
TEST_P(ArrivalTest, AFlowThatIsLostComesBackAsItWas) {
    take_up();
    ASSERT_TRUE(node().forget({.protocol = IPPROTO_TCP,
                               .source = net.web,
                               .source_port = kContainerPort,
                               .destination = net.remote,
                               .destination_port = 50000,
                               .translated = net.node,
                               .translated_port = kPort}));
    EXPECT_EQ(counted_flows(), 0U);
    EXPECT_THAT(out(server().ack()).counted, ElementsAre(std::pair("no-flow", 1)));
    EXPECT_THAT(out(server().syn().ack()).counted, ElementsAre(std::pair("no-flow", 1)));
    EXPECT_EQ(in(client().ack()).verdict, Verdict::redirect);
    EXPECT_TRUE(left_as(out(server().ack()).packet, forwarded(server().ack().from(net.node, kPort))));
    EXPECT_EQ(counted_flows(), 1U);
}

TEST_P(ArrivalTest, AConnectionThatTheContainerBeginsItselfIsLikeAnyOther) {
    EXPECT_EQ(out(server().syn()).verdict, Verdict::redirect);
    EXPECT_EQ(counted_flows(), 1U);
    EXPECT_THAT(node().flows(Stage::fresh), Each(Not(HasSubstr("INBOUND"))));
}

TEST_P(ArrivalTest, AResetOrAnAnswerBeginsNothing) {
    EXPECT_EQ(in(client().rst()).verdict, Verdict::drop);
    EXPECT_EQ(in(client().syn().ack()).verdict, Verdict::drop);
    EXPECT_EQ(entries(), 0U);
}

TEST_P(ArrivalTest, AResetIsNoAnswerButWhatFollowsItIs) {
    in(client().syn());
    out(server().rst());
    EXPECT_THAT(node().flows(Stage::established), IsEmpty());
    out(server().ack());
    EXPECT_THAT(node().flows(Stage::established), SizeIs(2));
}

// Anybody can send that: it does not stand for the container's.
TEST_P(ArrivalTest, ABeginningThatResetsIsTheClientsAlone) {
    in(client().syn());
    in(client().syn().rst());
    EXPECT_THAT(node().flows(Stage::fresh), AllOf(Contains(HasSubstr("RST")), Contains(Not(HasSubstr("RST")))));
}

// A client's next connection from the same port.
TEST_P(ArrivalTest, ASynAfterTheEndBeginsAnew) {
    take_up();
    in(client().fin().ack());
    out(server().fin().ack());
    EXPECT_EQ(in(client().syn()).verdict, Verdict::redirect);
    EXPECT_THAT(node().flows(Stage::fresh), AllOf(SizeIs(2), Each(Not(HasSubstr("FIN")))));
    EXPECT_EQ(counted_flows(), 1U);
}

TEST_P(ArrivalTest, WhoIsAnsweredAndSendsAgainCounts) {
    publish(web(IPPROTO_UDP));
    const Packet question = to_node(net).udp(50000, kPort);
    const Packet answer = Packet().ip(net.web, net.remote).udp(kContainerPort, 50000);
    EXPECT_EQ(in(question).verdict, Verdict::redirect);
    EXPECT_EQ(in(question).verdict, Verdict::redirect);
    EXPECT_EQ(counted_flows(), 0U);
    EXPECT_TRUE(left_as(out(answer).packet, forwarded(Packet(answer).from(net.node, kPort))));
    EXPECT_EQ(counted_flows(), 0U);
    in(question);
    EXPECT_EQ(counted_flows(), 1U);
    EXPECT_TRUE(left_as(out(answer).packet, forwarded(Packet(answer).from(net.node, kPort))));
}

// On another CPU a flood drives the flow out just when its container takes it up.
TEST_P(ArrivalTest, WhatIsAboutToBeRemovedIsNotCounted) {
    publish(web(IPPROTO_UDP));
    const Packet question = to_node(net).udp(50000, kPort);
    in(question);
    out(Packet().ip(net.web, net.remote).udp(kContainerPort, 50000));
    for (auto [key, value] : node().entries()) {
        value.flags |= key.direction == NK_FLOW_REVERSE ? std::uint32_t{NK_FLOW_OVER} : 0U;
        ASSERT_TRUE(node().update(key, value));
    }
    in(question);
    EXPECT_EQ(counted_flows(), 0U);
}

// Of a protocol without connections, what the container sends by itself comes from the port by which it is known.
TEST_P(ArrivalTest, DatagramsLeaveFromThePublishedPort) {
    publish(web(IPPROTO_UDP));
    const Packet first = Packet().ip(net.web, net.remote).udp(kContainerPort, 5060);
    EXPECT_TRUE(left_as(out(first).packet, forwarded(Packet(first).from(net.node, kPort))));
    EXPECT_EQ(in(to_node(net).udp(5060, kPort)).verdict, Verdict::redirect);
    EXPECT_EQ(counted_flows(), 1U);
}

// At an address that the host has no more, or where others have the port.
TEST_P(ArrivalTest, DatagramsDoNotLeaveFromAPortWhereItIsNotPublished) {
    datapath::Frontend gone = web(IPPROTO_UDP);
    gone.address = IpAddr::parse(net.is_ipv6() ? "2001:db8:113::77" : "203.0.113.77").value();
    publish(gone);
    const RunResult left = out(Packet().ip(net.web, net.remote).udp(kContainerPort, 5060));
    EXPECT_EQ(left.verdict, Verdict::redirect);
    EXPECT_THAT(node().flows(Stage::fresh),
                Each(AllOf(Not(HasSubstr(gone.address->to_string())), Not(HasSubstr(formatted(":{} ", kPort))))));
}

// Of two that lead to one port of a container's, the other one stands for it when the first is taken back.
TEST_P(ArrivalTest, APortIsKnownByWhatRemainsOfItsFrontends) {
    publish(web(IPPROTO_UDP));
    datapath::Frontend second = web(IPPROTO_UDP);
    second.port = 9090;
    publish(second);
    ASSERT_TRUE(node().take_back(web(IPPROTO_UDP)));
    const Packet first = Packet().ip(net.web, net.remote).udp(kContainerPort, 5060);
    EXPECT_TRUE(left_as(out(first).packet, forwarded(Packet(first).from(net.node, 9090))));
}

// A container that starts again is another endpoint; its clients don't know.
TEST_P(ArrivalTest, ClientsOfAContainerThatStartsAgainReachTheNewOneWithTheirNextPacket) {
    publish(web(IPPROTO_UDP));
    take_up();
    const Packet datagram = to_node(net).udp(50000, kPort);
    in(datagram);
    for (const std::uint8_t protocol : {IPPROTO_TCP, IPPROTO_UDP}) {
        ASSERT_TRUE(node().take_back(web(protocol)));
        datapath::Frontend anew = web(protocol);
        anew.container = IpAddr::parse(net.db).value();
        anew.endpoint_id = kDbId;
        publish(anew);
    }
    ++node().settings().route_generation;  // as the daemon does
    const RunResult answered = in(datagram);
    EXPECT_EQ(describe(answered.packet), describe(Packet(datagram).to(net.db, kContainerPort).ttl(63).bytes()));
    const RunResult syn = in(client().syn());
    EXPECT_EQ(describe(syn.packet), describe(client().syn().to(net.db, kContainerPort).ttl(63).bytes()));
    EXPECT_EQ(counted_flows(), 0U);
}

// Even if the former container goes on answering.
TEST_P(ArrivalTest, WhatHasOnlyBegunEndsWithItsPort) {
    in(client().syn());
    ASSERT_TRUE(node().take_back(web()));
    datapath::Frontend anew = web();
    anew.container = IpAddr::parse(net.db).value();
    anew.endpoint_id = kDbId;
    publish(anew);
    ++node().settings().route_generation;  // as the daemon does
    out(server().syn().ack());
    EXPECT_EQ(describe(in(client().ack()).packet), describe(client().ack().to(net.db, kContainerPort).ttl(63).bytes()));
}

// Its address' next owner publishes as it did: what is left of the former one's flow is not this one's.
TEST_P(ArrivalTest, ASuccessorWithTheAddressDoesNotGoOnWithTheFlow) {
    take_up();
    ASSERT_TRUE(node().take_back(web()));
    constexpr std::uint32_t kSuccessorId = kWebId + 100;
    ASSERT_TRUE(node().add_endpoint(net.web, "nkweb", kSuccessorId));
    datapath::Frontend anew = web();
    anew.endpoint_id = kSuccessorId;
    publish(anew);
    ++node().settings().route_generation;  // as the daemon does
    EXPECT_THAT(out(server().ack()).counted, ElementsAre(std::pair("no-flow", 1)));
    EXPECT_EQ(in(client().syn()).verdict, Verdict::redirect);
    EXPECT_TRUE(left_as(out(server().syn().ack()).packet, forwarded(server().syn().ack().from(net.node, kPort))));
}

class ArrivalFloodTest : public ArrivalTest {
protected:
    ArrivalFloodTest() { options.flow_entries = 8 * NK_ARRIVALS; }
};
INSTANTIATE_TEST_SUITE_P(Family, ArrivalFloodTest, ::testing::Values(&ipv4(), &ipv6()),
                         [](const auto& family) { return family.param->name; });

// The latest drive the oldest out, and nobody else.
TEST_P(ArrivalFloodTest, CostsNoFlowThatWasTakenUpAndCountsToNobody) {
    take_up();
    out(from_web(net));
    const std::size_t before = entries();
    for (std::uint32_t i = 0; i < 3U * NK_ARRIVALS; ++i) {
        ASSERT_EQ(in(client(static_cast<std::uint16_t>(1024 + i)).syn()).verdict, Verdict::redirect) << i;
    }
    EXPECT_LE(entries(), before + std::size_t{2} * NK_ARRIVALS);
    EXPECT_EQ(counted_flows(), 2U);
    EXPECT_THAT(in(client().ack()).counted, IsEmpty());
    EXPECT_THAT(node().flows(Stage::established), Contains(HasSubstr("50000")));
}

// One port of the client's, two of the host's, one of the container's: which of the two is answered?
TEST_P(ArrivalTest, ASecondPortToTheSameOneIsRefusedByName) {
    datapath::Frontend second = web();
    second.port = 9090;
    publish(second);
    in(client().syn());
    EXPECT_THAT(in(to_node(net).tcp(50000, 9090).syn()).counted, ElementsAre(std::pair("port-clash", 1)));
    EXPECT_EQ(entries(), 2U);
    EXPECT_EQ(in(to_node(net).tcp(50001, 9090).syn()).verdict, Verdict::redirect);
}

// A published port of the pool is nobody's to masquerade with.
TEST_P(ArrivalTest, NoContainersFlowHasAPublishedPort) {
    datapath::Frontend pooled = web();
    pooled.port = 50000;
    publish(pooled);
    out_of_db(Packet().ip(net.db, net.remote).tcp(50000, 443).syn());
    EXPECT_THAT(node().flows(Stage::fresh), Each(Not(HasSubstr(":50000 to"))));
}

}  // namespace
}  // namespace netkitd::test
