// Gateways and prefix routes of the networks, on the host.
#pragma once

#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "netlink/socket.h"
#include "store/store.h"

namespace netkitd {

// Makes those of the configuration, IPv6's only if `ipv6`, and removes what another configuration had made, unless
// containers still are in it. None of `others_gateways` is made. The first version had the gateways on `lo`,
// from where they are removed. Idempotent.
[[nodiscard]] Result<void> sync_network_routes(link::Netlink& host, Store& store, std::uint32_t host_device,
                                               const Config& config, const std::vector<IpAddr>& others_gateways,
                                               bool ipv6);

}  // namespace netkitd
