#include "node/network_routes.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/format.h"
#include "base/log.h"
#include "link/configure.h"

namespace netkitd {
namespace {

Result<bool> has_endpoints(Store& store, const NetworkRecord& former, const std::vector<IpPrefix>& wanted) {
    const auto in_former = [&](const IpAddr& address) {
        return former.prefix.contains(address) &&
               std::ranges::none_of(wanted, [&](const IpPrefix& prefix) { return prefix.contains(address); });
    };
    return std::ranges::any_of(NK_TRY(store.endpoints()), [&](const EndpointRecord& record) {
        return std::ranges::any_of(record.addresses(), in_former);
    });
}

Result<void> remove_former_networks(link::Netlink& host, Store& store, const std::vector<IpPrefix>& wanted,
                                    const std::vector<NetworkRecord>& made) {
    for (const NetworkRecord& former : made) {
        if (std::ranges::contains(wanted, former.prefix) || NK_TRY(has_endpoints(store, former, wanted))) {
            continue;
        }
        const bool gateway_stays = std::ranges::contains(wanted, former.gateway, gateway_of);
        NK_TRY(link::remove_network(host, former.prefix, gateway_stays ? std::nullopt : std::optional(former.gateway)));
        NK_TRY(store.forget_network(former.prefix));
        log(LogLevel::notice, "network {} is not configured any more: its gateway and route are removed",
            former.prefix.to_string());
    }
    return {};
}

}  // namespace

Result<void> sync_network_routes(link::Netlink& host, Store& store, std::uint32_t host_device, const Config& config,
                                 const std::vector<IpAddr>& others_gateways, bool ipv6) {
    const std::vector<NetworkRecord> made = NK_TRY(store.networks());
    NK_TRY(remove_former_networks(host, store, config.prefixes(), made));
    for (const NetworkConfig& network : config.networks) {
        for (const IpPrefix& prefix : network.prefixes()) {
            if (!prefix.address().is_v4() && !ipv6) {
                continue;
            }
            const NetworkRecord record{.prefix = prefix, .gateway = gateway_of(prefix)};
            if (!std::ranges::contains(made, record)) {
                NK_TRY(store.record_network(record));
            }
            const bool is_others = std::ranges::contains(others_gateways, record.gateway);
            const std::string context = formatted("network {}", network.name);
            NK_TRY_CONTEXT(context, link::ensure_network(host, host_device, prefix,
                                                         is_others ? std::nullopt : std::optional(record.gateway)));
            NK_TRY_CONTEXT(context, link::remove_gateway(host, link::kLoopbackIfindex, record.gateway));
            if (is_others) {
                NK_TRY_CONTEXT(context, link::remove_gateway(host, host_device, record.gateway));
            }
        }
    }
    return {};
}

}  // namespace netkitd
