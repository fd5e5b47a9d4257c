// What is taken over of the flows in a former version's table (upgrade.h): all of them, or what its programs made or
// touched while others had the new ones.
//
// Meanwhile a container that has its new program already may have begun a flow with the port that one of another
// container, which had not, began with: each by tables that the other's programs did not see. The new table's is right
// then, since its answers come by the new programs: the other flow is dropped whole, and begins anew. Else one
// container would get the other's answers.
#pragma once

#include <bpf/bpf.h>

#include <chrono>
#include <cstdint>

#include "base/ip_addr.h"
#include "base/result.h"

namespace netkitd::datapath {

// A former table; the descriptor is borrowed.
struct FormerFlows {
    int map = -1;
    const bpf_map_info& info;
    // The first version had flows with a reply in a table of their own, and did not say so of each.
    enum class Kind { any_flows, flows_with_a_reply, flows_without_a_reply };
    Kind kind = Kind::any_flows;
};

// Where they go: the family's table, and the program `insert_flows`, which counts what it inserts. Borrowed.
struct NewFlows {
    int map = -1;
    int insert_program = -1;
};

// The entries that were made or touched since then, unless the new table's entry was touched later; of halves that lead
// out, those that have the other one. How many there was no room for.
[[nodiscard]] Result<std::uint64_t> take_over_flows(IpFamily family, const FormerFlows& former, const NewFlows& flows,
                                                    std::chrono::nanoseconds since);

}  // namespace netkitd::datapath
