// Names of the hosts' ends: "nk" and 8 hex digits of a hash of the container's id.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace netkitd {

inline constexpr std::uint32_t kHostNameAttempts = 16;

// `attempt`, below kHostNameAttempts, makes another name for the same id, for a collision and for a container that
// starts again before its former pair is gone.
[[nodiscard]] std::string host_device_name(std::string_view container_id, std::uint32_t attempt);

}  // namespace netkitd
