// What programs of the version before made of flows while others had the new ones (upgrade.h).
//
// Meanwhile a container that has its new program already may have begun a flow with the port that one of another
// container, which had not, began with: each by tables that the other's programs did not see. The new tables' is right
// then, since its answers come by the new programs: the other flow is dropped whole, and begins anew. Else one
// container would get the other's answers.
#pragma once

#include <bpf/bpf.h>

#include <chrono>
#include <cstdint>

#include "base/ip_addr.h"
#include "base/result.h"

namespace netkitd::datapath {

// The new tables of a family, by stage.
struct NewFlowMaps {
    int fresh = -1;
    int established = -1;
};

// The entries of `former`, a table of that stage, that were made or touched since then, unless the new table's entry
// was touched later. How many there was no room for.
[[nodiscard]] Result<std::uint64_t> take_over_flows(IpFamily family, int former, const bpf_map_info& info,
                                                    const NewFlowMaps& maps, bool established,
                                                    std::chrono::nanoseconds since);

}  // namespace netkitd::datapath
