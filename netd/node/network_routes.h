// Gateways and prefix routes of the networks, on the host.
#pragma once

#include "base/result.h"
#include "config/config.h"
#include "netlink/socket.h"
#include "store/store.h"

namespace netkitd {

// Makes those of the configuration, IPv6's only if `ipv6`, and removes what another configuration had made, unless
// containers still are in it. Idempotent.
[[nodiscard]] Result<void> sync_network_routes(link::Netlink& host, Store& store, const Config& config, bool ipv6);

}  // namespace netkitd
