// The networks of one family in the node's configuration (places.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "abi.h"

namespace netkitd::datapath {

// A network is known by its prefix. `routed_count`: how many of them are not masqueraded.
void write_networks(std::span<nk_network> places, std::uint32_t& count, std::uint32_t& routed_count,
                    const std::vector<nk_network>& wanted);

}  // namespace netkitd::datapath
