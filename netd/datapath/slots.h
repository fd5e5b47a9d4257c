// The slots in the node's configuration (abi.h, nk_node): an array of networks for each family, of which the first
// `count` are in use.
//
// Packets look through them while they are written. So what stays keeps its slot and is found all the while, a slot is
// taken or freed by one store, and what is new comes before what is no more goes, if there is room.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "abi.h"

namespace netkitd::datapath {

// Packets read the node's configuration while it is written, so one store makes the difference each time.
template <typename T>
void publish(T& field, T value) {
    __atomic_store_n(&field, value, __ATOMIC_RELEASE);
}

// At most as many are wanted as there are slots. A network is known by its prefix. `routed_count`: how many of them are
// not masqueraded.
void write_networks(std::span<nk_network> slots, std::uint32_t& count, std::uint32_t& routed_count,
                    const std::vector<nk_network>& wanted);

}  // namespace netkitd::datapath
