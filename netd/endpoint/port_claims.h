// Who has the ports of the host's that a container wants to publish.
#pragma once

#include <vector>

#include "base/published_port.h"
#include "base/result.h"
#include "endpoint/endpoint_settings.h"
#include "endpoint/endpoint_table.h"
#include "endpoint/plumbing.h"

namespace netkitd {

// Refused where another container or a program of the host's has one of them, by its name; where the host's own
// connections may get it (its ephemeral ports, but those that masquerade keeps from them); or where an address is not
// the host's. `predecessor`: the container's former endpoint, whose ports are its own; or null.
[[nodiscard]] Result<void> check_port_claims(const std::vector<PublishedPort>& wanted, const EndpointTable& endpoints,
                                             const Endpoint* predecessor, const EndpointSettings& settings,
                                             Plumbing& plumbing);

}  // namespace netkitd
