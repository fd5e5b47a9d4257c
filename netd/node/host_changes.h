// What netkitd changes of the host, recorded before it is, so that --purge can restore it whenever the daemon was
// stopped: sysctls, and the segment sizes of uplinks. Each kind has a way of its own to be undone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "link/device.h"
#include "link/segment_sizes.h"
#include "netlink/socket.h"
#include "store/store.h"

namespace netkitd {

// `sysctl` is a path below /proc/sys/net, as in link/sysctl.
[[nodiscard]] Result<void> record_sysctl(Store& store, const std::string& sysctl, const std::string& before,
                                         const std::string& after);
[[nodiscard]] Result<void> change_sysctl(Store& store, const std::string& sysctl, const std::string& before,
                                         const std::string& after);
// Undoes what is recorded of it, if something is, and forgets that.
[[nodiscard]] Result<void> restore_recorded_sysctl(Store& store, const std::string& sysctl);
[[nodiscard]] bool is_recorded(const std::vector<HostChange>& changes, const std::string& sysctl);
[[nodiscard]] Result<void> forget_sysctl(Store& store, const std::string& sysctl);
// The sysctl that was changed; empty when it was something else.
[[nodiscard]] std::optional<std::string> recorded_sysctl(const HostChange& change);

struct RecordedSizes {
    std::string what;  // of the record
    std::uint32_t ifindex = 0;
    link::SegmentSizes before;
    link::SegmentSizes after;
};
[[nodiscard]] Result<void> record_sizes(Store& store, const link::Device& device, const link::SegmentSizes& before,
                                        const link::SegmentSizes& after);
// Empty when it was something else that was changed.
[[nodiscard]] std::optional<RecordedSizes> recorded_sizes(const HostChange& change);
[[nodiscard]] std::optional<RecordedSizes> find_recorded_sizes(const std::vector<HostChange>& changes,
                                                               std::uint32_t ifindex);
// A device that has not what it was given any more is left alone: it is another one, or somebody else changed it.
[[nodiscard]] Result<void> restore_sizes(link::Netlink& host, const RecordedSizes& sizes);

// Undoes every recorded change, the last one first, and forgets it; --purge only.
[[nodiscard]] Result<void> restore_host_changes(Store& store, link::Netlink& host);

}  // namespace netkitd
