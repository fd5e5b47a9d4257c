// One request to the daemon and its reply, within a deadline. What every door uses.
#pragma once

#include <chrono>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ipc/protocol.h"

namespace netkitd::ipc {

// Connects, sends, waits for the reply. The deadline covers all of it. Errors of kind unavailable mean that the
// daemon does not run or did not answer in time, and say how to start it; any other error is the daemon's own.
[[nodiscard]] Result<nlohmann::json> call(const std::string& socket_path, const Request& request,
                                          std::chrono::milliseconds deadline);

}  // namespace netkitd::ipc
