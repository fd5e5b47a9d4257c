#include "bpf/packets.h"

#include <netinet/in.h>

#include "harness/prog_run.h"

namespace netkitd::test {

const Net& ipv4() {
    static const Net net{.name = "V4",
                         .web = "10.77.0.2",
                         .db = "10.77.0.3",
                         .routed = "10.88.0.2",
                         .gateway = "10.77.0.1",
                         .nobody = "10.77.0.99",
                         .routed_gateway = "10.88.0.1",
                         .routed_nobody = "10.88.0.99",
                         .node = "203.0.113.2",
                         .other_node = "203.0.113.9",
                         .silent_neighbour = "203.0.113.77",
                         .remote = "198.51.100.1",
                         .other_remote = "198.51.100.2",
                         .special = "192.0.2.",
                         .sysctl_dir = "ipv4",
                         .icmp = IPPROTO_ICMP,
                         .header_size = 20};
    return net;
}

const Net& ipv6() {
    static const Net net{.name = "V6",
                         .web = "2001:db8:77::2",
                         .db = "2001:db8:77::3",
                         .routed = "2001:db8:88::2",
                         .gateway = "2001:db8:77::1",
                         .nobody = "2001:db8:77::99",
                         .routed_gateway = "2001:db8:88::1",
                         .routed_nobody = "2001:db8:88::99",
                         .node = "2001:db8:113::2",
                         .other_node = "2001:db8:113::9",
                         .silent_neighbour = "2001:db8:113::77",
                         .remote = "2001:db8:51::1",
                         .other_remote = "2001:db8:51::2",
                         .special = "2001:db8:2::",
                         .sysctl_dir = "ipv6",
                         .icmp = IPPROTO_ICMPV6,
                         .header_size = 40};
    return net;
}

const std::vector<IcmpType>& icmp_error_types(const Net& net) {
    static const std::vector<IcmpType> v4{{3, 3}, {3, 4}, {3, 13}, {11, 0}, {11, 1}, {12, 0}};
    static const std::vector<IcmpType> v6{{1, 0}, {1, 4}, {2, 0}, {3, 0}, {3, 1}, {4, 1}};
    return net.is_ipv6() ? v6 : v4;
}

namespace {

Packet unreachable(const Net& net, std::uint8_t code, std::string_view from, std::string_view told, const Packet& asked,
                   std::size_t quoted) {
    Packet error = Packet().ip(from, told).icmp(net.is_ipv6() ? 1 : 3, code).icmp_rest(0);
    if (!net.is_ipv6()) {
        error.identification(0);
    }
    return error.quoting(asked, net.header_size + quoted);
}

}  // namespace

Packet address_unreachable(const Net& net, std::string_view from, std::string_view told, const Packet& asked,
                           std::size_t quoted) {
    return unreachable(net, net.is_ipv6() ? 3 : 1, from, told, asked, quoted);
}

Packet no_route_to(const Net& net, std::string_view from, std::string_view told, const Packet& asked,
                   std::size_t quoted) {
    return unreachable(net, 0, from, told, asked, quoted);
}

Packet from_web(const Net& net) {
    return Packet().ip(net.web, net.remote).tcp(50000, 443).syn().payload("hello");
}

Packet from_web_udp(const Net& net) {
    return Packet().ip(net.web, net.remote).udp(50000, 443).payload("hello");
}

Packet from_web_ping(const Net& net) {
    return Packet().ip(net.web, net.remote).echo_request(50000).payload("hello");
}

Packet to_node(const Net& net) {
    return Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, net.node);
}

Packet reply_to_web(const Net& net) {
    return to_node(net).tcp(443, 50000).syn().ack();
}

datapath::Frontend frontend_of_web(const Net& net, std::uint8_t protocol, std::uint16_t port, std::uint16_t web_port) {
    return {.address = std::nullopt,
            .port = port,
            .protocol = protocol,
            .container = IpAddr::parse(net.web).value(),
            .container_port = web_port,
            .endpoint_id = 1};
}

Packet forwarded(Packet packet) {
    return packet.ttl(63);
}

Packet on_the_wire(Packet packet) {
    return forwarded(std::move(packet)).eth(kRouterMac, kUplinkMac);
}

::testing::AssertionResult left_as(const Bytes& sent, const Packet& packet) {
    const std::string was = describe(sent);
    const std::string expected = describe(packet.bytes());
    if (was == expected || was == describe(Packet(packet).eth(kRouterMac, kUplinkMac).bytes())) {
        return ::testing::AssertionSuccess();
    }
    return ::testing::AssertionFailure() << was << "\n  instead of\n" << expected;
}

}  // namespace netkitd::test
