#include "node/ipv6_support.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "node/ipv6_forwarding.h"

namespace netkitd {

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
    std::set<std::string> devices;
    std::ranges::transform(link::ways_out(uplinks), std::inserter(devices, devices.end()), &link::Uplink::name);
    if (!config.uplinks.empty()) {
        // A default route may also lead out of a device that is no uplink.
        std::ranges::transform(link::ways_out(NK_TRY(link::discover_uplinks(host_, {}))),
                               std::inserter(devices, devices.end()), &link::Uplink::name);
    }
    NK_TRY(keep_default_routes(store_, devices));
    return NK_TRY(kernel_forwards_by_device()) ? Result<void>() : forward_everywhere(store_);
}

}  // namespace netkitd
