// What leaves a container.
#include <linux/if_ether.h>
#include <netinet/in.h>

#include <gtest/gtest.h>

#include "bpf/packets.h"
#include "bpf/verdict_table.h"
#include "link/sysctl.h"

namespace netkitd::test {
namespace {

constexpr std::uint8_t kSctp = 132;  // a protocol with ports that is not masqueraded
constexpr std::uint8_t kIcmpUnreachable = 3;
constexpr std::uint8_t kIcmpTimestamp = 13;
const Bytes kRouterAlert{0x94, 0x04, 0x00, 0x00};  // RFC 2113

using Counted = std::map<std::string, std::uint64_t>;

VerdictCase masqueraded(std::string name, Packet packet, Packet becomes, Counted counted = {{"flow-created", 1}}) {
    VerdictCase row;
    row.name = std::move(name);
    row.device = "nkweb";
    row.packet = std::move(packet);
    row.verdict = Verdict::redirect;
    row.counted = std::move(counted);
    row.becomes = on_the_wire(std::move(becomes));
    return row;
}

// Its packet leaves the container unchanged: dropped, or handed to the stack.
VerdictCase unchanged(std::string name, Verdict verdict, std::string counter, Packet packet,
                      std::string device = "nkweb") {
    VerdictCase row;
    row.name = std::move(name);
    row.device = std::move(device);
    row.packet = std::move(packet);
    row.verdict = verdict;
    row.counted = {{std::move(counter), 1}};
    return row;
}

VerdictCase dropped(std::string name, std::string reason, Packet packet, std::string device = "nkweb") {
    return unchanged(std::move(name), Verdict::drop, std::move(reason), std::move(packet), std::move(device));
}

VerdictCase to_stack(std::string name, std::string event, Packet packet, std::string device = "nkweb") {
    return unchanged(std::move(name), Verdict::pass, std::move(event), std::move(packet), std::move(device));
}

Packet web_to(std::string_view destination) {
    return Packet().ipv4("10.77.0.2", destination).tcp(50000, 443).syn();
}

Packet routed_to(std::string_view destination) {
    return Packet().ipv4("10.88.0.2", destination).tcp(1000, 443).syn();
}

// As it arrives in another container.
Packet delivered(Packet packet) {
    return packet.eth(kContainerMac, kHostEndMac).ttl(63);
}

void insert(TestNode& node, Stage stage, const Flow& flow) {
    const auto inserted = node.insert(stage, flow);
    EXPECT_TRUE(inserted) << inserted.error().message();
}

std::vector<VerdictCase> masquerade_cases() {
    const std::string node = "203.0.113.2";
    std::vector<VerdictCase> rows{
        masqueraded("TcpIsMasqueraded", from_web(), from_web().from(node, 50000)),
        masqueraded("UdpIsMasqueraded", from_web_udp(), from_web_udp().from(node, 50000)),
        masqueraded("PingIsMasqueraded", from_web_ping(), from_web_ping().from(node, 50000)),
        masqueraded("UdpWithoutChecksumStaysWithout", from_web_udp().without_udp_checksum(),
                    from_web_udp().without_udp_checksum().from(node, 50000)),
        masqueraded("IpOptionsShiftTheTransportHeader", from_web().ip_options(kRouterAlert),
                    from_web().ip_options(kRouterAlert).from(node, 50000)),
        masqueraded("TheLongestIpHeader", from_web().ip_options(Bytes(40, 1)),
                    from_web().ip_options(Bytes(40, 1)).from(node, 50000)),
        masqueraded("DataInMidConnectionBeginsAFlow", web_to("198.51.100.1").ack(),
                    web_to("198.51.100.1").ack().from(node, 50000)),
    };
    const auto with_port = [&](const char* name, const Packet& packet) {
        VerdictCase row =
            masqueraded(name, packet, Packet(packet).from(node, 61000), {{"flow-created", 1}, {"port-changed", 1}});
        row.node.port_first = row.node.port_last = 61000;
        return row;
    };
    rows.push_back(with_port("TcpPortOutsideThePoolChanges", from_web()));
    rows.push_back(with_port("UdpPortOutsideThePoolChanges", from_web_udp()));
    rows.push_back(with_port("UdpWithoutChecksumAndPortChanges", from_web_udp().without_udp_checksum()));
    rows.push_back(with_port("PingIdOutsideThePoolChanges", from_web_ping()));
    rows.push_back(with_port("PortZeroChanges", Packet().ipv4("10.77.0.2", "198.51.100.1").udp(0, 53)));
    VerdictCase unresolved =
        masqueraded("NeighbourUnknown", web_to("203.0.113.77"), web_to("203.0.113.77").from(node, 50000),
                    {{"flow-created", 1}, {"neighbour-missing", 1}});
    unresolved.becomes = Packet(web_to("203.0.113.77")).from(node, 50000).ttl(63);  // the kernel writes the MACs
    rows.push_back(unresolved);
    VerdictCase known = masqueraded("EstablishedFlowKeepsItsPort", from_web(), from_web().from(node, 61000), {});
    known.prepare = [](TestNode& n) { insert(n, Stage::established, Flow{.translated_port = 61000}); };
    rows.push_back(known);
    VerdictCase fresh = masqueraded("UnansweredFlowKeepsItsPort", from_web(), from_web().from(node, 61000), {});
    fresh.prepare = [](TestNode& n) { insert(n, Stage::fresh, Flow{.translated_port = 61000}); };
    rows.push_back(fresh);
    return rows;
}

// Packets of up to 64 KiB and more, which the device will cut into segments.
std::vector<VerdictCase> segment_cases() {
    const Packet big = web_to("192.0.2.6").dont_fragment().payload(2000);
    const auto out = [](Packet packet) { return packet.from("203.0.113.2", 50000); };
    VerdictCase fits = masqueraded("SegmentsThatFitTheMtu", big, out(big));
    fits.run.gso_size = 960;  // and 40 bytes of headers: the route's 1000
    VerdictCase too_big = to_stack("SegmentsLargerThanTheMtu", "stack-too-big", big);
    too_big.run.gso_size = 961;
    VerdictCase big_tcp =
        masqueraded("BigTcpHasNoTotalLength", Packet(big).ip_total_length(0), out(Packet(big).ip_total_length(0)));
    big_tcp.run.gso_size = 960;
    return {fits, too_big, big_tcp};
}

std::vector<VerdictCase> routed_cases() {
    const auto forwarded = [](const char* name, const Packet& packet) {
        VerdictCase row = masqueraded(name, packet, packet, {});
        row.device = "nkrouted";
        return row;
    };
    return {
        forwarded("RoutedNetworkIsNotTranslated", routed_to("198.51.100.1")),
        forwarded("RoutedFragment", routed_to("198.51.100.1").fragment(100, true)),
        forwarded("RoutedProtocolWithoutPorts", Packet().ipv4("10.88.0.2", "198.51.100.1").protocol(kSctp)),
        to_stack("RoutedTooBigIsFragmentedByTheStack", "stack-too-big", routed_to("192.0.2.6").payload(1200),
                 "nkrouted"),
        to_stack("RoutedTtlUsedUp", "stack-ttl", routed_to("198.51.100.1").ttl(1), "nkrouted"),
        dropped("RoutedToANonUplink", "no-uplink", routed_to("192.0.2.4"), "nkrouted"),
    };
}

std::vector<VerdictCase> local_cases() {
    const auto to_container = [](const char* name, const Packet& packet) {
        VerdictCase row = masqueraded(name, packet, packet, {});
        row.becomes = delivered(packet);
        return row;
    };
    return {
        to_container("ToAnotherContainer", web_to("10.77.0.3")),
        to_container("ToAContainerOfARoutedNetwork", web_to("10.88.0.2")),
        to_container("FragmentToAnotherContainer", web_to("10.77.0.3").fragment(185, false)),
        to_container("AnyProtocolToAnotherContainer", Packet().ipv4("10.77.0.2", "10.77.0.3").protocol(kSctp)),
        to_container("EchoReplyToAnotherContainer", Packet().ipv4("10.77.0.2", "10.77.0.3").echo_reply(1)),
        to_stack("TtlUsedUpTowardsAContainer", "stack-ttl", web_to("10.77.0.3").ttl(1)),
        to_stack("ToAnAddressWithoutContainer", "stack-no-route", web_to("10.77.0.99")),
        to_stack("ToTheGateway", "stack-host", Packet().ipv4("10.77.0.2", "10.77.0.1").echo_request(1).ttl(1)),
        to_stack("ToTheNodeItself", "stack-host", web_to("203.0.113.2")),
    };
}

std::vector<VerdictCase> stack_cases() {
    return {
        to_stack("ToBroadcast", "stack-host", web_to("255.255.255.255")),
        to_stack("ToAMulticastGroup", "stack-host", web_to("224.0.0.22")),
        to_stack("ToLoopback", "stack-host", web_to("127.0.0.1")),
        to_stack("ToTheZeroNetwork", "stack-host", web_to("0.1.2.3")),
        to_stack("ToNowhere", "stack-host", web_to("192.0.2.7")),
        to_stack("ToAnUnreachableRoute", "stack-no-route", web_to("192.0.2.2")),
        to_stack("ToAProhibitedRoute", "stack-no-route", web_to("192.0.2.3")),
        to_stack("TtlUsedUp", "stack-ttl", from_web().ttl(1)),
        to_stack("TtlZero", "stack-ttl", from_web().ttl(0)),
        to_stack("TooBigMayNotBeFragmented", "stack-too-big", web_to("192.0.2.6").dont_fragment().payload(1200)),
    };
}

std::vector<VerdictCase> refused_sources() {
    return {
        dropped("SourceOfAnotherContainer", "spoofed-source", Packet().ipv4("10.77.0.3", "198.51.100.1").udp(1, 2)),
        dropped("SourceOfNobody", "spoofed-source", Packet().ipv4("10.77.0.99", "198.51.100.1").udp(1, 2)),
        dropped("SourceOutsideThePrefixes", "spoofed-source", Packet().ipv4("192.0.2.99", "198.51.100.1").udp(1, 2)),
        dropped("SourceOfTheGateway", "spoofed-source", Packet().ipv4("10.77.0.1", "10.77.0.3").udp(1, 2)),
        dropped("SourceOfTheNode", "spoofed-source", Packet().ipv4("203.0.113.2", "198.51.100.1").udp(1, 2)),
        dropped("Arp", "not-ip", Packet().arp()),
        dropped("VlanTag", "not-ip", from_web().vlan(5)),
        dropped("UnknownEtherType", "not-ip", from_web().ether_type(ETH_P_MPLS_UC)),
        dropped("Ipv6", "ipv6-disabled", Packet().ipv6()),
    };
}

std::vector<VerdictCase> malformed_packets() {
    const std::string malformed = "malformed";
    return {
        dropped("IpVersionSix", malformed, from_web().ip_version(6)),
        dropped("IpHeaderTooShort", malformed, from_web().ip_header_words(4)),
        dropped("IpHeaderLongerThanThePacket", malformed,
                Packet().ipv4("10.77.0.2", "198.51.100.1").ip_header_words(15)),
        dropped("TotalLengthBeyondTheFrame", malformed, from_web().ip_total_length(1000)),
        dropped("TotalLengthShorterThanItsHeader", malformed, from_web().ip_total_length(19)),
        dropped("TotalLengthZeroWithoutSegments", malformed, from_web().ip_total_length(0)),
        dropped("TcpHeaderCut", malformed, from_web().ip_total_length(39)),
        dropped("TcpHeaderTooShort", malformed, from_web().tcp_header_words(4)),
        dropped("TcpHeaderLongerThanThePacket", malformed, from_web().tcp_header_words(15)),
        dropped("UdpHeaderCut", malformed, from_web_udp().ip_total_length(27)),
        dropped("IcmpHeaderCut", malformed, from_web_ping().ip_total_length(27)),
    };
}

std::vector<VerdictCase> refused_masquerade() {
    const auto icmp = [](std::uint8_t type, std::uint8_t code) {
        return Packet().ipv4("10.77.0.2", "198.51.100.1").icmp(type, code);
    };
    return {
        dropped("FirstFragment", "fragment", from_web().fragment(0, true)),
        dropped("LaterFragment", "fragment", from_web().fragment(100, false)),
        dropped("OtherProtocol", "protocol", Packet().ipv4("10.77.0.2", "198.51.100.1").protocol(kSctp)),
        dropped("IcmpTimestamp", "protocol", icmp(kIcmpTimestamp, 0)),
        dropped("IcmpError", "protocol", icmp(kIcmpUnreachable, 1)),
        dropped("EchoRequestWithACode", "protocol", icmp(8, 1)),
        dropped("EchoReplyToOutside", "no-flow", Packet().ipv4("10.77.0.2", "198.51.100.1").echo_reply(50000)),
        dropped("ResetOfNoFlow", "no-flow", Packet().ipv4("10.77.0.2", "198.51.100.1").tcp(50000, 443).rst()),
        dropped("TooBigMayBeFragmented", "too-big", web_to("192.0.2.6").payload(1200)),
    };
}

std::vector<VerdictCase> refused_routes() {
    VerdictCase forwarding_off = dropped("ForwardingIsOff", "forwarding-disabled", from_web());
    forwarding_off.own_node = true;
    forwarding_off.prepare = [](TestNode&) {
        const auto written = link::write_sysctl("ipv4/conf/nkweb/forwarding", "0");
        EXPECT_TRUE(written) << written.error().message();
    };
    VerdictCase no_pool = dropped("PoolNotConfigured", "ports-exhausted", from_web());
    no_pool.node.port_first = no_pool.node.port_last = 0;
    VerdictCase backwards = dropped("PoolEndsBeforeItBegins", "ports-exhausted", from_web());
    backwards.node.port_first = 60000;
    backwards.node.port_last = 50000;
    VerdictCase exhausted = dropped("EveryPortTaken", "ports-exhausted", from_web());
    exhausted.node.port_first = exhausted.node.port_last = 50000;
    exhausted.prepare = [](TestNode& n) { insert(n, Stage::fresh, Flow{.source = "10.77.0.3", .endpoint_id = 2}); };
    VerdictCase not_configured = dropped("NodeNotConfigured", "no-uplink", from_web());
    not_configured.prepare = [](TestNode& n) { n.settings() = {}; };
    return {
        dropped("Blackhole", "route", web_to("192.0.2.1")),
        dropped("RouteToANonUplink", "no-uplink", web_to("192.0.2.4")),
        dropped("RouteIntoATunnel", "no-uplink", web_to("192.0.2.5")),
        dropped("UplinkLendsAGatewayAddress", "no-source-address", web_to("192.0.2.8")),
        forwarding_off,
        no_pool,
        backwards,
        exhausted,
        not_configured,
    };
}

}  // namespace

std::vector<VerdictTable> container_tables() {
    std::vector<VerdictTable> tables;
    for (const Program program : {Program::netkit_peer, Program::veth_ingress}) {
        tables.push_back({program, "Masqueraded", masquerade_cases()});
        tables.push_back({program, "Segments", segment_cases()});
        tables.push_back({program, "Routed", routed_cases()});
        tables.push_back({program, "Local", local_cases()});
        tables.push_back({program, "ToTheStack", stack_cases()});
        tables.push_back({program, "RefusedSources", refused_sources()});
        tables.push_back({program, "Malformed", malformed_packets()});
        tables.push_back({program, "NotMasqueraded", refused_masquerade()});
        tables.push_back({program, "RefusedRoutes", refused_routes()});
    }
    return tables;
}

}  // namespace netkitd::test
