// ICMP errors about masqueraded flows, in either direction.
#include <linux/if_ether.h>
#include <netinet/in.h>

#include <gtest/gtest.h>

#include <array>

#include "base/format.h"
#include "bpf/packets.h"
#include "bpf/verdict_table.h"

namespace netkitd::test {
namespace {

using Counted = std::map<std::string, std::uint64_t>;

constexpr std::uint16_t kPort = 50000;      // or echo id, as the outside sees it
constexpr std::uint16_t kOtherPort = 1000;  // as the container has it, if the port was changed
constexpr std::uint8_t kRedirect = 5;
const Counted kTranslated{{"icmp-error", 1}};

bool is_v4(const Net& net) {
    return net.name == "V4";
}

IcmpType time_exceeded(const Net& net) {
    return is_v4(net) ? IcmpType{11, 0} : IcmpType{3, 0};
}

IcmpType port_unreachable(const Net& net) {
    return is_v4(net) ? IcmpType{3, 3} : IcmpType{1, 4};
}

Packet of_protocol(Packet packet, std::uint8_t protocol, std::uint16_t source_port, std::uint16_t destination_port) {
    switch (protocol) {
        case IPPROTO_TCP:
            return packet.tcp(source_port, destination_port).syn();
        case IPPROTO_UDP:
            return packet.udp(source_port, destination_port).payload("hello");
        case IPPROTO_UDPLITE:
            return packet.udplite(source_port, destination_port, 8).payload("hello");
        case IPPROTO_SCTP:
            return packet.sctp(source_port, destination_port, 0).payload("hello");
        default:
            return packet.echo_request(source_port).payload("hello");
    }
}

// What a flow of web's sends: as the outside sees it, and as it was.
Packet sent(const Net& net, std::uint8_t protocol = IPPROTO_UDP) {
    return of_protocol(Packet().ip(net.node, net.remote).ttl(1), protocol, kPort, 443);
}
Packet sent_by_web(const Net& net, std::uint16_t port, std::uint8_t protocol = IPPROTO_UDP) {
    return of_protocol(Packet().ip(net.web, net.remote).ttl(1), protocol, port, 443);
}
// What it receives: as it came from the outside, and as web got it.
Packet received(const Net& net) {
    return Packet().ip(net.remote, net.node).ttl(50).udp(443, kPort).payload("answer");
}
Packet received_by_web(const Net& net, std::uint16_t port) {
    return Packet().ip(net.remote, net.web).ttl(50).udp(443, port).payload("answer");
}

// From a router outside.
Packet error_to(const Net& net, const std::string& address, IcmpType icmp) {
    return Packet().eth(kUplinkMac, kRouterMac).ip(net.other_remote, address).icmp(icmp.type, icmp.code);
}
Packet error_to_node(const Net& net) {
    return error_to(net, net.node, time_exceeded(net));
}
// From web, about what it received from the remote.
Packet error_from_web(const Net& net) {
    const IcmpType icmp = port_unreachable(net);
    return Packet().ip(net.web, net.remote).icmp(icmp.type, icmp.code);
}

VerdictCase with_flow(const Net& net, VerdictCase row, std::uint8_t protocol = IPPROTO_UDP,
                      std::uint16_t source_port = kPort, Stage stage = Stage::established) {
    return with_flow(net, std::move(row), stage, protocol, source_port);
}

// A TCP connection that got no reply yet.
VerdictCase with_new_connection(const Net& net, VerdictCase row, std::uint32_t endpoint_id = 1) {
    row.prepare = [=](TestNode& node) {
        const auto inserted = node.insert(
            Stage::fresh,
            Flow{.source = net.web, .destination = net.remote, .translated = net.node, .endpoint_id = endpoint_id});
        EXPECT_TRUE(inserted) << inserted.error().message();
    };
    return row;
}

VerdictCase row_of(std::string name, std::string device, Verdict verdict, Counted counted, Packet packet) {
    VerdictCase row;
    row.name = std::move(name);
    row.device = std::move(device);
    row.packet = std::move(packet);
    row.verdict = verdict;
    row.counted = std::move(counted);
    return row;
}

VerdictCase delivered(std::string name, const Packet& packet, Packet becomes) {
    VerdictCase row = row_of(std::move(name), "eth0", Verdict::redirect, kTranslated, packet);
    row.becomes = becomes.ttl(63);
    return row;
}

VerdictCase left_to_the_host(std::string name, const Packet& packet) {
    return row_of(std::move(name), "eth0", Verdict::pass, {}, packet);
}

std::vector<VerdictCase> every_type_inbound(const Net& net) {
    const std::array<std::uint8_t, 5> protocols{IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP, net.icmp};
    std::vector<VerdictCase> rows;
    for (const IcmpType icmp : icmp_error_types(net)) {
        for (const std::uint8_t protocol : protocols) {
            for (const std::uint16_t port : {kPort, kOtherPort}) {
                if (protocol == IPPROTO_SCTP && port != kPort) {
                    continue;  // that keeps its port
                }
                rows.push_back(
                    with_flow(net,
                              delivered(formatted("Type{}Code{}Protocol{}Port{}", icmp.type, icmp.code, protocol, port),
                                        error_to(net, net.node, icmp).quoting(sent(net, protocol)),
                                        error_to(net, net.web, icmp).quoting(sent_by_web(net, port, protocol))),
                              protocol, port));
            }
        }
    }
    return rows;
}

// How much is quoted, and what stands before and behind it.
std::vector<VerdictCase> quotes_inbound(const Net& net) {
    const auto quote = [&](std::string name, std::uint8_t protocol, const Packet& outside, const Packet& inside,
                           std::size_t size) {
        return with_flow(net,
                         delivered(std::move(name), error_to_node(net).quoting(outside, size),
                                   error_to(net, net.web, time_exceeded(net)).quoting(inside, size)),
                         protocol, kOtherPort);
    };
    const std::size_t header = net.header_size;
    std::vector<VerdictCase> rows;
    // Up to the ports, up to the checksum, to its end, to the header's end, more than there is.
    for (const std::size_t size : {header + 8, header + 16, header + 18, header + 20, header + 100}) {
        rows.push_back(quote(formatted("TcpOf{}Bytes", size), IPPROTO_TCP, sent(net, IPPROTO_TCP),
                             sent_by_web(net, kOtherPort, IPPROTO_TCP), size));
    }
    for (const std::uint8_t protocol : {std::uint8_t{IPPROTO_UDP}, net.icmp}) {
        rows.push_back(quote(formatted("Protocol{}Of8Bytes", protocol), protocol, sent(net, protocol),
                             sent_by_web(net, kOtherPort, protocol), header + 8));
    }
    rows.push_back(quote("UdpWithoutChecksum", IPPROTO_UDP, sent(net).without_udp_checksum(),
                         sent_by_web(net, kOtherPort).without_udp_checksum(), 100));
    rows.push_back(quote("OfAFirstFragment", IPPROTO_UDP, sent(net).fragment(0, true),
                         sent_by_web(net, kOtherPort).fragment(0, true), 100));
    if (is_v4(net)) {
        rows.push_back(quote("WithIpOptions", IPPROTO_UDP, sent(net).ip_options(Bytes(40, 1)),
                             sent_by_web(net, kOtherPort).ip_options(Bytes(40, 1)), 100));
    } else {
        rows.push_back(
            quote("WithExtensions", IPPROTO_UDP, sent(net).extension(IPPROTO_HOPOPTS, 8).extension(IPPROTO_DSTOPTS, 24),
                  sent_by_web(net, kOtherPort).extension(IPPROTO_HOPOPTS, 8).extension(IPPROTO_DSTOPTS, 24), 200));
    }
    return rows;
}

std::vector<VerdictCase> stages_inbound(const Net& net) {
    const Packet tcp = error_to_node(net).quoting(sent(net, IPPROTO_TCP));
    const auto to_web = [&](std::uint8_t protocol) {
        return error_to(net, net.web, time_exceeded(net)).quoting(sent_by_web(net, kPort, protocol));
    };
    VerdictCase expired = row_of("ErrorsTtlUsedUp", "eth0", Verdict::drop, {{"ttl-expired", 1}},
                                 error_to_node(net).quoting(sent(net)).ttl(1));
    VerdictCase from_db = row_of("FromAContainersAddress", "eth0", Verdict::drop, {{"unsolicited", 1}},
                                 Packet()
                                     .eth(kUplinkMac, kRouterMac)
                                     .ip(net.db, net.node)
                                     .icmp(time_exceeded(net).type, time_exceeded(net).code)
                                     .quoting(sent(net)));
    VerdictCase with_options = delivered("BehindOptions", Packet(tcp), to_web(IPPROTO_TCP));
    if (is_v4(net)) {
        with_options.packet.ip_options({1, 1, 1, 0});
        with_options.becomes->ip_options({1, 1, 1, 0});
    } else {
        with_options.packet.extension(IPPROTO_DSTOPTS, 16);
        with_options.becomes->extension(IPPROTO_DSTOPTS, 16);
    }
    return {
        with_flow(net, delivered("AboutAFlowWithoutReply", error_to_node(net).quoting(sent(net)), to_web(IPPROTO_UDP)),
                  IPPROTO_UDP, kPort, Stage::fresh),
        with_new_connection(net, delivered("AboutAConnectionThatBegins", tcp, to_web(IPPROTO_TCP))),
        with_flow(net, expired),
        with_flow(net, from_db),
        with_flow(net, with_options, IPPROTO_TCP),
    };
}

// The host's own, and what cannot be about a flow of ours.
std::vector<VerdictCase> passed_inbound(const Net& net) {
    const auto about = [&](const char* name, const Packet& quoted, std::size_t size = 1200) {
        return with_flow(net, left_to_the_host(name, error_to_node(net).quoting(quoted, size)));
    };
    const Packet ours = error_to_node(net).quoting(sent(net));
    std::vector<VerdictCase> rows{
        left_to_the_host("AboutNoFlow", ours),
        about("AboutAPortOfTheHost", Packet().ip(net.node, net.remote).udp(400, 443)),
        about("AboutAnotherRemote", Packet().ip(net.node, net.other_remote).udp(kPort, 443)),
        about("AboutAnotherRemotePort", Packet().ip(net.node, net.remote).udp(kPort, 444)),
        about("AboutAnotherProtocol", sent(net, IPPROTO_TCP)),
        about("AboutAnEchoReply", Packet().ip(net.node, net.remote).echo_reply(kPort)),
        about("AboutAnIcmpErrorOfTheHost", Packet().ip(net.node, net.remote).icmp(3, 1)),
        about("AboutAProtocolWithoutPorts", Packet().ip(net.node, net.remote).protocol(IPPROTO_GRE).payload(20)),
        about("AboutAPacketOfAnotherNode", Packet().ip(net.other_node, net.remote).udp(kPort, 443)),
        about("PortsNotQuoted", sent(net), net.header_size + 7U),
        about("IpHeaderNotQuoted", sent(net), net.header_size - 1U),
        about("NothingQuoted", sent(net), 0),
        about("QuoteOfAnotherIpVersion", sent(net).ip_version(7)),
        about("AboutALaterFragment", sent(net).fragment(100, true)),
        with_flow(net, left_to_the_host("InAFragment", Packet(ours).fragment(0, true))),
        with_flow(net, left_to_the_host("ErrorIsCut", Packet(ours).ip_total_length(7 + (is_v4(net) ? 20 : 0)))),
    };
    if (is_v4(net)) {
        rows.push_back(about("QuotedHeaderTooShort", sent(net).ip_header_words(4)));
        rows.push_back(about("QuotedHeaderLongerThanTheQuote", sent(net).ip_header_words(15)));
        rows.push_back(
            with_flow(net, left_to_the_host("Redirect", error_to(net, net.node, {kRedirect, 1}).quoting(sent(net)))));
    } else {
        rows.push_back(
            about("ExtensionsTooLong", sent(net).extension(IPPROTO_DSTOPTS, 200).extension(IPPROTO_DSTOPTS, 8)));
    }
    return rows;
}

VerdictCase masqueraded(std::string name, Packet packet, Packet becomes) {
    VerdictCase row = row_of(std::move(name), "nkweb", Verdict::redirect, kTranslated, std::move(packet));
    row.becomes = forwarded(std::move(becomes));
    return row;
}

std::vector<VerdictCase> outbound(const Net& net) {
    std::vector<VerdictCase> rows;
    for (const IcmpType icmp : icmp_error_types(net)) {
        for (const std::uint16_t port : {kPort, kOtherPort}) {
            rows.push_back(with_flow(
                net,
                masqueraded(
                    formatted("Type{}Code{}Port{}", icmp.type, icmp.code, port),
                    Packet().ip(net.web, net.remote).icmp(icmp.type, icmp.code).quoting(received_by_web(net, port)),
                    Packet().ip(net.node, net.remote).icmp(icmp.type, icmp.code).quoting(received(net))),
                IPPROTO_UDP, port));
        }
    }
    const IcmpType icmp = port_unreachable(net);
    const auto from_node = [&](const Packet& quoted) {
        return Packet().ip(net.node, net.remote).icmp(icmp.type, icmp.code).quoting(quoted);
    };
    const auto tcp_from_remote = [&](const std::string& to) {
        return Packet().ip(net.remote, to).tcp(443, kPort).rst();
    };
    const auto echo_reply = [&](const std::string& to, std::uint16_t id) {
        return Packet().ip(net.remote, to).echo_reply(id);
    };
    rows.push_back(
        with_flow(net,
                  masqueraded("AboutAFlowWithoutReply", error_from_web(net).quoting(received_by_web(net, kOtherPort)),
                              from_node(received(net))),
                  IPPROTO_UDP, kOtherPort, Stage::fresh));
    rows.push_back(with_new_connection(
        net, masqueraded("AboutAConnectionThatBegins", error_from_web(net).quoting(tcp_from_remote(net.web)),
                         from_node(tcp_from_remote(net.node)))));
    rows.push_back(
        with_flow(net,
                  masqueraded("AboutAnEchoReply", error_from_web(net).quoting(echo_reply(net.web, kOtherPort)),
                              from_node(echo_reply(net.node, kPort))),
                  net.icmp, kOtherPort));
    return rows;
}

std::vector<VerdictCase> refused_outbound(const Net& net) {
    const auto dropped = [&](const char* name, const char* reason, const Packet& quoted, std::size_t size = 1200) {
        return with_flow(
            net, row_of(name, "nkweb", Verdict::drop, {{reason, 1}}, error_from_web(net).quoting(quoted, size)));
    };
    const Packet ours = received_by_web(net, kPort);
    VerdictCase no_flow = dropped("AboutNoFlow", "no-flow", ours);
    no_flow.prepare = nullptr;
    VerdictCase other_endpoint =
        with_new_connection(net,
                            row_of("AboutAConnectionOfAnEndpointThatIsGone", "nkweb", Verdict::drop, {{"no-flow", 1}},
                                   error_from_web(net).quoting(Packet().ip(net.remote, net.web).tcp(443, kPort))),
                            7);
    return {
        no_flow,
        other_endpoint,
        dropped("AboutAnotherPort", "no-flow", received_by_web(net, 1)),
        dropped("AboutAnotherRemote", "no-flow", Packet().ip(net.other_remote, net.web).udp(443, kPort)),
        dropped("AboutAnotherContainer", "no-flow", Packet().ip(net.remote, net.db).udp(443, kPort)),
        dropped("AboutALaterFragment", "fragment", Packet(ours).fragment(100, true)),
        dropped("AboutAnotherProtocol", "protocol", Packet().ip(net.remote, net.web).protocol(IPPROTO_GRE).payload(9)),
        dropped("PortsNotQuoted", "malformed", ours, net.header_size + 7U),
        dropped("NothingQuoted", "malformed", ours, 0),
    };
}

// To the host, another container, or from a routed network: nothing is translated, and they believe what they are told.
std::vector<VerdictCase> untranslated(const Net& net) {
    const auto error = [&](const std::string& from, const std::string& to) {
        return Packet().ip(from, to).icmp(port_unreachable(net).type, port_unreachable(net).code);
    };
    const auto quoted = [](const std::string& from, const std::string& to) {
        return Packet().ip(from, to).udp(443, kPort).payload("answer");
    };
    const auto dropped = [&](const char* name, const char* reason, const Packet& packet, const char* device = "nkweb") {
        return row_of(name, device, Verdict::drop, {{reason, 1}}, packet);
    };
    const auto goes_on = [](const char* name, const char* device, const Packet& packet, Packet becomes) {
        VerdictCase row = row_of(name, device, Verdict::redirect, {}, packet);
        row.becomes = std::move(becomes);
        return row;
    };
    const Packet to_host = error(net.web, net.gateway).quoting(quoted(net.gateway, net.web));
    const Packet to_db = error(net.web, net.db).quoting(quoted(net.db, net.web));
    const Packet to_remote = error(net.routed, net.remote).quoting(quoted(net.remote, net.routed));
    return {
        row_of("ToTheHostAboutWhatItSent", "nkweb", Verdict::redirect, {{"stack-host", 1}}, to_host),
        goes_on("ToAnotherContainerAboutWhatItSent", "nkweb", to_db,
                Packet(to_db).eth(kContainerMac, kHostEndMac).ttl(63)),
        goes_on("FromARoutedNetwork", "nkrouted", to_remote, forwarded(to_remote)),
        dropped("ToTheHostAboutWhatItSentToAnother", "no-flow",
                error(net.web, net.gateway).quoting(quoted(net.gateway, net.remote))),
        dropped("ToTheHostAboutWhatAnotherSent", "no-flow",
                error(net.web, net.gateway).quoting(quoted(net.node, net.web))),
        dropped("ToAnotherContainerAboutWhatItSentToTheOutside", "no-flow",
                error(net.web, net.db).quoting(quoted(net.db, net.remote))),
        dropped("FromARoutedNetworkAboutWhatWasNotForIt", "no-flow",
                error(net.routed, net.remote).quoting(quoted(net.remote, net.node)), "nkrouted"),
        dropped("ToTheHostInAFragment", "fragment", Packet(to_host).fragment(0, true)),
        dropped("ToTheHostWithoutAQuote", "malformed", error(net.web, net.gateway)),
    };
}

// What nobody reads may be any error.
std::vector<VerdictCase> unreadable() {
    const Net& net = ipv6();
    const auto dropped = [](const char* name, const Packet& packet) {
        return row_of(name, "nkweb", Verdict::drop, {{"protocol", 1}}, packet);
    };
    const auto behind = [&](const std::string& to, int extensions, std::size_t size) {
        Packet packet = Packet().ip(net.web, to).icmp(2, 0).quoting(Packet().ip(to, net.remote).udp(443, kPort));
        for (int i = 0; i < extensions; i++) {
            packet.extension(IPPROTO_DSTOPTS, size);
        }
        return packet;
    };
    const Packet cut =
        Packet().ip(net.web, net.db).fragment(0, true).extension(IPPROTO_DSTOPTS, 8).protocol(IPPROTO_DSTOPTS);
    return {
        dropped("ToAnotherContainer", behind(net.db, 5, 8)),
        dropped("ToTheGateway", behind(net.gateway, 5, 8)),
        dropped("ToTheNode", behind(net.node, 5, 8)),
        dropped("FarBehind", behind(net.db, 1, 240)),
        dropped("BeyondAFirstFragment", cut),
    };
}

}  // namespace

std::vector<VerdictTable> icmp_error_tables() {
    std::vector<VerdictTable> tables;
    for (const Net* net : {&ipv4(), &ipv6()}) {
        tables.push_back({Program::uplink_ingress, "IcmpErrorTypes", every_type_inbound(*net), net->name});
        tables.push_back({Program::uplink_ingress, "IcmpErrorQuotes", quotes_inbound(*net), net->name});
        tables.push_back({Program::uplink_ingress, "IcmpErrorStages", stages_inbound(*net), net->name});
        tables.push_back({Program::uplink_ingress, "IcmpErrorsPassed", passed_inbound(*net), net->name});
        for (const Program program : {Program::netkit_peer, Program::veth_ingress}) {
            tables.push_back({program, "IcmpErrors", outbound(*net), net->name});
            tables.push_back({program, "RefusedIcmpErrors", refused_outbound(*net), net->name});
            tables.push_back({program, "UntranslatedIcmpErrors", untranslated(*net), net->name});
            if (!is_v4(*net)) {
                tables.push_back({program, "UnreadableIcmpErrors", unreadable(), net->name});
            }
        }
    }
    return tables;
}

}  // namespace netkitd::test
