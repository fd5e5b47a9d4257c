// When a configured device really sends and receives: the kernel finishes some of it behind the requests' back, and is
// late with it on a busy host.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/ip_addr.h"
#include "base/result.h"
#include "netlink/socket.h"

namespace netkitd::link {

// Returns when the device transmits and, with `ipv6`, receives for that address of its own; both ends of its pair are
// up. An error after `patience`.
[[nodiscard]] Result<void> await_readiness(Netlink& netlink, std::uint32_t ifindex, const std::optional<IpAddr>& ipv6,
                                           std::chrono::milliseconds patience);

}  // namespace netkitd::link
