// The host's IPsec policies (XFRM). The programs send a container's packets to the next hop themselves, where no policy
// is asked: what the host would encrypt of its own, it does not of theirs.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace netkitd::link {

// How many there are for what leaves, in the calling thread's netns; none where the kernel has no IPsec.
[[nodiscard]] Result<std::uint32_t> outbound_ipsec_policies();

}  // namespace netkitd::link
