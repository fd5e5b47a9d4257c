// Whether anybody lives in the netns at the other end of a pair.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "netlink/socket.h"

namespace netkitd::link {

// Of a pair whose other end is in another netns. False where the device is gone. Reads the list of all processes.
[[nodiscard]] Result<bool> peer_netns_has_processes(Netlink& host, std::uint32_t host_ifindex);

}  // namespace netkitd::link
