// The uplinks in the node's configuration, as programs look for them while they are written.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace netkitd::datapath {

// What no device has for an index.
inline constexpr std::uint32_t kNoUplink = 0xffffffff;

// An uplink that stays keeps its place, so that it is found all the while. What is new comes before what is no more
// goes, if there is room. At most as many are wanted as there are places.
void write_uplinks(std::span<std::uint32_t> places, std::uint32_t& count, const std::vector<std::uint32_t>& wanted);

}  // namespace netkitd::datapath
