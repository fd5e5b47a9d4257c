// Addresses, routes, neighbours and link state of the two ends of an endpoint, and of the node, batched.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"
#include "link/device.h"
#include "netlink/route_protocol.h"
#include "netlink/socket.h"

namespace netkitd::link {

struct ContainerEnd {
    std::uint32_t ifindex = 0;
    std::optional<IpAddr> ipv4;
    std::optional<IpAddr> gateway4;
    std::optional<IpAddr> ipv6;
    std::optional<IpAddr> gateway6;
};
// `lo` up; the host-prefix addresses (v6 with NODAD); up; a link-scope route to the gateway and the default route.
[[nodiscard]] Result<void> configure_container_end(Netlink& container, const ContainerEnd& end);

struct HostEnd {
    std::uint32_t ifindex = 0;
    std::optional<IpAddr> ipv4;      // of the container
    std::optional<IpAddr> gateway4;  // preferred source of the host's own packets to it
    std::optional<IpAddr> ipv6;
    std::optional<IpAddr> gateway6;
    std::optional<MacAddr> peer_mac;  // a permanent neighbour, where the ends have link addresses
};
// Up, and the host's routes to the container. Idempotent: it also puts back what was removed by hand.
[[nodiscard]] Result<void> configure_host_end(Netlink& host, const HostEnd& end);

// What configure_container_end() brought up.
[[nodiscard]] Result<void> take_loopback_down(Netlink& container);

struct HostRoute {
    IpAddr container;
    std::uint32_t ifindex = 0;
    auto operator<=>(const HostRoute&) const = default;
};
// The routes that configure_host_end() made, of all endpoints.
[[nodiscard]] Result<std::set<HostRoute>> list_host_routes(Netlink& host);

// The node's share of a network: the gateway address on lo (host prefix), and an unreachable route for the prefix so
// that packets to an address without a container never follow the default route out. What is there already is left as
// it is, and nobody is notified. Without `gateway` it gets none.
[[nodiscard]] Result<void> ensure_network(Netlink& host, const IpPrefix& prefix, const std::optional<IpAddr>& gateway);
// Without `gateway` that address stays: another network has it too.
[[nodiscard]] Result<void> remove_network(Netlink& host, const IpPrefix& prefix, const std::optional<IpAddr>& gateway);

// One that is not there is not an error.
[[nodiscard]] Result<void> remove_gateway(Netlink& host, const IpAddr& gateway);

}  // namespace netkitd::link
