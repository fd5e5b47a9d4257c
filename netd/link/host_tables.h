// The host's routes and addresses, all of them, as the kernel lists them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include <linux/netlink.h>

#include "base/ip_addr.h"
#include "base/result.h"
#include "netlink/socket.h"

namespace netkitd::link {

// Of both families; RT_TABLE_UNSPEC: of every table.
[[nodiscard]] Result<void> for_each_route(Netlink& host, std::uint32_t table,
                                          const std::function<void(const nlmsghdr&)>& handle);

// Who takes all traffic (a VPN) has routes shorter than this in place of a default one: 0.0.0.0/1 and 128.0.0.0/1,
// ::/1 and 8000::/1, 2000::/3.
inline constexpr std::uint8_t kShortestPart = 8;

// Of IPv6, a link's own unicast or any multicast: every host has these on every link.
[[nodiscard]] bool is_link_local(const IpPrefix& prefix);

struct HostAddress {
    IpAddr address;
    IpPrefix link;  // the prefix that the kernel has a route to by it; a peer's, on a point-to-point link
    bool no_prefix_route = false;  // the kernel made no route to that (IFA_F_NOPREFIXROUTE)
    bool deprecated = false;
    bool advertised = false;  // made of what a router advertises (RFC 4862)
};
using AddressMap = std::map<std::uint32_t, std::vector<HostAddress>>;  // by ifindex

// Those that can be used. Scopes are numbered from the universe (linux/rtnetlink.h): up to `narrowest_scope`.
[[nodiscard]] Result<AddressMap> list_addresses(Netlink& host, int narrowest_scope);
// And those that the kernel still asks the link about, whether somebody else has them (RFC 4862, 5.4): all scopes.
[[nodiscard]] Result<AddressMap> list_claimed_addresses(Netlink& host);

}  // namespace netkitd::link
