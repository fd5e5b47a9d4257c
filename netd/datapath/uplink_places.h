// The uplinks in the node's configuration (places.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace netkitd::datapath {

// What no device has for an index.
inline constexpr std::uint32_t kNoUplink = 0xffffffff;

// `wanted`: each an ifindex.
void write_uplinks(std::span<std::uint32_t> places, std::uint32_t& count, const std::vector<std::uint32_t>& wanted);

}  // namespace netkitd::datapath
