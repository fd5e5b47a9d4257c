// Sysctls of the host that netkitd changes: recorded before they are, so that --purge can restore them whenever the
// daemon was stopped.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "endpoint/store.h"

namespace netkitd {

// `sysctl` is a path below /proc/sys/net, as in link/sysctl.
[[nodiscard]] Result<void> record_sysctl(Store& store, const std::string& sysctl, const std::string& before,
                                         const std::string& after);
[[nodiscard]] Result<void> change_sysctl(Store& store, const std::string& sysctl, const std::string& before,
                                         const std::string& after);
[[nodiscard]] bool is_recorded(const std::vector<HostChange>& changes, const std::string& sysctl);
[[nodiscard]] Result<void> forget_sysctl(Store& store, const std::string& sysctl);
// The sysctl that was changed; empty when it was something else.
[[nodiscard]] std::optional<std::string> recorded_sysctl(const HostChange& change);

// Undoes every recorded change, the last one first, and forgets it; --purge only.
[[nodiscard]] Result<void> restore_host_changes(Store& store);

}  // namespace netkitd
