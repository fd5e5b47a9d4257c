// The netns at the other end of a pair, and who lives there.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "netlink/socket.h"

namespace netkitd::link {

// The number that this netns knows that of the other end by (IFLA_LINK_NETNSID), for as long as it lives; then it may
// be another's. None where the device is gone, or both ends are in one netns.
[[nodiscard]] Result<std::optional<std::uint32_t>> peer_netns_id(Netlink& host, std::uint32_t host_ifindex);
// A process in it; none where there is none, or the device is gone. Reads the list of all processes.
[[nodiscard]] Result<std::optional<std::uint32_t>> process_in_peer_netns(Netlink& host, std::uint32_t host_ifindex);

}  // namespace netkitd::link
