// What the configuration says of masquerade: the node's section, and a network's key of the same name.
#pragma once

#include "base/result.h"
#include "config/config.h"
#include "config/config_json.h"
#include "config/network_config.h"

namespace netkitd {

// What the file does not say stays as it is in `config`.
[[nodiscard]] Result<void> read_masquerade(const ConfigObject& top, Config& config);
// The same of `network`, whose prefixes are read already.
[[nodiscard]] Result<void> read_network_masquerade(const ConfigObject& object, NetworkConfig& network);

}  // namespace netkitd
