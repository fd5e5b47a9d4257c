// The netns at the other end of a pair, and who lives there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "base/result.h"
#include "netlink/socket.h"

namespace netkitd::link {

// The number that this netns knows that of the other end by (IFLA_LINK_NETNSID), for as long as it lives; then it may
// be another's. None where the device is gone, or both ends are in one netns.
[[nodiscard]] Result<std::optional<std::uint32_t>> peer_netns_id(Netlink& host, std::uint32_t host_ifindex);
// A process of each netns that has such a number, by that. Reads the list of all processes.
[[nodiscard]] Result<std::map<std::uint32_t, std::uint32_t>> processes_by_netns_id(Netlink& host);
// Whether anybody lives in the netns of the other end; not where the device is gone. Looks through the processes.
[[nodiscard]] Result<bool> peer_netns_has_processes(Netlink& host, std::uint32_t host_ifindex);

}  // namespace netkitd::link
