// What the configuration says of an address of the host's.
#pragma once

#include "base/ip_addr.h"
#include "config/config.h"

namespace netkitd {

// Whether it is the gateway of a network: the host's for its containers alone.
[[nodiscard]] bool is_gateway(const Config& config, const IpAddr& address);
// Whether `services.publish_address` names it.
[[nodiscard]] bool is_publish_address(const Config& config, const IpAddr& address);

}  // namespace netkitd
