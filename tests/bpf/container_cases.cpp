// What leaves a container.
#include <linux/if_ether.h>
#include <netinet/in.h>

#include <gtest/gtest.h>

#include "bpf/packets.h"
#include "bpf/verdict_table.h"
#include "harness/process.h"
#include "harness/wait.h"
#include "link/sysctl.h"

namespace netkitd::test {
namespace {

constexpr std::uint8_t kDccp = 33;  // a protocol with ports that is not masqueraded
constexpr std::uint8_t kSctpInit = 1;
constexpr std::uint8_t kSctpData = 0;
constexpr std::uint8_t kSctpAbort = 6;
constexpr std::uint32_t kGsoByFrags = 0xffff;
constexpr std::uint8_t kIcmpRedirect = 5;
constexpr std::uint8_t kIcmp6Redirect = 137;
constexpr std::uint8_t kIcmpTimestamp = 13;
constexpr std::uint32_t kRouteMtu = 1300;          // of special route 6
const Bytes kRouterAlert{0x94, 0x04, 0x00, 0x00};  // RFC 2113

using Counted = std::map<std::string, std::uint64_t>;

VerdictCase masqueraded(std::string name, Packet packet, Packet becomes, Counted counted = {{"flow-created", 1}}) {
    VerdictCase row;
    row.name = std::move(name);
    row.device = "nkweb";
    row.packet = std::move(packet);
    row.verdict = Verdict::redirect;
    row.counted = std::move(counted);
    row.becomes = forwarded(std::move(becomes));
    return row;
}

// Its packet leaves the container unchanged: dropped, or handed to the stack by netkitd0.
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
    return unchanged(std::move(name), Verdict::redirect, std::move(event), std::move(packet), std::move(device));
}

Packet web_to(const Net& net, std::string_view destination) {
    return Packet().ip(net.web, destination).tcp(50000, 443).syn();
}

// Where it has an Ethernet address.
VerdictCase addressed_to_host_device(const Net& net) {
    VerdictCase row = to_stack("ToTheGatewayByItsAddress", "stack-host", web_to(net, net.gateway));
    row.packet.eth(kHostEndMac, kContainerMac);
    row.becomes = Packet(row.packet).eth(kUplinkMac, kContainerMac);
    row.prepare = [](TestNode& node) { std::ranges::copy(kUplinkMac, node.settings().host_device_mac); };
    return row;
}

// Its gateway tells it so.
VerdictCase unreachable(std::string name, const Net& net) {
    VerdictCase row = unchanged(std::move(name), Verdict::redirect, "no-container", web_to(net, net.nobody));
    row.packet.eth(kHostEndMac, kContainerMac);
    row.becomes = address_unreachable(net, net.gateway, net.web, row.packet, 20).eth(kContainerMac, kHostEndMac);
    return row;
}

// No way leads there, or one that containers do not have.
VerdictCase no_way(std::string name, std::string reason, const Net& net, std::string_view source,
                   std::string_view destination, std::string device = "nkweb", std::size_t payload = 0) {
    const std::string gateway = device == "nkweb" ? net.gateway : net.routed_gateway;
    VerdictCase row =
        unchanged(std::move(name), Verdict::redirect, std::move(reason),
                  Packet().ip(source, destination).tcp(50000, 443).syn().payload(payload), std::move(device));
    row.packet.eth(kHostEndMac, kContainerMac);
    row.becomes = no_route_to(net, gateway, source, row.packet, 20).eth(kContainerMac, kHostEndMac);
    return row;
}

Packet from_web_udplite(const Net& net, std::uint16_t coverage) {
    return Packet().ip(net.web, net.remote).udplite(50000, 443, coverage).payload("hello");
}

Packet routed_to(const Net& net, std::string_view destination) {
    return Packet().ip(net.routed, destination).tcp(1000, 443).syn();
}

// As it arrives in another container.
Packet delivered(Packet packet) {
    return packet.eth(kContainerMac, kHostEndMac).ttl(63);
}

// web's TCP flow, its port translated to 61000.
Flow flow_of(const Net& net) {
    return {.source = net.web, .destination = net.remote, .translated = net.node, .translated_port = 61000};
}

void insert(TestNode& node, Stage stage, const Flow& flow) {
    const auto inserted = node.insert(stage, flow);
    EXPECT_TRUE(inserted) << inserted.error().message();
}

std::vector<VerdictCase> masquerade_cases(const Net& net) {
    const auto translated = [&](const char* name, const Packet& packet) {
        return masqueraded(name, packet, Packet(packet).from(net.node, 50000));
    };
    const auto with_port = [&](const char* name, const Packet& packet) {
        VerdictCase row =
            masqueraded(name, packet, Packet(packet).from(net.node, 61000), {{"flow-created", 1}, {"port-changed", 1}});
        row.node.port_first = row.node.port_last = 61000;
        return row;
    };
    // With an identification of the node's. IPv6 keeps its own.
    const auto fragment = [&](const char* name, const Packet& packet) {
        Packet becomes = Packet(packet).from(net.node, 50000);
        return masqueraded(name, packet,
                           net.icmp == IPPROTO_ICMP ? becomes.identification(first_fragment_id(net.remote)) : becomes);
    };
    VerdictCase sctp_segments =
        translated("SctpSegments", Packet().ip(net.web, net.remote).sctp(50000, 443, kSctpData).payload(2000));
    sctp_segments.run.gso_size = kGsoByFrags;
    VerdictCase unresolved = translated("NeighbourUnknown", web_to(net, net.silent_neighbour));
    unresolved.counted["neighbour-missing"] = 1;
    unresolved.counted["stack-neighbour"] = 1;
    const auto with_flow = [&](const char* name, Stage stage) {
        VerdictCase row = masqueraded(name, from_web(net), from_web(net).from(net.node, 61000), {});
        row.prepare = [=, &net](TestNode& n) { insert(n, stage, flow_of(net)); };
        return row;
    };
    return {
        translated("TcpIsMasqueraded", from_web(net)),
        translated("UdpIsMasqueraded", from_web_udp(net)),
        translated("PingIsMasqueraded", from_web_ping(net)),
        translated("UdpWithoutChecksumStaysWithout", from_web_udp(net).without_udp_checksum()),
        translated("DataInMidConnectionBeginsAFlow", web_to(net, net.remote).ack()),
        with_port("TcpPortOutsideThePoolChanges", from_web(net)),
        with_port("UdpPortOutsideThePoolChanges", from_web_udp(net)),
        with_port("UdpWithoutChecksumAndPortChanges", from_web_udp(net).without_udp_checksum()),
        translated("UdpLiteIsMasqueraded", from_web_udplite(net, 0)),
        translated("UdpLiteThatCoversAPart", from_web_udplite(net, 9)),
        with_port("UdpLitePortOutsideThePoolChanges", from_web_udplite(net, 8)),
        translated("SctpIsMasqueraded", Packet().ip(net.web, net.remote).sctp(50000, 443, kSctpInit).payload(20)),
        translated("SctpInMidAssociation", Packet().ip(net.web, net.remote).sctp(50000, 443, kSctpData).payload(20)),
        sctp_segments,
        with_port("PingIdOutsideThePoolChanges", from_web_ping(net)),
        with_port("PortZeroChanges", Packet().ip(net.web, net.remote).udp(0, 53)),
        fragment("FirstFragmentOfTcp", from_web(net).fragment(0, true)),
        fragment("FirstFragmentOfUdp", from_web_udp(net).fragment(0, true)),
        fragment("FirstFragmentOfAPing", from_web_ping(net).fragment(0, true)),
        unresolved,
        with_flow("EstablishedFlowKeepsItsPort", Stage::established),
        with_flow("UnansweredFlowKeepsItsPort", Stage::fresh),
    };
}

// Whatever stands between the addresses and the ports.
std::vector<VerdictCase> long_headers() {
    const auto translated = [](const char* name, const Packet& packet) {
        const Net& net = std::string_view(name).starts_with("Ip4") ? ipv4() : ipv6();
        return masqueraded(name, packet, Packet(packet).from(net.node, 50000));
    };
    const auto too_many = [] {
        Packet packet = from_web(ipv6());
        for (int i = 0; i < 5; i++) {
            packet.extension(IPPROTO_DSTOPTS, 8);
        }
        return packet;
    };
    return {
        translated("Ip4OptionsShiftTheTransportHeader", from_web(ipv4()).ip_options(kRouterAlert)),
        translated("Ip4TheLongestHeader", from_web(ipv4()).ip_options(Bytes(40, 1))),
        translated("Ip6HopByHopOptions", from_web(ipv6()).extension(IPPROTO_HOPOPTS, 8)),
        translated("Ip6FourExtensions", from_web_udp(ipv6())
                                            .extension(IPPROTO_HOPOPTS, 8)
                                            .extension(IPPROTO_DSTOPTS, 24)
                                            .extension(IPPROTO_ROUTING, 8)
                                            .extension(IPPROTO_DSTOPTS, 16)),
        translated("Ip6AFragmentThatIsWhole", from_web(ipv6()).fragment(0, false)),
        dropped("Ip6TooManyExtensions", "protocol", too_many()),
        dropped("Ip6ExtensionsTooLong", "protocol", from_web(ipv6()).extension(IPPROTO_DSTOPTS, 240)),
        dropped("Ip6ExtensionMissing", "protocol", Packet().ip(ipv6().web, ipv6().remote).protocol(IPPROTO_DSTOPTS)),
        dropped("Ip6NoTransport", "protocol", Packet().ip(ipv6().web, ipv6().remote).protocol(IPPROTO_NONE)),
    };
}

// Packets of up to 64 KiB and more, which the device will cut into segments.
std::vector<VerdictCase> segment_cases(const Net& net) {
    const Packet big = web_to(net, net.special_route(6)).dont_fragment().payload(2000);
    const auto out = [&](Packet packet) { return packet.from(net.node, 50000); };
    const std::uint32_t headers = net.header_size + 20U;
    VerdictCase fits = masqueraded("SegmentsThatFitTheMtu", big, out(big));
    fits.run.gso_size = kRouteMtu - headers;
    VerdictCase too_big = to_stack("SegmentsLargerThanTheMtu", "stack-too-big", big);
    too_big.run.gso_size = kRouteMtu - headers + 1;
    VerdictCase big_tcp =
        masqueraded("BigTcpHasNoTotalLength", Packet(big).ip_total_length(0), out(Packet(big).ip_total_length(0)));
    big_tcp.run.gso_size = kRouteMtu - headers;
    std::vector<VerdictCase> rows{fits, too_big, big_tcp};
    if (net.name == "V6") {
        // As some kernels have it inside the host: with a header that no segment has.
        const Packet jumbo = Packet(big).extension(IPPROTO_HOPOPTS, 8).ip_total_length(0);
        rows.push_back(masqueraded("BigTcpWithAJumboPayloadOption", jumbo, out(jumbo)));
        rows.back().run.gso_size = kRouteMtu - headers;
        rows.push_back(to_stack("BigTcpWhoseSegmentsAreLargerThanTheMtu", "stack-too-big", jumbo));
        rows.back().run.gso_size = kRouteMtu - headers + 1;
    }
    return rows;
}

std::vector<VerdictCase> routed_cases(const Net& net) {
    const auto routed = [](const char* name, const Packet& packet) {
        VerdictCase row = masqueraded(name, packet, packet, {});
        row.device = "nkrouted";
        return row;
    };
    return {
        routed("RoutedNetworkIsNotTranslated", routed_to(net, net.remote)),
        routed("RoutedFragment", routed_to(net, net.remote).fragment(100, true)),
        routed("RoutedProtocolWithoutPorts", Packet().ip(net.routed, net.remote).protocol(kDccp)),
        to_stack("RoutedTooBigIsForTheStack", "stack-too-big", routed_to(net, net.special_route(6)).payload(1400),
                 "nkrouted"),
        to_stack("RoutedTtlUsedUp", "stack-ttl", routed_to(net, net.remote).ttl(1), "nkrouted"),
        no_way("RoutedToANonUplink", "no-uplink", net, net.routed, net.special_route(4), "nkrouted"),
    };
}

// The remote, and the destination of special route 6, know the containers' own addresses.
VerdictCase with_non_masquerade(const Net& net, VerdictCase row) {
    row.prepare = [=, before = row.prepare](TestNode& node) {
        if (before) {
            before(node);
        }
        for (const std::string& prefix : {net.only_remote(), net.special_route(6) + (net.is_ipv6() ? "/128" : "/32")}) {
            const auto added = node.add_non_masquerade(prefix);
            EXPECT_TRUE(added) << added.error().message();
        }
    };
    return row;
}

std::vector<VerdictCase> non_masquerade_cases(const Net& net) {
    const auto routed = [&](const char* name, const Packet& packet) {
        return with_non_masquerade(net, masqueraded(name, packet, packet, {}));
    };
    const auto with_flow = [&](const char* name, std::uint32_t endpoint_id) {
        VerdictCase row = masqueraded(name, web_to(net, net.remote).ack(), web_to(net, net.remote).ack(), {});
        row.prepare = [=, &net](TestNode& n) {
            Flow flow = flow_of(net);
            flow.endpoint_id = endpoint_id;
            insert(n, Stage::established, flow);
        };
        return with_non_masquerade(net, row);
    };
    VerdictCase kept = with_flow("WhatWasEstablishedStaysMasqueraded", 1);
    kept.becomes = forwarded(web_to(net, net.remote).ack().from(net.node, 61000));
    return {
        routed("TcpLeavesAsItIs", from_web(net)),
        routed("UdpLeavesAsItIs", from_web_udp(net)),
        routed("PingLeavesAsItIs", from_web_ping(net)),
        routed("FragmentLeavesAsItIs", from_web(net).fragment(100, false)),
        routed("AnyProtocolLeavesAsItIs", Packet().ip(net.web, net.remote).protocol(kDccp)),
        with_non_masquerade(net, masqueraded("ElsewhereIsMasqueraded", web_to(net, net.other_remote),
                                             web_to(net, net.other_remote).from(net.node, 50000))),
        with_non_masquerade(net, to_stack("TtlUsedUp", "stack-ttl", from_web(net).ttl(1))),
        with_non_masquerade(
            net, to_stack("TooBigIsForTheStack", "stack-too-big", web_to(net, net.special_route(6)).payload(1400))),
        kept,
        with_flow("AnothersFlowIsNotKept", 2),
    };
}

// All of web's prefix is the host's by a longer route, but for what containers have of it.
std::vector<VerdictCase> host_prefix_cases(const Net& net) {
    const auto with_host_prefix = [&](VerdictCase row) {
        row.prepare = [&](TestNode& node) {
            const auto added = node.add_host_prefix(net.is_ipv6() ? "2001:db8:77::/64" : "10.77.0.0/24");
            EXPECT_TRUE(added) << added.error().message();
        };
        return row;
    };
    VerdictCase between = masqueraded("AContainerIsReached", web_to(net, net.db), web_to(net, net.db), {});
    between.becomes = delivered(web_to(net, net.db));
    VerdictCase hosts =
        with_host_prefix(to_stack("AnAddressOfTheHostsIsReached", "stack-host", web_to(net, net.nobody)));
    const auto ip = [](std::vector<std::string> words) {
        words.insert(words.begin(), "/usr/sbin/ip");
        const auto done = run_process({.command = words});
        EXPECT_EQ(done.status, 0) << done.errors;
        return done.output;
    };
    const auto set_address = [=, address = net.nobody](const char* action) {
        ip({"address", action, address, "dev", "lo"});
    };
    hosts.prepare = [=, also = hosts.prepare, address = net.nobody](TestNode& node) {
        also(node);
        set_address("add");
        // Of IPv6, the kernel makes its route a moment later (addrconf_dad_work() in net/ipv6/addrconf.c).
        EXPECT_TRUE(eventually([&] { return ip({"route", "get", address}).starts_with("local"); }));
    };
    hosts.undo = [=] { set_address("delete"); };
    return {
        with_host_prefix(between),
        hosts,
        with_host_prefix(masqueraded("WhatLeavesIsMasqueraded", from_web(net), from_web(net).from(net.node, 50000))),
        with_host_prefix(
            dropped("AnAddressOfTheHostsIsNoSource", "spoofed-source", Packet().ip(net.nobody, net.remote).udp(1, 2))),
    };
}

// `isolated`: one of the node's two networks.
VerdictCase with_isolated(const Net& net, std::size_t isolated, VerdictCase row) {
    row.prepare = [=](TestNode& node) { node.network(isolated, net.is_ipv6()).flags |= NK_NETWORK_ISOLATED; };
    return row;
}

std::vector<VerdictCase> isolated_cases(const Net& net) {
    const auto refused = [&](const char* name, std::size_t isolated, const Packet& packet) {
        return with_isolated(net, isolated, dropped(name, "isolated", packet));
    };
    const auto allowed = [&](VerdictCase row) { return with_isolated(net, 0, std::move(row)); };
    VerdictCase to_own_network = masqueraded("ToItsOwnNetwork", web_to(net, net.db), web_to(net, net.db), {});
    to_own_network.becomes = delivered(web_to(net, net.db));
    VerdictCase other_way = dropped("FromARoutedNetwork", "isolated", routed_to(net, net.web), "nkrouted");
    return {
        refused("ToAnotherNetwork", 0, web_to(net, net.routed)),
        refused("ToAnIsolatedNetwork", 1, web_to(net, net.routed)),
        allowed(other_way),
        refused("FragmentToAnotherNetwork", 0, web_to(net, net.routed).fragment(185, false)),
        refused("TtlUsedUpTowardsAnotherNetwork", 0, web_to(net, net.routed).ttl(1)),
        refused("ToAnotherNetworksGateway", 0, web_to(net, net.routed_gateway)),
        refused("ToAnIsolatedNetworksGateway", 1, Packet().ip(net.web, net.routed_gateway).echo_request(1)),
        refused("ToNobodyInAnotherNetwork", 0, web_to(net, net.routed_nobody)),
        allowed(to_own_network),
        allowed(unreachable("ToNobodyInItsOwnNetwork", net)),
        allowed(to_stack("ToItsOwnGateway", "stack-host", Packet().ip(net.web, net.gateway).echo_request(1))),
        allowed(to_stack("ToTheNodeItself", "stack-host", web_to(net, net.node))),
        allowed(masqueraded("ToOutside", from_web(net), from_web(net).from(net.node, 50000))),
    };
}

std::vector<VerdictCase> fixed_source_cases(const Net& net) {
    const auto with_source = [&](VerdictCase row, std::uint32_t flags) {
        row.prepare = [=](TestNode& node) {
            nk_network& network = node.network(0, net.is_ipv6());
            network.source = to_nk_addr(net.other_node);
            network.flags |= NK_NETWORK_FIXED_SOURCE | flags;
        };
        return row;
    };
    VerdictCase without_own = masqueraded("EvenWhereTheUplinkHasNone", web_to(net, net.special_route(8)),
                                          web_to(net, net.special_route(8)).from(net.other_node, 50000));
    without_own.counted["neighbour-missing"] = 1;
    without_own.counted["stack-neighbour"] = 1;
    return {
        with_source(masqueraded("IsWritten", from_web(net), from_web(net).from(net.other_node, 50000)), 0),
        with_source(masqueraded("IntoUdpToo", from_web_udp(net), from_web_udp(net).from(net.other_node, 50000)), 0),
        with_source(without_own, 0),
        with_source(dropped("ThatIsNotThereIsMissed", "no-source-address", from_web(net)), NK_NETWORK_SOURCE_MISSING),
    };
}

std::vector<VerdictCase> local_cases(const Net& net) {
    const auto to_container = [](const char* name, const Packet& packet) {
        VerdictCase row = masqueraded(name, packet, packet, {});
        row.becomes = delivered(packet);
        return row;
    };
    return {
        to_container("ToAnotherContainer", web_to(net, net.db)),
        to_container("ToAContainerOfARoutedNetwork", web_to(net, net.routed)),
        to_container("FragmentToAnotherContainer", web_to(net, net.db).fragment(185, false)),
        to_container("AnyProtocolToAnotherContainer", Packet().ip(net.web, net.db).protocol(kDccp)),
        to_container("EchoReplyToAnotherContainer", Packet().ip(net.web, net.db).echo_reply(1)),
        to_stack("TtlUsedUpTowardsAContainer", "stack-ttl", web_to(net, net.db).ttl(1)),
        unreachable("ToAnAddressWithoutContainer", net),
        to_stack("ToTheGateway", "stack-host", Packet().ip(net.web, net.gateway).echo_request(1).ttl(1)),
        addressed_to_host_device(net),
        to_stack("ToTheNodeItself", "stack-host", web_to(net, net.node)),
    };
}

std::vector<VerdictCase> stack_cases(const Net& net) {
    return {
        to_stack("ToNowhere", "stack-host", web_to(net, net.special_route(7))),
        to_stack("ToAnUnreachableRoute", "stack-no-route", web_to(net, net.special_route(2))),
        to_stack("ToAProhibitedRoute", "stack-no-route", web_to(net, net.special_route(3))),
        to_stack("TtlUsedUp", "stack-ttl", from_web(net).ttl(1)),
        to_stack("TtlZero", "stack-ttl", from_web(net).ttl(0)),
        to_stack("TooBigMayNotBeFragmented", "stack-too-big",
                 web_to(net, net.special_route(6)).dont_fragment().payload(1400)),
    };
}

std::vector<VerdictCase> never_forwarded() {
    const auto host = [](const char* name, const Net& net, std::string_view destination) {
        return to_stack(name, "stack-host", web_to(net, destination));
    };
    return {
        host("Ip4Broadcast", ipv4(), "255.255.255.255"),  host("Ip4MulticastGroup", ipv4(), "224.0.0.22"),
        host("Ip4ZeroNetwork", ipv4(), "0.1.2.3"),        host("Ip6Unspecified", ipv6(), "::"),
        host("Ip6MappedIp4", ipv6(), "::ffff:10.77.0.3"),
    };
}

// CVE-2020-8558: a host with route_localnet takes them for its own.
std::vector<VerdictCase> loopback() {
    const auto ends = [](const char* name, std::string_view source, std::string_view destination) {
        return dropped(name, "loopback", Packet().ip(source, destination).tcp(50000, 443).syn());
    };
    return {
        ends("Ip4Destination", ipv4().web, "127.0.0.1"),
        ends("Ip4DestinationInTheMiddle", ipv4().web, "127.200.0.53"),
        ends("Ip4Source", "127.0.0.1", ipv4().remote),
        ends("Ip4SourceToAContainer", "127.0.0.1", ipv4().db),
        ends("Ip4SourceToTheGateway", "127.0.0.1", ipv4().gateway),
        ends("Ip6Destination", ipv6().web, "::1"),
        ends("Ip6Source", "::1", ipv6().remote),
        ends("Ip6MappedDestination", ipv6().web, "::ffff:127.0.0.1"),
        ends("Ip6MappedSource", "::ffff:127.0.0.1", ipv6().remote),
    };
}

// What an IPv6 stack does by itself, and what looks like it.
std::vector<VerdictCase> link_scope() {
    const auto stays = [](const char* name, const char* source, const char* destination) {
        return dropped(name, "link-scope", Packet().ip(source, destination).icmp(143, 0));
    };
    return {
        stays("MulticastListenerReport", "::", "ff02::16"),
        stays("RouterSolicitation", "fe80::1", "ff02::2"),
        stays("NeighbourSolicitationOfItself", "2001:db8:77::2", "ff02::1:ff00:1"),
        stays("ToALinkLocalAddress", "2001:db8:77::2", "fe80::1"),
        stays("FromALinkLocalAddress", "fe80::1", "2001:db8:51::1"),
        stays("FromNoAddress", "::", "2001:db8:51::1"),
        stays("ToAMulticastGroupOfWiderScope", "2001:db8:77::2", "ff0e::1"),
    };
}

std::vector<VerdictCase> refused_sources(const Net& net) {
    const auto spoofed = [&](const char* name, std::string_view source, std::string_view destination) {
        return dropped(name, "spoofed-source", Packet().ip(source, destination).udp(1, 2));
    };
    return {
        spoofed("SourceOfAnotherContainer", net.db, net.remote),
        spoofed("SourceOfNobody", net.nobody, net.remote),
        spoofed("SourceOutsideThePrefixes", net.special_route(99), net.remote),
        spoofed("SourceOfTheGateway", net.gateway, net.db),
        spoofed("SourceOfTheNode", net.node, net.remote),
        spoofed("SourceOfTheRemote", net.remote, net.db),
    };
}

std::vector<VerdictCase> refused_frames() {
    VerdictCase no_ipv6 = dropped("Ipv6WithoutAnIpv6Network", "ipv6-disabled", from_web(ipv6()));
    no_ipv6.prepare = [](TestNode& node) { node.settings().network6_count = 0; };
    return {
        dropped("LinkLayerDiscovery", "not-ip", from_web(ipv4()).ether_type(0x88cc)),
        dropped("VlanTag", "not-ip", from_web(ipv4()).vlan(5)),
        dropped("VlanTagBeforeIpv6", "not-ip", from_web(ipv6()).vlan(5)),
        dropped("UnknownEtherType", "not-ip", from_web(ipv4()).ether_type(ETH_P_MPLS_UC)),
        no_ipv6,
    };
}

std::vector<VerdictCase> malformed_packets() {
    const auto malformed = [](const char* name, const Packet& packet) { return dropped(name, "malformed", packet); };
    return {
        malformed("Ip4VersionSix", from_web(ipv4()).ip_version(6)),
        malformed("Ip4HeaderTooShort", from_web(ipv4()).ip_header_words(4)),
        malformed("Ip4HeaderLongerThanThePacket", Packet().ip(ipv4().web, ipv4().remote).ip_header_words(15)),
        malformed("Ip4TotalLengthBeyondTheFrame", from_web(ipv4()).ip_total_length(1000)),
        malformed("Ip4TotalLengthShorterThanItsHeader", from_web(ipv4()).ip_total_length(19)),
        malformed("Ip4TotalLengthZeroWithoutSegments", from_web(ipv4()).ip_total_length(0)),
        malformed("Ip4TcpHeaderCut", from_web(ipv4()).ip_total_length(39)),
        malformed("Ip4TcpHeaderTooShort", from_web(ipv4()).tcp_header_words(4)),
        malformed("Ip4TcpHeaderLongerThanThePacket", from_web(ipv4()).tcp_header_words(15)),
        malformed("Ip4UdpHeaderCut", from_web_udp(ipv4()).ip_total_length(27)),
        malformed("Ip4IcmpHeaderCut", from_web_ping(ipv4()).ip_total_length(27)),
        malformed("Ip6VersionFour", from_web(ipv6()).ip_version(4)),
        malformed("Ip6PayloadBeyondTheFrame", from_web(ipv6()).ip_total_length(1000)),
        malformed("Ip6PayloadShorterThanItsExtensions",
                  from_web(ipv6()).extension(IPPROTO_DSTOPTS, 16).ip_total_length(8)),
        malformed("Ip6PayloadZeroWithoutSegments", from_web(ipv6()).ip_total_length(0)),
        malformed("Ip6TcpHeaderCut", from_web(ipv6()).ip_total_length(19)),
        malformed("Ip6TcpHeaderTooShort", from_web(ipv6()).tcp_header_words(4)),
        malformed("Ip6UdpHeaderCut", from_web_udp(ipv6()).ip_total_length(7)),
        malformed("Ip6IcmpHeaderCut", from_web_ping(ipv6()).ip_total_length(7)),
    };
}

std::vector<VerdictCase> refused_masquerade(const Net& net) {
    const auto icmp = [&](std::uint8_t type, std::uint8_t code) {
        return Packet().ip(net.web, net.remote).icmp(type, code);
    };
    const std::uint8_t other_icmp = (net.name == "V4" ? ipv6() : ipv4()).icmp;
    return {
        dropped("TinyFirstFragment", "fragment",
                from_web(net).fragment(0, true).ip_total_length(net.icmp == IPPROTO_ICMP ? 39 : 8 + 19)),
        dropped("IcmpErrorInFragments", "fragment",
                icmp(net.icmp == IPPROTO_ICMP ? 3 : 1, 1).fragment(0, true).payload(1000)),
        dropped("LaterFragmentWithoutItsFirst", "fragment", from_web(net).fragment(100, false)),
        dropped("UdpLiteWithoutChecksum", "malformed",
                Packet().ip(net.web, net.remote).udplite(50000, 443).without_udp_checksum()),
        dropped("SctpPortOutsideThePool", "sctp-port", Packet().ip(net.web, net.remote).sctp(5000, 443, kSctpInit)),
        dropped("SctpWithoutAChunk", "malformed",
                Packet()
                    .ip(net.web, net.remote)
                    .sctp(50000, 443, kSctpInit)
                    .ip_total_length(net.icmp == IPPROTO_ICMP ? 32 : 12)),
        dropped("SctpAbortOfNoFlow", "no-flow", Packet().ip(net.web, net.remote).sctp(50000, 443, kSctpAbort)),
        dropped("OtherProtocol", "protocol", Packet().ip(net.web, net.remote).protocol(kDccp)),
        dropped("IcmpTimestamp", "protocol", icmp(kIcmpTimestamp, 0)),
        dropped("IcmpRedirect", "protocol", icmp(net.icmp == IPPROTO_ICMP ? kIcmpRedirect : kIcmp6Redirect, 1)),
        dropped("EchoRequestWithACode", "protocol", from_web_ping(net).icmp(net.icmp == IPPROTO_ICMP ? 8 : 128, 1)),
        dropped("IcmpOfTheOtherFamily", "protocol", from_web_ping(net).protocol(other_icmp)),
        dropped("EchoReplyToOutside", "no-flow", Packet().ip(net.web, net.remote).echo_reply(50000)),
        dropped("ResetOfNoFlow", "no-flow", Packet().ip(net.web, net.remote).tcp(50000, 443).rst()),
    };
}

std::vector<VerdictCase> fragmentation() {
    const Packet packet = web_to(ipv4(), ipv4().special_route(6)).payload(1400);
    const auto fragmented = [](const char* name, const Packet& big) {
        VerdictCase row = to_stack(name, "stack-fragments", big);
        row.counted["flow-created"] = 1;
        return row;
    };
    VerdictCase segments = dropped("SegmentsTooBig", "too-big", packet);
    segments.run.gso_size = kRouteMtu;
    VerdictCase by_no_uplink = no_way("RoutedTooBigToANonUplink", "no-uplink", ipv4(), ipv4().routed,
                                      ipv4().special_route(6), "nkrouted", 1400);
    by_no_uplink.is_cut = true;
    by_no_uplink.prepare = [](TestNode& n) { n.set_uplinks({}); };
    return {
        by_no_uplink,
        fragmented("TooBigMayBeFragmented", packet),
        fragmented("FirstFragmentTooBig", Packet(packet).fragment(0, true)),
        to_stack("TooBigAndTtlUsedUp", "stack-ttl", Packet(packet).ttl(1)),
        dropped("LaterFragmentTooBigWithoutItsFirst", "fragment", Packet(packet).fragment(200, true)),
        dropped("TooBigIcmpError", "too-big",
                Packet()
                    .ip(ipv4().web, ipv4().special_route(6))
                    .icmp(3, 3)
                    .quoting(Packet().ip(ipv4().special_route(6), ipv4().web).udp(443, 50000).payload(1400), 1400)),
        dropped("TooBigOfAnotherProtocol", "protocol",
                Packet().ip(ipv4().web, ipv4().special_route(6)).protocol(IPPROTO_GRE).payload(1400)),
        segments,
    };
}

VerdictCase with_pool(VerdictCase row, std::uint16_t first, std::uint16_t last) {
    row.node.port_first = first;
    row.node.port_last = last;
    return row;
}

std::vector<VerdictCase> refused_routes(const Net& net) {
    VerdictCase forwarding_off = dropped("ForwardingIsOff", "forwarding-disabled", from_web(net));
    const auto set_forwarding = [sysctl = net.sysctl_dir + "/conf/netkitd0/forwarding"](const char* value) {
        const auto written = link::write_sysctl(sysctl, value);
        EXPECT_TRUE(written) << written.error().message();
    };
    forwarding_off.prepare = [=](TestNode&) { set_forwarding("0"); };
    forwarding_off.undo = [=] { set_forwarding("1"); };
    VerdictCase exhausted = with_pool(dropped("EveryPortTaken", "ports-exhausted", from_web(net)), 50000, 50000);
    exhausted.prepare = [=](TestNode& n) {
        Flow flow = flow_of(net);
        flow.source = net.db;
        flow.translated_port = 50000;
        flow.endpoint_id = 2;
        insert(n, Stage::fresh, flow);
    };
    VerdictCase sctp_taken =
        dropped("SctpPortTaken", "sctp-port", Packet().ip(net.web, net.remote).sctp(50000, 443, kSctpInit));
    sctp_taken.prepare = [=](TestNode& n) {
        Flow flow = flow_of(net);
        flow.protocol = IPPROTO_SCTP;
        flow.source = net.db;
        flow.translated_port = 50000;
        flow.endpoint_id = 2;
        insert(n, Stage::fresh, flow);
    };
    VerdictCase table_full = dropped("NoRoomForBothHalves", "flow-table-full", from_web(net));
    table_full.node.flow_entries = 1;
    table_full.own_node = true;
    VerdictCase above_share = dropped("MoreFlowsThanItsShare", "flow-share", from_web(net));
    above_share.prepare = [](TestNode& n) {
        nk_node& settings = n.settings();
        settings.flow_share4 = settings.flow_share6 = settings.flow_common4 = settings.flow_common6 = 0;
    };
    VerdictCase no_uplinks = no_way("NoUplinkConfigured", "no-uplink", net, net.web, net.remote);
    no_uplinks.prepare = [](TestNode& n) { n.set_uplinks({}); };
    // Of IPv6 alone: the kernel heeds such a rule of IPv4's.
    VerdictCase suppressed =
        net.is_ipv6() ? no_way("ByARuleThatSuppressesRoutes", "policy-rule", net, net.web, net.remote)
                      : masqueraded("ByARuleThatSuppressesRoutes", from_web(net),
                                    Packet().ip(net.node, net.remote).tcp(50000, 443).syn().payload("hello"));
    suppressed.prepare = [](TestNode& n) { n.settings().suppressed6 = 1; };
    VerdictCase no_networks =
        dropped("NoNetworkConfiguredIsMasquerade", "fragment", from_web(net).fragment(100, false));
    no_networks.prepare = [](TestNode& n) { n.settings().network4_count = 0, n.settings().network6_count = 1; };
    return {
        dropped("Blackhole", "route", web_to(net, net.special_route(1))),
        no_way("RouteToANonUplink", "no-uplink", net, net.web, net.special_route(4)),
        no_way("RouteIntoATunnel", "no-uplink", net, net.web, net.special_route(5)),
        dropped("UplinkLendsAGatewayAddress", "no-source-address", web_to(net, net.special_route(8))),
        forwarding_off,
        with_pool(dropped("PoolNotConfigured", "ports-exhausted", from_web(net)), 0, 0),
        with_pool(dropped("PoolEndsBeforeItBegins", "ports-exhausted", from_web(net)), 60000, 50000),
        exhausted,
        sctp_taken,
        table_full,
        above_share,
        no_uplinks,
        suppressed,
        no_networks,
    };
}

using MakeRows = std::vector<VerdictCase> (*)(const Net&);

}  // namespace

std::vector<VerdictTable> container_tables() {
    const std::vector<std::pair<std::string, MakeRows>> of_both_families{
        {"Masqueraded", masquerade_cases},
        {"Segments", segment_cases},
        {"Routed", routed_cases},
        {"NonMasquerade", non_masquerade_cases},
        {"HostPrefix", host_prefix_cases},
        {"Isolated", isolated_cases},
        {"FixedSource", fixed_source_cases},
        {"Local", local_cases},
        {"ToTheStack", stack_cases},
        {"RefusedSources", refused_sources},
        {"NotMasqueraded", refused_masquerade},
        {"RefusedRoutes", refused_routes},
    };
    std::vector<VerdictTable> tables;
    for (const Program program : {Program::netkit_peer, Program::veth_ingress}) {
        for (const Net* net : {&ipv4(), &ipv6()}) {
            for (const auto& [name, make_rows] : of_both_families) {
                tables.push_back({program, name, make_rows(*net), net->name});
            }
        }
        tables.push_back({program, "LongHeaders", long_headers(), ""});
        tables.push_back({program, "NeverForwarded", never_forwarded(), ""});
        tables.push_back({program, "Loopback", loopback(), ""});
        tables.push_back({program, "LinkScope", link_scope(), ""});
        tables.push_back({program, "RefusedFrames", refused_frames(), ""});
        tables.push_back({program, "Malformed", malformed_packets(), ""});
        tables.push_back({program, "Fragmentation", fragmentation(), ""});
    }
    return tables;
}

}  // namespace netkitd::test
