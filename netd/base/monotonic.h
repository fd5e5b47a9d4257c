// The clock that flows' stamps and a held port's end are of (bpf_ktime_get_coarse_ns(), bpf-helpers(7)).
#pragma once

#include <chrono>

namespace netkitd {

// CLOCK_MONOTONIC
[[nodiscard]] std::chrono::nanoseconds monotonic_now();

}  // namespace netkitd
