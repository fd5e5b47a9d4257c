// What comes in and goes out on an uplink.
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "base/unique_fd.h"
#include "bpf/packets.h"
#include "bpf/verdict_table.h"

namespace netkitd::test {
namespace {

constexpr std::uint8_t kSctpInitAck = 2;
constexpr std::uint8_t kSctpAbort = 6;

using Counted = std::map<std::string, std::uint64_t>;

VerdictCase row(std::string name, Verdict verdict, Counted counted, Packet packet) {
    VerdictCase row;
    row.name = std::move(name);
    row.device = "eth0";
    row.packet = std::move(packet);
    row.verdict = verdict;
    row.counted = std::move(counted);
    return row;
}

VerdictCase in_pass(std::string name, Packet packet) {
    return row(std::move(name), Verdict::pass, {}, std::move(packet));
}

VerdictCase in_drop(std::string name, std::string reason, Packet packet) {
    return row(std::move(name), Verdict::drop, {{std::move(reason), 1}}, std::move(packet));
}

Packet to_web(const Net& net) {
    return Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, net.web);
}

Packet to_node_from(const Net& net, std::string_view source) {
    return Packet().eth(kUplinkMac, kRouterMac).ip(source, net.node);
}

std::vector<VerdictCase> host_traffic(const Net& net) {
    return {
        in_pass("PortOutsideThePool", to_node(net).tcp(50000, 22).syn()),
        in_pass("PoolPortWithoutFlow", to_node(net).tcp(443, 50000)),
        in_pass("PoolPortWithoutFlowAndTtlUsedUp", to_node(net).tcp(443, 50000).ttl(1)),
        in_pass("FirstFragmentWithoutFlow", to_node(net).tcp(443, 50000).fragment(0, true)),
        in_pass("EchoRequest", to_node(net).echo_request(50000)),
        in_pass("EchoReplyWithoutFlow", to_node(net).echo_reply(50000)),
        in_pass("EchoReplyOutsideThePool", to_node(net).echo_reply(7)),
        in_pass("IcmpError", to_node(net).icmp(3, 1)),
        in_pass("OtherProtocol", to_node(net).protocol(IPPROTO_GRE).payload(40)),
        in_pass("OtherIpVersion", to_node(net).tcp(443, 50000).ip_version(7)),
        in_pass("TcpHeaderCut", to_node(net).tcp(443, 50000).ip_total_length(10)),
        in_pass("ForAnotherMachine", to_web(net).eth(kRouterMac, kUplinkMac).tcp(443, 80)),
        with_flow(net, in_pass("ReplyByBroadcast", reply_to_web(net).eth({255, 255, 255, 255, 255, 255}, kRouterMac)),
                  Stage::established),
        with_flow(net,
                  in_pass("TinyFirstFragment",
                          reply_to_web(net).fragment(0, true).ip_total_length(net.icmp == IPPROTO_ICMP ? 39 : 8 + 19)),
                  Stage::established),
        with_flow(net, in_pass("LaterFragmentWithoutItsFirst", reply_to_web(net).fragment(100, false)),
                  Stage::established),
        with_flow(net, in_pass("FromAnotherRemote", to_node_from(net, net.other_remote).tcp(443, 50000)),
                  Stage::established),
        with_flow(net, in_pass("FromAnotherRemotePort", to_node(net).tcp(444, 50000)), Stage::established),
        with_flow(net, in_pass("OfAnotherProtocol", to_node(net).udp(443, 50000)), Stage::established),
    };
}

std::vector<VerdictCase> other_frames() {
    return {
        in_pass("Arp", Packet().eth(kUplinkMac, kRouterMac).arp()),
        in_pass("VlanTag", to_web(ipv4()).vlan(5).tcp(443, 80)),
        in_drop("EmptyButForAHopByHopHeader", "malformed",
                to_web(ipv6()).extension(IPPROTO_HOPOPTS, 8).tcp(443, 80).ip_total_length(0)),
        in_pass("NeighbourSolicitation", Packet().eth(kUplinkMac, kRouterMac).ip("fe80::1", "ff02::1").icmp(135, 0)),
    };
}

std::vector<VerdictCase> guarded(const Net& net) {
    const auto unsolicited = [](const char* name, const Packet& packet) {
        return in_drop(name, "unsolicited", packet);
    };
    return {
        unsolicited("Tcp", to_web(net).tcp(443, 80).syn()),
        unsolicited("Ping", to_web(net).echo_request(1)),
        unsolicited("Fragment", to_web(net).fragment(100, true).protocol(17).payload(8)),
        unsolicited("OtherProtocol", to_web(net).protocol(IPPROTO_GRE)),
        unsolicited("ToTheGateway", Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, net.gateway).echo_request(1)),
        unsolicited("ToAnAddressOfNobody", Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, net.nobody).tcp(1, 2)),
        unsolicited("FromInside", Packet().eth(kUplinkMac, kRouterMac).ip(net.db, net.web).tcp(1, 2)),
        in_drop("OtherIpVersion", "malformed", to_web(net).tcp(443, 50000).ip_version(7)),
        in_drop("LongerThanItIs", "malformed", to_web(net).tcp(443, 80).ip_total_length(2000)),
        with_flow(net, unsolicited("PastTheTranslation", to_web(net).tcp(443, 50000)), Stage::established),
    };
}

VerdictCase in_delivered(std::string name, const Packet& packet) {
    VerdictCase delivered = row(std::move(name), Verdict::redirect, {}, packet);
    delivered.becomes = Packet(packet).ttl(63);
    return delivered;
}

std::vector<VerdictCase> to_routed(const Net& net) {
    const auto to = [&](std::string_view address) {
        return Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, address);
    };
    const auto from = [&](std::string_view address) {
        return Packet().eth(kUplinkMac, kRouterMac).ip(address, net.routed).tcp(443, 80);
    };
    const auto unsolicited = [](const char* name, const Packet& packet) {
        return in_drop(name, "unsolicited", packet);
    };
    const Mac broadcast{255, 255, 255, 255, 255, 255};
    return {
        in_delivered("ToAContainer", to(net.routed).tcp(443, 80).syn()),
        in_delivered("ToAContainersPortOfThePool", to(net.routed).tcp(443, 50000)),
        in_delivered("Ping", to(net.routed).echo_request(1)),
        in_delivered("Fragment", to(net.routed).fragment(100, true).protocol(17).payload(8)),
        in_delivered("AnyProtocol", to(net.routed).protocol(132).payload(40)),
        row("TtlUsedUp", Verdict::pass, {{"stack-ttl", 1}}, to(net.routed).tcp(443, 80).ttl(1)),
        in_pass("ToTheGateway", to(net.routed_gateway).echo_request(1)),
        in_pass("ToAnAddressOfNobody", to(net.routed_nobody).tcp(443, 80)),
        in_pass("ByBroadcast", to(net.routed).tcp(443, 80).eth(broadcast, kRouterMac)),
        in_drop("LongerThanItIs", "malformed", to(net.routed).tcp(443, 80).ip_total_length(2000)),
        unsolicited("FromAContainersAddress", from(net.db)),
        unsolicited("FromANeighboursAddress", from(net.routed_nobody)),
        unsolicited("FromLoopback", from(net.is_ipv6() ? "::1" : "127.0.0.1")),
        unsolicited("FromAMulticastGroup", from(net.is_ipv6() ? "ff0e::1" : "224.0.0.1")),
    };
}

// The remote knows the containers' own addresses; so does everybody in their own prefix, if one believes the prefix.
VerdictCase with_non_masquerade(const Net& net, VerdictCase row) {
    row.prepare = [=](TestNode& node) {
        for (const std::string& prefix :
             {net.only_remote(), std::string(net.is_ipv6() ? "2001:db8:77::/64" : "10.77.0.0/16")}) {
            const auto added = node.add_non_masquerade(prefix);
            EXPECT_TRUE(added) << added.error().message();
        }
    };
    return row;
}

std::vector<VerdictCase> from_where_it_is_routed(const Net& net) {
    const auto to_web_from = [&](std::string_view source) {
        return Packet().eth(kUplinkMac, kRouterMac).ip(source, net.web);
    };
    // Time exceeded, of a router on the way.
    const auto error_about = [&](std::string_view source, std::string_view destination) {
        return to_web_from(net.other_remote)
            .icmp(net.is_ipv6() ? 3 : 11, 0)
            .quoting(Packet().ip(source, destination).udp(5000, 53).payload("hello"), 1200);
    };
    const Mac broadcast{255, 255, 255, 255, 255, 255};
    std::vector<VerdictCase> rows{
        in_delivered("ErrorAboutAPacketToThere", error_about(net.web, net.remote)),
        in_drop("ErrorAboutAPacketToElsewhere", "unsolicited", error_about(net.web, net.other_remote)),
        in_drop("ErrorAboutAnothersPacket", "unsolicited", error_about(net.db, net.remote)),
        in_drop("PingFromElsewhere", "unsolicited", to_web_from(net.other_remote).echo_request(1)),
        in_delivered("ToAContainer", to_web(net).tcp(443, 80).syn()),
        in_delivered("ToAContainersPortOfThePool", to_web(net).tcp(443, 50000)),
        in_delivered("Ping", to_web(net).echo_request(1)),
        in_delivered("Fragment", to_web(net).fragment(100, true).protocol(17).payload(8)),
        row("TtlUsedUp", Verdict::pass, {{"stack-ttl", 1}}, to_web(net).tcp(443, 80).ttl(1)),
        in_drop("FromElsewhere", "unsolicited", to_web_from(net.other_remote).tcp(443, 80)),
        in_drop("FromAContainersAddress", "unsolicited", to_web_from(net.db).tcp(443, 80)),
        in_drop("ByBroadcast", "unsolicited", to_web(net).tcp(443, 80).eth(broadcast, kRouterMac)),
        in_drop("ToTheGateway", "unsolicited",
                Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, net.gateway).echo_request(1)),
        in_drop("ToAnAddressOfNobody", "unsolicited",
                Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, net.nobody).tcp(1, 2)),
    };
    std::ranges::transform(rows, rows.begin(), [&](VerdictCase r) { return with_non_masquerade(net, std::move(r)); });
    return rows;
}

std::vector<VerdictCase> replies(const Net& net) {
    const auto reply = [&](const char* name, const Packet& packet, std::uint16_t container_port, Stage stage,
                           std::uint8_t protocol, Counted counted = {}) {
        VerdictCase delivered = row(name, Verdict::redirect, std::move(counted), packet);
        delivered.becomes = Packet(packet).to(net.web, container_port).ttl(63);
        return with_flow(net, std::move(delivered), stage, protocol, container_port);
    };
    const Packet udp = to_node(net).udp(443, 50000).payload("answer");
    const Packet ping = to_node(net).echo_reply(50000).payload("hello");
    const Stage known = Stage::established;
    std::vector<VerdictCase> rows{
        reply("ReplyToAnEstablishedFlow", reply_to_web(net), 50000, known, IPPROTO_TCP),
        reply("ReplyToAChangedPort", reply_to_web(net), 1000, known, IPPROTO_TCP),
        reply("FirstReply", reply_to_web(net), 50000, Stage::fresh, IPPROTO_TCP, {{"flow-established", 1}}),
        reply("ResetIsDeliveredButEstablishesNothing", to_node(net).tcp(443, 50000).rst().ack(), 50000, Stage::fresh,
              IPPROTO_TCP),
        reply("FirstFragment", reply_to_web(net).fragment(0, true), 1000, known, IPPROTO_TCP),
        reply("FirstFragmentOfAnUnansweredFlow", reply_to_web(net).fragment(0, true), 50000, Stage::fresh, IPPROTO_TCP,
              {{"flow-established", 1}}),
        reply("UdpReply", udp, 50000, known, IPPROTO_UDP),
        reply("UdpReplyToAChangedPort", udp, 1000, known, IPPROTO_UDP),
        reply("UdpReplyWithoutChecksum", Packet(udp).without_udp_checksum(), 1000, known, IPPROTO_UDP),
        reply("UdpLiteReply", to_node(net).udplite(443, 50000, 8).payload("answer"), 1000, known, IPPROTO_UDPLITE),
        reply("SctpReply", to_node(net).sctp(443, 50000, kSctpInitAck), 50000, Stage::fresh, IPPROTO_SCTP,
              {{"flow-established", 1}}),
        reply("SctpAbortEstablishesNothing", to_node(net).sctp(443, 50000, kSctpAbort), 50000, Stage::fresh,
              IPPROTO_SCTP),
        reply("EchoReply", ping, 50000, known, net.icmp),
        reply("EchoReplyToAChangedId", ping, 1000, known, net.icmp),
    };
    // As receive offload joins it: BIG TCP, longer than its header can say.
    rows.push_back(reply("BigTcp", to_node(net).tcp(443, 50000).ack().payload(2000).ip_total_length(0), 50000, known,
                         IPPROTO_TCP));
    rows.back().run.gso_size = 1400;
    if (net.icmp == IPPROTO_ICMP) {
        rows.push_back(
            reply("ReplyWithIpOptions", reply_to_web(net).ip_options({1, 1, 1, 0}), 1000, known, IPPROTO_TCP));
    } else {
        rows.push_back(
            reply("ReplyWithAnExtension", reply_to_web(net).extension(IPPROTO_DSTOPTS, 8), 1000, known, IPPROTO_TCP));
        rows.push_back(
            reply("BigTcpWithAJumboPayloadOption",
                  to_node(net).tcp(443, 50000).ack().payload(2000).extension(IPPROTO_HOPOPTS, 8).ip_total_length(0),
                  50000, known, IPPROTO_TCP));
        rows.back().run.gso_size = 1400;
    }
    return rows;
}

std::vector<VerdictCase> refused_replies(const Net& net) {
    return {
        with_flow(net, in_drop("TtlUsedUp", "ttl-expired", reply_to_web(net).ttl(1)), Stage::established),
    };
}

// The device that the packet comes by, or leaves by, is a bridge of this host's containers.
VerdictCase by_inner_bridge(VerdictCase row) {
    row.prepare = [device = row.device, also = row.prepare](TestNode& node) {
        if (also) {
            also(node);
        }
        node.set_inner_bridge(device.c_str());
    };
    return row;
}

// Of web's flow, which goes by eth0.
std::vector<VerdictCase> from_inner_bridge(const Net& net) {
    const auto by_bridge = [&](VerdictCase row, Stage stage, const char* bridge = "eth1") {
        row.device = bridge;
        return by_inner_bridge(with_flow(net, std::move(row), stage));
    };
    const auto unsolicited = [](const char* name, const Packet& packet) {
        return in_drop(name, "unsolicited", packet);
    };
    VerdictCase to_there = row("WhereTheFlowGoesToOne", Verdict::redirect, {}, reply_to_web(net));
    to_there.becomes = Packet(reply_to_web(net)).to(net.web, 50000).ttl(63);
    const Packet error = to_node_from(net, net.other_remote)
                             .icmp(net.is_ipv6() ? 3 : 11, 0)
                             .quoting(Packet().ip(net.node, net.remote).tcp(50000, 443), 1200);
    return {
        by_bridge(to_there, Stage::established, "eth0"),
        by_bridge(unsolicited("Reply", reply_to_web(net)), Stage::established),
        by_bridge(unsolicited("FirstReply", reply_to_web(net)), Stage::fresh),
        by_bridge(unsolicited("Reset", to_node(net).tcp(443, 50000).rst().ack()), Stage::established),
        by_bridge(in_pass("FirstFragment", reply_to_web(net).fragment(0, true)), Stage::established),
        by_bridge(unsolicited("IcmpError", error), Stage::established),
        by_bridge(in_pass("ToAPortWithoutFlow", to_node(net).tcp(443, 50001)), Stage::established),
    };
}

std::vector<VerdictCase> outgoing(const Net& net) {
    const auto pass = [](const char* name, const Packet& packet) { return row(name, Verdict::pass, {}, packet); };
    const auto drop = [](const char* name, const Packet& packet) {
        return row(name, Verdict::drop, {{"untranslated-source", 1}}, packet);
    };
    const Packet from_node = Packet().ip(net.node, net.remote).tcp(50000, 443);
    const Packet reset = Packet(from_node).rst().ack().tcp_sequence(0);
    VerdictCase refused =
        row("OfTheHostBeyondItsShare", Verdict::pass, {{"host-flow-refused", 1}}, Packet(from_node).syn());
    refused.prepare = [](TestNode& node) {
        node.settings().flow_share4 = node.settings().flow_share6 = 0;
        node.settings().flow_common4 = node.settings().flow_common6 = 0;
    };
    return {
        refused,
        with_flow(
            net,
            row("OfTheHostFromAContainersPort", Verdict::pass, {{"host-flow", 1}, {"host-took-port", 1}}, from_node),
            Stage::established),
        pass("OfTheHost", Packet(from_node).from(net.node, 40000)),
        row("OfTheHostFromAPoolPort", Verdict::pass, {{"host-flow", 1}}, from_node),
        row("ResetOfTheHostFromAPoolPort", Verdict::drop, {{"no-flow", 1}}, reset),
        by_inner_bridge(pass("ResetToAnInnerBridge", reset)),
        by_inner_bridge(
            with_flow(net, row("ResetToAnInnerBridgeFromAContainersPort", Verdict::drop, {{"no-flow", 1}}, reset),
                      Stage::established)),
        pass("OfARoutedNetwork", Packet().ip(net.routed, net.remote).tcp(50000, 443)),
        pass("Arp", Packet().arp()),
        pass("OfTheHostInAVlan", Packet(from_node).vlan(5)),
        pass("VlanTagCut", Packet(from_node).vlan(5).cut_to(17)),
        drop("OfAContainer", from_web(net)),
        drop("FragmentOfAContainer", from_web(net).fragment(100, false)),
        drop("OfAContainerInAVlan", from_web(net).vlan(5)),
        drop("OfTheGateway", Packet().ip(net.gateway, net.remote).icmp(3, 1)),
        with_non_masquerade(net, pass("OfAContainerToWhereItIsRouted", from_web(net))),
        with_non_masquerade(net, pass("FragmentToWhereItIsRouted", from_web(net).fragment(100, false))),
        with_non_masquerade(net, pass("ToWhereItIsRoutedInAVlan", from_web(net).vlan(5))),
        with_non_masquerade(net, drop("OfAContainerToElsewhere", Packet().ip(net.web, net.other_remote).tcp(1, 2))),
    };
}

// All of web's prefix is the host's by a longer route, but for what containers have of it.
VerdictCase with_host_prefix(const Net& net, VerdictCase row) {
    row.prepare = [&](TestNode& node) {
        const auto added = node.add_host_prefix(net.is_ipv6() ? "2001:db8:77::/64" : "10.77.0.0/24");
        EXPECT_TRUE(added) << added.error().message();
    };
    return row;
}

std::vector<VerdictCase> to_host_prefix(const Net& net) {
    const auto to = [&](std::string_view address) {
        return Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, address).tcp(443, 80).syn();
    };
    return {
        with_host_prefix(net, in_pass("ToAnAddressOfTheHosts", to(net.nobody))),
        with_host_prefix(net, in_drop("ToAContainer", "unsolicited", to(net.web))),
    };
}

// Flows may be missing that a program of the version before has made: the host must not answer in their place.
std::vector<VerdictCase> during_an_upgrade(const Net& net) {
    const auto upgrading = [](VerdictCase row) {
        row.prepare = [](TestNode& node) { node.settings().upgrading = 1; };
        return row;
    };
    VerdictCase of_the_host = upgrading(in_pass("ToASocketOfTheHosts", to_node(net).tcp(443, 50001).syn()));
    const auto listening = std::make_shared<UniqueFd>();
    of_the_host.prepare = [=, also = of_the_host.prepare](TestNode& node) {
        also(node);
        sockaddr_in6 any{};
        any.sin6_family = AF_INET6;
        any.sin6_port = htons(50001);
        listening->reset(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::bind(listening->get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)), 0);
        EXPECT_EQ(::listen(listening->get(), 1), 0);
    };
    of_the_host.undo = [=] { listening->reset(); };
    return {
        of_the_host,
        upgrading(in_drop("ToAPoolPortWithoutFlow", "upgrading", to_node(net).tcp(443, 50000))),
        upgrading(in_drop("DatagramToAPoolPortWithoutFlow", "upgrading", to_node(net).udp(443, 50000))),
        upgrading(in_pass("PortOutsideThePool", to_node(net).tcp(50000, 22).syn())),
        upgrading(in_pass("EchoReplyWithoutFlow", to_node(net).echo_reply(50000))),
    };
}

std::vector<VerdictCase> from_host_prefix(const Net& net) {
    const auto pass = [](const char* name, const Packet& packet) { return row(name, Verdict::pass, {}, packet); };
    return {
        with_host_prefix(net, pass("OfTheHost", Packet().ip(net.nobody, net.remote).tcp(40000, 443))),
        with_host_prefix(net, row("OfAContainer", Verdict::drop, {{"untranslated-source", 1}}, from_web(net))),
    };
}

datapath::Frontend frontend(const Net& net, std::uint16_t port, std::uint8_t protocol) {
    return frontend_of_web(net, protocol, port, 80);
}

// web's port 80, by 8080 and 8081.
VerdictCase with_published(const Net& net, VerdictCase row, std::uint8_t protocol = IPPROTO_TCP) {
    row.prepare = [&net, protocol](TestNode& node) {
        ASSERT_TRUE(node.publish(frontend(net, 8080, protocol)));
        ASSERT_TRUE(node.publish(frontend(net, 8081, protocol)));
    };
    return row;
}

VerdictCase arrives(std::string name, Packet packet, Packet becomes) {
    VerdictCase arrival = row(std::move(name), Verdict::redirect, {{"flow-arrived", 1}}, std::move(packet));
    arrival.becomes = becomes.ttl(63);
    return arrival;
}

std::vector<VerdictCase> to_published(const Net& net) {
    const Packet syn = to_node(net).tcp(50000, 8080).syn();
    const Packet datagram = to_node(net).udp(50000, 8080);
    VerdictCase clash = in_drop("BothPortsFromOne", "port-clash", to_node(net).tcp(50000, 8081).syn());
    clash.prepare = [&net, syn](TestNode& node) {
        ASSERT_TRUE(node.publish(frontend(net, 8080, IPPROTO_TCP)));
        ASSERT_TRUE(node.publish(frontend(net, 8081, IPPROTO_TCP)));
        ASSERT_EQ(node.run(Program::uplink_ingress, "eth0", syn)->verdict, Verdict::redirect);
    };
    VerdictCase stranger = in_drop("NotAllowed", "not-allowed", to_node(net).tcp(50000, 8083).syn());
    stranger.prepare = [&net](TestNode& node) {
        datapath::Frontend some = frontend(net, 8083, IPPROTO_TCP);
        some.allowed = {IpPrefix::single(IpAddr::parse(net.other_node).value())};
        ASSERT_TRUE(node.publish(some));
    };
    VerdictCase held = in_drop("WhereNobodyListensYet", "held", to_node(net).tcp(50000, 8084).syn());
    held.prepare = [&net](TestNode& node) {
        datapath::Frontend waits = frontend(net, 8084, IPPROTO_TCP);
        waits.hold = std::chrono::seconds(60);
        waits.netns_id = 1'000'000;  // of nobody
        ASSERT_TRUE(node.publish(waits));
    };
    return {
        stranger,
        held,
        with_published(net, arrives("Syn", syn, Packet(syn).to(net.web, 80))),
        with_published(net, arrives("Data", to_node(net).tcp(50000, 8080).ack(),
                                    to_node(net).tcp(50000, 8080).ack().to(net.web, 80))),
        with_published(net, arrives("Datagram", datagram, Packet(datagram).to(net.web, 80)), IPPROTO_UDP),
        with_published(net, in_drop("Reset", "no-flow", to_node(net).tcp(50000, 8080).rst())),
        with_published(net, in_drop("SynAck", "no-flow", to_node(net).tcp(50000, 8080).syn().ack())),
        with_published(
            net, in_drop("FromAContainersAddress", "unsolicited", to_node_from(net, net.db).tcp(50000, 8080).syn())),
        with_published(net, in_pass("ToLoopback", Packet()
                                                      .eth(kUplinkMac, kRouterMac)
                                                      .ip(net.remote, net.is_ipv6() ? "::1" : "127.0.0.1")
                                                      .tcp(50000, 8080)
                                                      .syn())),
        with_published(net, in_pass("ToNoAddress", Packet()
                                                       .eth(kUplinkMac, kRouterMac)
                                                       .ip(net.remote, net.is_ipv6() ? "::" : "0.0.0.0")
                                                       .tcp(50000, 8080)
                                                       .syn())),
        with_published(net, in_pass("OfAnotherProtocol", datagram)),
        with_published(net, in_pass("ToAnotherPort", to_node(net).tcp(50000, 8082).syn())),
        with_published(
            net, in_pass("ToAnotherMachine",
                         Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, net.other_node).tcp(50000, 8080).syn())),
        clash,
    };
}

}  // namespace

std::vector<VerdictTable> uplink_tables() {
    std::vector<VerdictTable> tables{{Program::uplink_ingress, "OtherFrames", other_frames(), ""}};
    for (const Net* net : {&ipv4(), &ipv6()}) {
        tables.push_back({Program::uplink_ingress, "HostTraffic", host_traffic(*net), net->name});
        tables.push_back({Program::uplink_ingress, "Unsolicited", guarded(*net), net->name});
        tables.push_back({Program::uplink_ingress, "ToARoutedNetwork", to_routed(*net), net->name});
        tables.push_back({Program::uplink_ingress, "NonMasquerade", from_where_it_is_routed(*net), net->name});
        tables.push_back({Program::uplink_ingress, "Replies", replies(*net), net->name});
        tables.push_back({Program::uplink_ingress, "RefusedReplies", refused_replies(*net), net->name});
        tables.push_back({Program::uplink_ingress, "PublishedPort", to_published(*net), net->name});
        tables.push_back({Program::uplink_ingress, "InnerBridge", from_inner_bridge(*net), net->name});
        tables.push_back({Program::uplink_ingress, "DuringAnUpgrade", during_an_upgrade(*net), net->name});
        tables.push_back({Program::uplink_ingress, "HostPrefix", to_host_prefix(*net), net->name});
        tables.push_back({Program::uplink_egress, "SafetyNet", outgoing(*net), net->name});
        tables.push_back({Program::uplink_egress, "HostPrefix", from_host_prefix(*net), net->name});
    }
    return tables;
}

}  // namespace netkitd::test
