// The node's share of the network: gateways and prefix routes, the ports that masquerade owns, and the uplinks.
//
// sync() makes the kernel agree with the configuration and with what the host looks like now; it is called at start,
// at a reload and, a moment later, for every kernel notification, and may be called any number of times.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "datapath/datapath.h"
#include "config/config.h"
#include "store/store.h"
#include "link/device.h"
#include "netlink/socket.h"
#include "link/uplink.h"
#include "node/big_tcp.h"

namespace netkitd {

class NodeNetwork {
public:
    // Borrows all three for its life.
    NodeNetwork(link::Netlink& host, datapath::Datapath& datapath, Store& store)
        : host_(host), datapath_(datapath), store_(store), big_tcp_(host, store) {}

    [[nodiscard]] Result<void> sync(const Config& config);
    // Those whose port is not of the masquerade pool (any more): replies to it are not looked up. For when no program
    // is left that has the former pool.
    [[nodiscard]] Result<void> end_flows_outside_pool();

    // As of the last sync.
    [[nodiscard]] const std::vector<link::Uplink>& uplinks() const { return uplinks_; }
    // What a container's interface gets when nothing else is asked for: the smallest MTU of the uplinks.
    [[nodiscard]] std::uint32_t uplink_mtu() const;
    // Programs of others on an uplink, beside netkitd's, as of the last sync.
    [[nodiscard]] const std::vector<datapath::ForeignProgram>& foreign_programs() const { return foreign_programs_; }
    [[nodiscard]] const BigTcp& big_tcp() const { return big_tcp_; }
    // Networks whose address to masquerade with is not (yet) the host's, as of the last sync: their new flows are
    // dropped.
    struct MissingSource {
        std::string network;
        IpAddr address;
    };
    [[nodiscard]] const std::vector<MissingSource>& missing_sources() const { return missing_sources_; }
    // Empty, or why containers get no IPv6 on this host although a network has it.
    [[nodiscard]] const std::string& no_ipv6() const { return no_ipv6_; }

private:
    [[nodiscard]] Result<void> sync_ipv6(const Config& config);
    [[nodiscard]] Result<void> sync_networks(const Config& config);
    [[nodiscard]] Result<void> remove_former_networks(const Config& config, const std::vector<NetworkRecord>& made);
    [[nodiscard]] Result<void> reserve_ports(const PortRange& ports);
    [[nodiscard]] Result<void> sync_sources(const Config& config);
    [[nodiscard]] Result<void> sync_uplinks(const Config& config);
    [[nodiscard]] Result<void> configure(const Config& config, const std::vector<std::uint32_t>& uplinks);
    [[nodiscard]] Result<void> attach_uplink(const link::Uplink& uplink);
    [[nodiscard]] Result<std::vector<link::Device>> devices_to_guard(const Config& config,
                                                                     const std::vector<std::uint32_t>& usable) const;
    [[nodiscard]] Result<void> attach_guards(const Config& config, const std::vector<std::uint32_t>& usable);
    [[nodiscard]] Result<void> attach_guard(const link::Device& device);
    [[nodiscard]] Result<void> detach_former_uplinks(const std::vector<std::uint32_t>& usable);

    link::Netlink& host_;
    datapath::Datapath& datapath_;
    Store& store_;
    BigTcp big_tcp_;
    std::vector<link::Uplink> uplinks_;
    std::vector<datapath::ForeignProgram> foreign_programs_;
    std::vector<MissingSource> missing_sources_;
    std::string no_ipv6_;
    std::optional<PortRange> reserved_;  // what was merged into ip_local_reserved_ports
    std::string reserved_ports_sysctl_;  // and what the kernel made of it
    std::set<std::uint32_t> attached_;   // uplinks that have this daemon's programs
    std::set<std::uint32_t> guards_;     // other devices that have, or ought to have, them too
    std::set<std::uint32_t> unguarded_;  // those of them that refused, which was said
    std::optional<PortRange> pool_;      // that the datapath has
    std::optional<PortRange> flows_of_;  // the pool that all flows are of
};

}  // namespace netkitd
