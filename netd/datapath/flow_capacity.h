// How many entries the flow tables have room for, and how they are shared out.
#pragma once

#include <cstddef>
#include <cstdint>

namespace netkitd::datapath {

// Entries of one family's table, two a flow, on a machine with that much memory. The kernel allocates them when it
// makes the table, some 150 bytes each: both families' take about 1 % of the memory.
[[nodiscard]] std::uint32_t flow_capacity(std::uint64_t memory_bytes);

// How the flows of a table are shared out (bpf/lib/nat/flow_share.h).
struct FlowShares {
    std::uint32_t share = 0;   // of each endpoint, whatever others do
    std::uint32_t common = 0;  // so many may there be of all before none gets more than its share
    // What an endpoint gets where no other wants any.
    [[nodiscard]] std::uint32_t most_of_one() const;
    bool operator==(const FlowShares&) const = default;
};
// Of a table with room for so many entries.
[[nodiscard]] FlowShares flow_shares(std::uint32_t entries, std::size_t endpoints);

// Of this machine.
[[nodiscard]] std::uint64_t total_memory_bytes();
// What of it can be had without swapping (proc_meminfo(5), MemAvailable).
[[nodiscard]] std::uint64_t available_memory_bytes();

}  // namespace netkitd::datapath
