// The configuration's `masquerade.lifetimes`.
#pragma once

#include "base/result.h"
#include "config/config_json.h"
#include "config/flow_lifetimes.h"

namespace netkitd {

[[nodiscard]] Result<FlowLifetimes> read_lifetimes(const ConfigObject& masquerade);

}  // namespace netkitd
