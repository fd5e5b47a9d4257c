// Answers one request of the protocol with the node.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "daemon/node.h"
#include "ipc/protocol.h"

namespace netkitd {

// The result object of the reply, or the error that the client prints.
[[nodiscard]] Result<nlohmann::json> answer(Node& node, ipc::Request request);

}  // namespace netkitd
