// Hosts that netkitd does not run on.
#pragma once

#include <string>

#include "base/result.h"

namespace netkitd {

// Refused on a kernel with PREEMPT_RT, which says so in `path`. There, packets of two devices may be in the programs on
// one processor at a time, and what the programs keep for a packet on its processor (bpf/lib/nat, halves and
// masquerades) would be another's.
[[nodiscard]] Result<void> refuse_realtime_kernel(const std::string& path = "/sys/kernel/realtime");

}  // namespace netkitd
