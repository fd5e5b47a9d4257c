// The node's share of the network, put together: the host's device for containers with gateways and prefix routes, the
// ports that masquerade owns, and uplinks, each with a file of its own in this folder.
//
// sync() makes the kernel agree with the configuration and with what the host looks like now; it is called at start,
// at a reload and, a moment later, for every kernel notification, and may be called any number of times.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "datapath/datapath.h"
#include "link/uplink.h"
#include "netlink/socket.h"
#include "node/big_tcp.h"
#include "node/datapath_settings.h"
#include "node/host_device.h"
#include "node/ipv6_support.h"
#include "node/masquerade_sources.h"
#include "node/port_reservation.h"
#include "node/settle_prefixes.h"
#include "node/uplinks.h"
#include "store/store.h"

namespace netkitd {

// The configuration as this host allows it: what it leaves open (the default network's prefix, the pool of ports) is
// chosen, and what would hurt the host is refused by name. Changes nothing.
[[nodiscard]] Result<Config> settle(link::Netlink& host, Store& store, Config config);

class NodeNetwork {
public:
    // Borrows all three for its life.
    NodeNetwork(link::Netlink& host, datapath::Datapath& datapath, Store& store);

    [[nodiscard]] Result<void> sync(const Config& config);
    [[nodiscard]] Result<void> reserve_published(std::set<std::uint16_t> ports) {
        return ports_.reserve_published(std::move(ports));
    }
    [[nodiscard]] Result<void> end_flows_outside_pool() { return settings_.end_flows_outside_pool(); }

    // As of the last sync.
    [[nodiscard]] const std::vector<link::Uplink>& uplinks() const { return uplinks_.all(); }
    // Names of devices that are none, although the host reaches others by them, as there are too many.
    [[nodiscard]] const std::vector<std::string>& left_out_uplinks() const { return uplinks_.left_out(); }
    [[nodiscard]] const Result<void>& uplink_failure() const { return uplinks_.failure(); }
    // What a container's interface gets when nothing else is asked for: the smallest MTU of the ways out.
    [[nodiscard]] std::uint32_t uplink_mtu() const { return uplinks_.mtu(); }
    // Programs of others on an uplink, beside netkitd's, as of the last sync.
    [[nodiscard]] const std::vector<datapath::ForeignProgram>& foreign_programs() const {
        return uplinks_.foreign_programs();
    }
    // netkitd0's: the largest that a container has unless it asks for more.
    [[nodiscard]] std::uint32_t host_mtu() const { return host_mtu_; }
    // ifindex of netkitd0
    [[nodiscard]] std::uint32_t host_device() const { return host_device_.device().ifindex; }
    // Of what somebody made it a part, or 0.
    [[nodiscard]] std::uint32_t host_device_master() const { return host_device_.device().master; }
    [[nodiscard]] const BigTcp& big_tcp() const { return big_tcp_; }
    [[nodiscard]] const std::vector<MissingSource>& missing_sources() const { return sources_.missing(); }
    // Prefixes of networks that the host has got a use for since.
    [[nodiscard]] const std::vector<Overlap>& overlaps() const { return overlaps_; }
    // What of the networks' prefixes is the host's.
    [[nodiscard]] const std::vector<IpPrefix>& host_prefixes() const { return host_prefixes_; }
    // Gateways that are not made, since a link of the host's has them.
    [[nodiscard]] const std::vector<IpAddr>& gateways_of_links() const { return gateways_of_links_; }
    // Those that the datapath has no room for.
    [[nodiscard]] std::size_t unknown_host_prefixes() const {
        return host_prefixes_.size() - known_host_prefixes_.size();
    }
    [[nodiscard]] const std::optional<std::uint32_t>& suppressing_rule6() const {
        return settings_.suppressing_rule6();
    }
    // Empty, or why containers get no IPv6 on this host although a network has it.
    [[nodiscard]] const std::string& no_ipv6() const { return ipv6_.obstacle(); }

private:
    [[nodiscard]] Result<void> sync_uplinks(const Config& config);

    link::Netlink& host_;
    Store& store_;
    MasqueradeSources sources_;
    Uplinks uplinks_;
    HostDevice host_device_;
    std::uint32_t host_mtu_ = 0;
    DatapathSettings settings_;
    Ipv6Support ipv6_;
    PortReservation ports_;
    BigTcp big_tcp_;
    std::vector<Overlap> overlaps_;
    std::vector<IpPrefix> host_prefixes_;
    std::vector<IpPrefix> known_host_prefixes_;  // to the datapath
    std::vector<IpAddr> gateways_of_links_;
};

}  // namespace netkitd
