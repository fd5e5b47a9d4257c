// What the datapath is told of the node (networks, uplinks, the pool of ports), and the flows that only a former pool
// explains.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "datapath/datapath.h"
#include "link/host_device.h"
#include "link/policy_rules.h"
#include "link/uplink.h"
#include "netlink/socket.h"
#include "node/masquerade_sources.h"

namespace netkitd {

class DatapathSettings {
public:
    // Borrows both for its life.
    DatapathSettings(link::Netlink& host, datapath::Datapath& datapath) : host_(host), datapath_(datapath) {}

    // Before apply().
    void heed(const std::vector<link::PolicyRule>& rules);
    // `in_use`: ifindexes of those of the uplinks that containers may send to.
    // `host`: prefixes that are the host's, although in a network's.
    [[nodiscard]] Result<void> apply(const Config& config, const link::HostDevice& device,
                                     const std::vector<MissingSource>& missing, const std::vector<IpPrefix>& host,
                                     const std::vector<link::Uplink>& uplinks,
                                     const std::vector<std::uint32_t>& in_use);
    // Those whose port is not of the pool (any more): replies to it are not looked up. For when no program is left that
    // has the former pool.
    [[nodiscard]] Result<void> end_flows_outside_pool();
    // The preference of a policy rule that suppresses IPv6 routes, if there is one: containers go nowhere by IPv6 then
    // (nk_node.suppressed6).
    [[nodiscard]] const std::optional<std::uint32_t>& suppressing_rule6() const { return suppressing_rule6_; }

private:
    link::Netlink& host_;
    datapath::Datapath& datapath_;
    std::optional<std::uint32_t> suppressing_rule6_;
    std::optional<PortRange> pool_;      // that the datapath has
    std::optional<PortRange> flows_of_;  // the pool that all flows are of
};

}  // namespace netkitd
