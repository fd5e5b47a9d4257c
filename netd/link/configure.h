// Addresses, routes, neighbours and link state of the two ends of an endpoint, and of the node, batched.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"
#include "link/device.h"
#include "link/netlink.h"

namespace netkitd::link {

// rtm_protocol of every route that is ours (`ip route show proto 120`); free in linux/rtnetlink.h and iproute2.
inline constexpr std::uint8_t kRouteProtocol = 120;

struct ContainerEnd {
    std::uint32_t ifindex = 0;
    std::optional<IpAddr> ipv4;
    std::optional<IpAddr> gateway4;
    std::optional<IpAddr> ipv6;
    std::optional<IpAddr> gateway6;
    std::optional<MacAddr> gateway_mac;  // veth: a permanent neighbour, so that no ARP is ever needed
};
// `lo` up; the host-prefix addresses (v6 with NODAD); up; a link-scope route to the gateway and the default route.
[[nodiscard]] Result<void> configure_container_end(Netlink& container, const ContainerEnd& end);

struct HostEnd {
    std::uint32_t ifindex = 0;
    std::optional<IpAddr> ipv4;      // of the container
    std::optional<IpAddr> gateway4;  // preferred source of the host's own packets to it
    std::optional<IpAddr> ipv6;
    std::optional<IpAddr> gateway6;
    std::optional<MacAddr> peer_mac;  // veth: a permanent neighbour
};
// Up, and the host's routes to the container.
[[nodiscard]] Result<void> configure_host_end(Netlink& host, const HostEnd& end);
// Puts back a host route that was deleted by hand; the same call as in configure_host_end, idempotent.
[[nodiscard]] Result<void> ensure_host_routes(Netlink& host, const HostEnd& end);

// The node's share of a network: the gateway address on lo (host prefix), and an unreachable route for the prefix so
// that packets to an address without a container never follow the default route out. Idempotent.
[[nodiscard]] Result<void> ensure_network(Netlink& host, const IpPrefix& prefix, const IpAddr& gateway);
[[nodiscard]] Result<void> remove_network(Netlink& host, const IpPrefix& prefix, const IpAddr& gateway);

}  // namespace netkitd::link
