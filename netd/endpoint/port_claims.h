// Who has the ports of the host's that a container wants to publish.
#pragma once

#include <vector>

#include "base/published_port.h"
#include "base/result.h"
#include "config/config.h"
#include "endpoint/endpoint_table.h"
#include "endpoint/plumbing.h"

namespace netkitd {

// Refused where another container or a program of the host's has one of them, by its name, or a connection of the
// host's own; or where an address is not the host's. (Those that it may get from now on: Plumbing::reserve_ports(),
// before.) `predecessor`: the container's former endpoint, whose ports are its own; or null.
[[nodiscard]] Result<void> check_port_claims(const std::vector<PublishedPort>& wanted, const EndpointTable& endpoints,
                                             const Endpoint* predecessor, const Config& config, Plumbing& plumbing);
// The last part of it alone.
[[nodiscard]] Result<void> check_programs(const std::vector<PublishedPort>& wanted, const Config& config,
                                          Plumbing& plumbing);

}  // namespace netkitd
