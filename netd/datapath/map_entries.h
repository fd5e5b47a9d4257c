// All entries of any map, as bytes.
#pragma once

#include <bpf/bpf.h>

#include <cstddef>
#include <functional>
#include <span>

#include "base/result.h"

namespace netkitd::datapath {

using EntryVisitor = std::function<Result<void>(std::span<const std::byte> key, std::span<const std::byte> value)>;

// Those that are there all the while are visited once; what others add or remove meanwhile may be. `info`: the map's.
[[nodiscard]] Result<void> for_each_entry(int map, const bpf_map_info& info, const EntryVisitor& visit);

}  // namespace netkitd::datapath
