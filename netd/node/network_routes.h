// Gateways and prefix routes of the networks, on the host.
#pragma once

#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "netlink/socket.h"
#include "store/store.h"

namespace netkitd {

// Makes those of the configuration, IPv6's only if `ipv6`, and removes what another configuration had made, unless
// containers still are in it. None of `others_gateways` is made. Idempotent.
[[nodiscard]] Result<void> sync_network_routes(link::Netlink& host, Store& store, const Config& config,
                                               const std::vector<IpAddr>& others_gateways, bool ipv6);

}  // namespace netkitd
