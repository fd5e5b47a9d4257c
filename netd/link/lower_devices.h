// What devices stand on: a VLAN or macvlan on another device, a bond or bridge on those that are its parts.
#pragma once

#include <cstdint>
#include <set>

#include "base/result.h"
#include "link/netlink.h"

namespace netkitd::link {

// These devices, and all that a packet which leaves by them passes in this netns.
[[nodiscard]] Result<std::set<std::uint32_t>> with_lower_devices(Netlink& netlink, std::set<std::uint32_t> ifindexes);

}  // namespace netkitd::link
