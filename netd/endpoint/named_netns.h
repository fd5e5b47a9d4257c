// Network namespaces that have a name (ip-netns(8)).
#pragma once

#include <cstdint>

#include "base/unique_fd.h"

namespace netkitd {

// None, if no name below /run/netns leads to it; at most 1024 of them are looked at.
[[nodiscard]] UniqueFd find_named_netns(std::uint64_t cookie);

}  // namespace netkitd
