// How many entries the flow tables have room for.
#pragma once

#include <cstdint>

namespace netkitd::datapath {

// Entries of one family's established table, two a flow, on a machine with that much memory. The kernel allocates them
// when it makes the table, some 150 bytes each: both families' take about 1 % of the memory.
[[nodiscard]] std::uint32_t established_flow_capacity(std::uint64_t memory_bytes);

// Of this machine.
[[nodiscard]] std::uint64_t total_memory_bytes();
// What of it can be had without swapping (proc_meminfo(5), MemAvailable).
[[nodiscard]] std::uint64_t available_memory_bytes();

}  // namespace netkitd::datapath
