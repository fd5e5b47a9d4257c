// The names people choose, and what they may look like. Both kinds end up in paths under /proc/sys and in logs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"

namespace netkitd {

// [a-z0-9][a-z0-9-]{0,31}
[[nodiscard]] Result<void> check_network_name(std::string_view name);

// What the kernel takes as a device name (dev_valid_name() in net/core/dev.c) in printable ASCII, without `%`, which
// the kernel would replace by a number, and without the names that mean something else: lo, all, default.
[[nodiscard]] Result<void> check_interface_name(std::string_view name);

// Name servers, as in `dns` of a network or io.netkitd.dns: one to kMaxNameServers different addresses that a container
// can have as a server (no loopback, link-local, multicast or unspecified one).
inline constexpr std::size_t kMaxNameServers = 3;  // libc asks no more: MAXNS in resolv.h
[[nodiscard]] Result<std::vector<IpAddr>> parse_name_servers(const std::vector<std::string>& texts);

}  // namespace netkitd
