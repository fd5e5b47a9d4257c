// netkitd --purge: removes every trace of netkitd from this host and restores what it changed.
#pragma once

#include "base/result.h"
#include "config/config.h"
#include "daemon/options.h"

namespace netkitd {

// Refused while the daemon runs, and while containers are attached (they are named) unless options.force.
[[nodiscard]] Result<void> purge(const Options& options, const Config& config);

}  // namespace netkitd
