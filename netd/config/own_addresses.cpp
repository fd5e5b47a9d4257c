#include "config/own_addresses.h"

#include <algorithm>

namespace netkitd {

bool is_gateway(const Config& config, const IpAddr& address) {
    return std::ranges::any_of(config.prefixes(),
                               [&](const IpPrefix& prefix) { return gateway_of(prefix) == address; });
}

bool is_publish_address(const Config& config, const IpAddr& address) {
    return std::ranges::any_of(config.publish_addresses,
                               [&](const IpPrefix& prefix) { return prefix.contains(address); });
}

}  // namespace netkitd
