// What of the address space is the host's: its addresses, and what it has routes to.
#pragma once

#include <linux/rtnetlink.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"
#include "netlink/socket.h"

namespace netkitd::link {

struct HostPrefix {
    IpPrefix prefix;         // of an address: /32, /128
    bool connected = false;  // an address, or a route to a link of the host's, which is at least kShortestPart long
    // Made of what a router says of itself on a link, IPv6's, which anybody there can (RFC 4861, section 11): it is not
    // an administrator's will, and no claim against networks and containers.
    bool advertised = false;
    std::uint32_t table = RT_TABLE_MAIN;  // of routes
    std::string text;                     // "the route 10.0.0.0/8 by eth0", for messages
    auto operator<=>(const HostPrefix&) const = default;
};

// Without default routes, link-local ones, and what is netkitd's own: routes of kRouteProtocol, and `gateways` on lo or
// netkitd0. Each once, single addresses first.
[[nodiscard]] Result<std::vector<HostPrefix>> list_host_prefixes(Netlink& host, std::span<const IpAddr> gateways);

}  // namespace netkitd::link
