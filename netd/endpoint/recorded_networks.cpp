#include "endpoint/recorded_networks.h"

#include <algorithm>

namespace netkitd {

Result<IpPrefix> find_prefix(const Config& config, const EndpointRecord& record, const IpAddr& address) {
    const NetworkConfig* const network = config.find_network(record.network);
    const auto prefixes = network == nullptr ? std::vector<IpPrefix>() : network->prefixes();
    const auto prefix = std::ranges::find_if(prefixes, [&](const IpPrefix& p) { return p.contains(address); });
    if (prefix == prefixes.end()) {
        return fail(
            ErrorKind::refused,
            "endpoint {}: its container {} has {} in network {}, which the configuration does not have any more: "
            "put the network back until its containers are gone",
            record.id, record.members.empty() ? "" : record.members.front().container_id, address.to_string(),
            record.network);
    }
    return *prefix;
}

bool has_pair(const std::vector<link::Device>& devices, const EndpointRecord& record) {
    return std::ranges::any_of(devices, [&](const link::Device& device) {
        return device.ifindex == record.host_ifindex && device.is_host_end();  // somebody may have renamed it
    });
}

Result<void> check_networks(const Config& config, const std::vector<EndpointRecord>& records,
                            const std::vector<link::Device>& devices) {
    for (const EndpointRecord& record : records) {
        if (!has_pair(devices, record)) {
            continue;
        }
        for (const IpAddr& address : record.addresses()) {
            NK_TRY(find_prefix(config, record, address));
        }
    }
    return {};
}

}  // namespace netkitd
