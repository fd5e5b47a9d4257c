// What comes in and goes out on an uplink.
#include <linux/if_ether.h>
#include <netinet/in.h>

#include <gtest/gtest.h>

#include "bpf/packets.h"
#include "bpf/verdict_table.h"

namespace netkitd::test {
namespace {

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

// With web's flow in `stage`; its packets are those of from_web*() and their replies.
VerdictCase with_flow(VerdictCase row, Stage stage, std::uint8_t protocol, std::uint16_t source_port = 50000) {
    row.prepare = [=](TestNode& node) {
        const auto inserted = node.insert(stage, Flow{.protocol = protocol, .source_port = source_port});
        EXPECT_TRUE(inserted) << inserted.error().message();
    };
    return row;
}

VerdictCase in_reply(std::string name, Packet packet, std::uint16_t container_port, Stage stage, std::uint8_t protocol,
                     Counted counted = {}) {
    VerdictCase reply = row(std::move(name), Verdict::redirect, std::move(counted), std::move(packet));
    reply.becomes = Packet(reply.packet).to("10.77.0.2", container_port).ttl(63);
    return with_flow(std::move(reply), stage, protocol, container_port);
}

Packet to_node() {
    return Packet().eth(kUplinkMac, kRouterMac).ipv4("198.51.100.1", "203.0.113.2");
}

Packet to_web() {
    return Packet().eth(kUplinkMac, kRouterMac).ipv4("198.51.100.1", "10.77.0.2");
}

std::vector<VerdictCase> host_traffic() {
    return {
        in_pass("Arp", Packet().eth(kUplinkMac, kRouterMac).arp()),
        in_pass("Ipv6", Packet().eth(kUplinkMac, kRouterMac).ipv6()),
        in_pass("VlanTag", to_web().vlan(5).tcp(443, 80)),
        in_pass("PortOutsideThePool", to_node().tcp(50000, 22).syn()),
        in_pass("PoolPortWithoutFlow", to_node().tcp(443, 50000)),
        in_pass("PoolPortWithoutFlowAndTtlUsedUp", to_node().tcp(443, 50000).ttl(1)),
        in_pass("FirstFragmentWithoutFlow", to_node().tcp(443, 50000).fragment(0, true)),
        in_pass("EchoRequest", to_node().echo_request(50000)),
        in_pass("EchoReplyWithoutFlow", to_node().echo_reply(50000)),
        in_pass("EchoReplyOutsideThePool", to_node().echo_reply(7)),
        in_pass("IcmpError", to_node().icmp(3, 1)),
        in_pass("OtherProtocol", to_node().protocol(132).payload(40)),
        in_pass("IpVersionSix", to_web().tcp(443, 50000).ip_version(6)),
        in_pass("TcpHeaderCut", to_node().tcp(443, 50000).ip_total_length(30)),
        in_pass("ToAContainerOfARoutedNetwork",
                Packet().eth(kUplinkMac, kRouterMac).ipv4("198.51.100.1", "10.88.0.2").tcp(443, 80)),
        in_pass("ForAnotherMachine", to_web().eth(kRouterMac, kUplinkMac).tcp(443, 80)),
        with_flow(in_pass("ReplyByBroadcast", reply_to_web().eth({255, 255, 255, 255, 255, 255}, kRouterMac)),
                  Stage::established, IPPROTO_TCP),
        with_flow(in_pass("LaterFragment", reply_to_web().fragment(100, false)), Stage::established, IPPROTO_TCP),
        with_flow(in_pass("FromAnotherRemote",
                          Packet().eth(kUplinkMac, kRouterMac).ipv4("198.51.100.2", "203.0.113.2").tcp(443, 50000)),
                  Stage::established, IPPROTO_TCP),
        with_flow(in_pass("FromAnotherRemotePort", to_node().tcp(444, 50000)), Stage::established, IPPROTO_TCP),
        with_flow(in_pass("OfAnotherProtocol", to_node().udp(443, 50000)), Stage::established, IPPROTO_TCP),
    };
}

std::vector<VerdictCase> guarded() {
    return {
        in_drop("UnsolicitedTcp", "unsolicited", to_web().tcp(443, 80).syn()),
        in_drop("UnsolicitedPing", "unsolicited", to_web().echo_request(1)),
        in_drop("UnsolicitedFragment", "unsolicited", to_web().fragment(100, true).protocol(17).payload(8)),
        in_drop("UnsolicitedOtherProtocol", "unsolicited", to_web().protocol(132)),
        in_drop("UnsolicitedToTheGateway", "unsolicited",
                Packet().eth(kUplinkMac, kRouterMac).ipv4("198.51.100.1", "10.77.0.1").echo_request(1)),
        in_drop("UnsolicitedToAnAddressOfNobody", "unsolicited",
                Packet().eth(kUplinkMac, kRouterMac).ipv4("198.51.100.1", "10.77.200.200").tcp(1, 2)),
        in_drop("UnsolicitedFromInside", "unsolicited",
                Packet().eth(kUplinkMac, kRouterMac).ipv4("10.77.0.3", "10.77.0.2").tcp(1, 2)),
        with_flow(in_drop("UnsolicitedPastTheTranslation", "unsolicited", to_web().tcp(443, 50000)), Stage::established,
                  IPPROTO_TCP),
    };
}

std::vector<VerdictCase> replies() {
    const Packet udp = to_node().udp(443, 50000).payload("answer");
    const Packet ping = to_node().echo_reply(50000).payload("hello");
    return {
        in_reply("ReplyToAnEstablishedFlow", reply_to_web(), 50000, Stage::established, IPPROTO_TCP),
        in_reply("ReplyToAChangedPort", reply_to_web(), 1000, Stage::established, IPPROTO_TCP),
        in_reply("FirstReply", reply_to_web(), 50000, Stage::fresh, IPPROTO_TCP, {{"flow-established", 1}}),
        in_reply("ResetIsDeliveredButEstablishesNothing", to_node().tcp(443, 50000).rst().ack(), 50000, Stage::fresh,
                 IPPROTO_TCP),
        in_reply("UdpReply", udp, 50000, Stage::established, IPPROTO_UDP),
        in_reply("UdpReplyToAChangedPort", udp, 1000, Stage::established, IPPROTO_UDP),
        in_reply("UdpReplyWithoutChecksum", Packet(udp).without_udp_checksum(), 1000, Stage::established, IPPROTO_UDP),
        in_reply("EchoReply", ping, 50000, Stage::established, IPPROTO_ICMP),
        in_reply("EchoReplyToAChangedId", ping, 1000, Stage::established, IPPROTO_ICMP),
        in_reply("ReplyWithIpOptions", reply_to_web().ip_options({1, 1, 1, 0}), 50000, Stage::established, IPPROTO_TCP),
    };
}

std::vector<VerdictCase> refused_replies() {
    VerdictCase full =
        with_flow(in_drop("FirstReplyFindsTheTableFull", "flow-table-full", reply_to_web()), Stage::fresh, IPPROTO_TCP);
    full.node.established_flows = 1;  // room for one half
    full.own_node = true;
    return {
        with_flow(in_drop("FirstFragmentOfAFlow", "fragment", reply_to_web().fragment(0, true)), Stage::established,
                  IPPROTO_TCP),
        with_flow(in_drop("FirstFragmentOfAnUnansweredFlow", "fragment", reply_to_web().fragment(0, true)),
                  Stage::fresh, IPPROTO_TCP),
        with_flow(in_drop("TtlUsedUp", "ttl-expired", reply_to_web().ttl(1)), Stage::established, IPPROTO_TCP),
        full,
    };
}

std::vector<VerdictCase> outgoing() {
    const auto pass = [](const char* name, const Packet& packet) { return row(name, Verdict::pass, {}, packet); };
    const auto drop = [](const char* name, const Packet& packet) {
        return row(name, Verdict::drop, {{"untranslated-source", 1}}, packet);
    };
    const Packet from_node = Packet().ipv4("203.0.113.2", "198.51.100.1").tcp(50000, 443);
    return {
        pass("OfTheHost", from_node),
        pass("OfARoutedNetwork", Packet().ipv4("10.88.0.2", "198.51.100.1").tcp(50000, 443)),
        pass("Arp", Packet().arp()),
        pass("Ipv6", Packet().ipv6()),
        pass("OfTheHostInAVlan", Packet(from_node).vlan(5)),
        pass("Ipv6InAVlan", Packet().ipv6().vlan(5)),
        pass("VlanTagCut", Packet(from_node).vlan(5).cut_to(17)),
        drop("OfAContainer", from_web()),
        drop("FragmentOfAContainer", from_web().fragment(100, false)),
        drop("OfAContainerInAVlan", from_web().vlan(5)),
        drop("OfTheGateway", Packet().ipv4("10.77.0.1", "198.51.100.1").icmp(3, 1)),
    };
}

}  // namespace

std::vector<VerdictTable> uplink_tables() {
    return {
        {Program::uplink_ingress, "HostTraffic", host_traffic()},
        {Program::uplink_ingress, "Unsolicited", guarded()},
        {Program::uplink_ingress, "Replies", replies()},
        {Program::uplink_ingress, "RefusedReplies", refused_replies()},
        {Program::uplink_egress, "SafetyNet", outgoing()},
    };
}

}  // namespace netkitd::test
