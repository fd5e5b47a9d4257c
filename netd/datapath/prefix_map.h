// A longest-prefix map of the datapath, which says what is in it, by its length (bpf/lib/nat/non_masquerade.h,
// bpf/lib/host_prefixes.h).
//
// In two steps, so that a prefix that stays is there at every moment: first what is new, later what is no more.
#pragma once

#include <span>

#include "base/ip_addr.h"
#include "base/result.h"

namespace netkitd::datapath {

// Of `wanted`, those of this map's family.
[[nodiscard]] Result<void> add_prefixes(int map, IpFamily family, std::span<const IpPrefix> wanted);
[[nodiscard]] Result<void> remove_other_prefixes(int map, IpFamily family, std::span<const IpPrefix> wanted);

}  // namespace netkitd::datapath
