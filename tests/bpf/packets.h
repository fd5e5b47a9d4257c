// The addresses of the test node (harness/prog_run.h), for either family, and packets that many tests need.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "datapath/frontends.h"
#include "harness/packet.h"

namespace netkitd::test {

// The same situation in IPv4 and in IPv6.
struct Net {
    std::string name;
    std::string web;
    std::string db;
    std::string routed;
    std::string gateway;
    std::string nobody;  // in the prefix of web and db
    std::string routed_gateway;
    std::string routed_nobody;
    std::string node;
    std::string other_node;        // that a test may add
    std::string silent_neighbour;  // on the uplink's link, its MAC unknown
    std::string remote;            // far outside
    std::string other_remote;
    std::string special;  // add a digit: the destinations of prog_run.cpp's special routes
    std::string sysctl_dir;
    std::uint8_t icmp = 0;
    std::uint8_t header_size = 0;

    [[nodiscard]] bool is_ipv6() const { return header_size == 40; }
    // A prefix that holds nothing but the remote.
    [[nodiscard]] std::string only_remote() const { return remote + (is_ipv6() ? "/128" : "/32"); }
    [[nodiscard]] std::string special_route(int number) const { return special + std::to_string(number); }
};
[[nodiscard]] const Net& ipv4();
[[nodiscard]] const Net& ipv6();

struct IcmpType {
    std::uint8_t type = 0;
    std::uint8_t code = 0;
};
// RFC 792: unreachable (port, frag needed, prohibited), time exceeded, parameter problem; RFC 4443 likewise.
[[nodiscard]] const std::vector<IcmpType>& icmp_error_types(const Net& net);

// What who asks for an address is told when nobody has it, or no way leads there: `asked` is the packet, of which
// `quoted` bytes behind the IP header come back.
[[nodiscard]] Packet address_unreachable(const Net& net, std::string_view from, std::string_view told,
                                         const Packet& asked, std::size_t quoted);
[[nodiscard]] Packet no_route_to(const Net& net, std::string_view from, std::string_view told, const Packet& asked,
                                 std::size_t quoted);

// A port of web's, by that one of all the node's addresses.
[[nodiscard]] datapath::Frontend frontend_of_web(const Net& net, std::uint8_t protocol, std::uint16_t port,
                                                 std::uint16_t web_port);

// From web, as it sends them.
[[nodiscard]] Packet from_web(const Net& net);
[[nodiscard]] Packet from_web_udp(const Net& net);
[[nodiscard]] Packet from_web_ping(const Net& net);
// From the remote to the node, as the router sends it.
[[nodiscard]] Packet to_node(const Net& net);
[[nodiscard]] Packet reply_to_web(const Net& net);

// What comes out of a container's program: the kernel writes the Ethernet header.
[[nodiscard]] Packet forwarded(Packet packet);
// The same, if the flow knew the way to the router.
[[nodiscard]] Packet on_the_wire(Packet packet);
// Whether what was sent is `packet`, either of these two ways: the clock may tick just before any packet, which then
// asks for its way anew.
[[nodiscard]] ::testing::AssertionResult left_as(const Bytes& sent, const Packet& packet);

}  // namespace netkitd::test
