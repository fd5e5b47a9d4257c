// The configuration's `networks`.
#pragma once

#include <vector>

#include "base/result.h"
#include "config/config_json.h"
#include "config/network_config.h"

namespace netkitd {

// What `default` is when the file says nothing of it.
[[nodiscard]] NetworkConfig default_network(bool masquerade);
// In the order of the file, `default` at the end if it is not there. `masquerade`: of those that don't say it.
[[nodiscard]] Result<std::vector<NetworkConfig>> read_networks(const ConfigObject& top, bool masquerade);

}  // namespace netkitd
