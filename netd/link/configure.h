// Addresses, routes and link state of the two ends of an endpoint, and of the node, batched.
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

// The host's end of a container's pair.
[[nodiscard]] Result<void> set_device_up(Netlink& host, std::uint32_t ifindex);

// What configure_container_end() brought up.
[[nodiscard]] Result<void> take_loopback_down(Netlink& container);

// The node's share of a network: the gateway's address (host prefix) and the route to the prefix, both on netkitd0
// (host_device.h), and an unreachable route behind that, so that packets to a container never follow the default route
// out, whatever becomes of the device. What is there already is left as it is, and nobody is notified. Without
// `gateway` it gets none.
[[nodiscard]] Result<void> ensure_network(Netlink& host, std::uint32_t host_device, const IpPrefix& prefix,
                                          const std::optional<IpAddr>& gateway);
// Without `gateway` that address stays: another network has it too.
[[nodiscard]] Result<void> remove_network(Netlink& host, const IpPrefix& prefix, const std::optional<IpAddr>& gateway);

// A route to one container: where its MTU is smaller than the host device's. Those of version 0.1 led to the
// container's own device, which has no MTU then.
struct HostRoute {
    IpAddr container;
    std::uint32_t ifindex = 0;
    std::uint32_t mtu = 0;
    auto operator<=>(const HostRoute&) const = default;
};
[[nodiscard]] Result<void> add_host_route(Netlink& host, const HostRoute& route, const std::optional<IpAddr>& gateway);
// All of ours to that address; none is not an error.
[[nodiscard]] Result<void> remove_host_routes(Netlink& host, const IpAddr& container);
[[nodiscard]] Result<std::set<HostRoute>> list_host_routes(Netlink& host);

// One that is not there is not an error. `ifindex`: netkitd0, or `lo`, where version 0.1 had it.
[[nodiscard]] Result<void> remove_gateway(Netlink& host, std::uint32_t ifindex, const IpAddr& gateway);

}  // namespace netkitd::link
