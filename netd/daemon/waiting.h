// The daemon while its node cannot start for want of what may be had later: memory for an upgrade. Traffic goes on with
// the programs of the version before; whoever asks, `netkitctl status` too, is told why nothing else does.
#pragma once

#include "base/result.h"
#include "daemon/options.h"

namespace netkitd {

// Whether an error of Daemon::start() is of that kind.
[[nodiscard]] bool may_pass(const Error& error);

// Answers every request with `why`, until it is time to try again (true) or to end (false: SIGTERM, SIGINT).
[[nodiscard]] Result<bool> wait_to_try_again(const Options& options, const Error& why);

}  // namespace netkitd
