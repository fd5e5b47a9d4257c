#include "node/ipv6_support.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "node/ipv6_forwarding.h"

namespace netkitd {
namespace {

// What is on a bridge of this host's own must not become its router.
std::set<std::string> names_of_ways_out(const std::vector<link::Uplink>& uplinks) {
    std::set<std::string> names;
    for (const link::Uplink& uplink : link::ways_out(uplinks)) {
        if (!uplink.is_inner_bridge) {
            names.insert(uplink.name);
        }
    }
    return names;
}

}  // namespace

bool has_ipv6(const Config& config) {
    return std::ranges::any_of(config.networks, [](const NetworkConfig& network) { return network.ipv6.has_value(); });
}

Result<void> Ipv6Support::sync(const Config& config, const std::vector<link::Uplink>& uplinks) {
    obstacle_.clear();
    if (!has_ipv6(config)) {
        return {};
    }
    obstacle_ = NK_TRY(why_no_ipv6());
    if (!obstacle_.empty()) {
        return {};
    }
    std::set<std::string> devices = names_of_ways_out(uplinks);
    if (!config.uplinks.empty()) {
        // A default route may also lead out of a device that is no uplink.
        devices.merge(names_of_ways_out(NK_TRY(link::discover_uplinks(host_, {}))));
    }
    NK_TRY(keep_default_routes(store_, devices));
    return NK_TRY(kernel_forwards_by_device()) ? Result<void>() : forward_everywhere(store_);
}

}  // namespace netkitd
