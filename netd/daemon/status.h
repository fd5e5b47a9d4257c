// What `netkitctl status` shows: what this node does, what it lacks, how full it is, what it dropped.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "daemon/node.h"

namespace netkitd {

[[nodiscard]] Result<nlohmann::json> describe_status(Node& node);

}  // namespace netkitd
