// What devices stand on: a VLAN or macvlan on another device, a bond or bridge on those that are its parts.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "link/device.h"

namespace netkitd::link {

// Of a bond or a bridge. What they receive is the whole's; what it sends passes them.
enum class Parts : std::uint8_t { left_out, included };

// These devices, and all that they stand on in this netns, as `devices` has it.
[[nodiscard]] std::set<std::uint32_t> with_lower_devices(const std::vector<Device>& devices,
                                                         std::set<std::uint32_t> ifindexes, Parts parts);

}  // namespace netkitd::link
