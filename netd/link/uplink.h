// The uplinks of this node: the devices that the outside is reached through.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"
#include "link/device.h"
#include "netlink/socket.h"

namespace netkitd::link {

struct Uplink {
    std::uint32_t ifindex = 0;
    std::string name;
    std::uint32_t mtu = 0;
    std::vector<IpAddr> addresses;  // global scope
    bool is_l3 = false;             // no Ethernet: packets begin with the network header (wireguard, tun, ipip)
    bool is_way_out = false;  // a default route leads by it, of a table that a rule leads to, or what is in its place
    // A bridge of this host's own: only other runtimes' containers and virtual machines are on it.
    bool is_inner_bridge = false;
    std::string unusable;  // empty, or why it cannot be an uplink ("ppp0 has packets of a kind …")

    [[nodiscard]] bool usable() const { return unusable.empty(); }
    bool operator==(const Uplink&) const = default;
};

// `configured` empty: every device that has an address of global scope or a unicast route to others, of any table, or
// is one of `known`, and whose packets are its own: no loopback or dummy device, none that is a part of a bond or
// bridge (a VRF's count). Otherwise those names; one that does not exist yet is left out. Ours (either end of
// netkitd0's pair, the host's ends of containers' pairs) are never uplinks. Ordered by ifindex.
[[nodiscard]] Result<std::vector<Uplink>> discover_uplinks(Netlink& host, const std::vector<std::string>& configured,
                                                           const std::set<std::uint32_t>& known = {});

// Those that the outside at large is reached by: the ways out, or all where there is none. Usable ones only.
[[nodiscard]] std::vector<Uplink> ways_out(const std::vector<Uplink>& uplinks);

// The MTUs below their device's that the kernel heeds when it forwards: of the main table's routes with a locked one,
// and of IPv6 on these uplinks. Sorted, each once.
[[nodiscard]] Result<std::vector<std::uint32_t>> forwarding_mtus(Netlink& host, const std::vector<Uplink>& uplinks);

// Every address that this host has and may use, of any device and scope, sorted.
[[nodiscard]] Result<std::vector<IpAddr>> own_addresses(Netlink& host);
// Those of them that other machines can have routes to: not of a link's or this host's own scope.
[[nodiscard]] Result<std::vector<IpAddr>> addresses_for_others(Netlink& host);

}  // namespace netkitd::link
