// What the configuration says of published ports and services.
#pragma once

#include "base/result.h"
#include "config/config.h"
#include "config/config_json.h"

namespace netkitd {

// What the file does not say stays as it is in `config`.
[[nodiscard]] Result<void> read_services(const ConfigObject& top, Config& config);

}  // namespace netkitd
