#include "config/network_config.h"

namespace netkitd {

IpAddr gateway_of(const IpPrefix& prefix) {
    return prefix.address().next();
}

IpAddr NetworkConfig::gateway4() const {
    return gateway_of(ipv4);
}

std::optional<IpAddr> NetworkConfig::gateway6() const {
    return ipv6.transform(gateway_of);
}

std::vector<IpPrefix> NetworkConfig::prefixes() const {
    return ipv6 ? std::vector{ipv4, *ipv6} : std::vector{ipv4};
}

}  // namespace netkitd
