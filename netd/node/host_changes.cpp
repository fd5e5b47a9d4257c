#include "node/host_changes.h"

#include <algorithm>
#include <array>
#include <ranges>

#include "base/format.h"
#include "base/log.h"
#include "base/parse_number.h"
#include "link/sysctl.h"
#include "node/ipv6_forwarding.h"
#include "node/port_pool.h"

namespace netkitd {
namespace {

constexpr std::string_view kSysctlPrefix = "sysctl net/";
constexpr std::string_view kSizesPrefix = "packet sizes of device ";  // "3 (eth0)"

std::string what(const std::string& sysctl) {
    return formatted("{}{}", kSysctlPrefix, sysctl);
}

Result<void> restore_sysctl(const std::string& sysctl, const std::string& value) {
    if (sysctl == kForwardingEverywhere) {
        return restore_forwarding(value);
    }
    Result<void> written = link::write_sysctl(sysctl, value);
    if (!written && written.error().kind() == ErrorKind::not_found) {
        return {};  // it went with its device just now
    }
    return written;
}

bool is_same_value(const std::string& one, const std::string& other) {
    // The kernel merges ports, and writes them in another way.
    const auto some = parse_port_ranges(one);
    const auto others = parse_port_ranges(other);
    return one == other || (some && others && *some == *others);
}

// What somebody else wrote since stays. (A setting that another one changes with it has been recorded as not changed.)
Result<void> undo_sysctl_change(const HostChange& change) {
    const std::string sysctl = change.what.substr(kSysctlPrefix.size());
    const auto now = NK_TRY(link::read_sysctl_if_there(sysctl));
    if (!now || (change.before != change.after && !is_same_value(*now, change.after))) {
        return {};
    }
    return restore_sysctl(sysctl, change.before);
}

Result<void> undo_sysctl(link::Netlink& /*host*/, const HostChange& change) {
    return undo_sysctl_change(change);
}

Result<void> undo_sizes(link::Netlink& host, const HostChange& change) {
    if (const auto sizes = recorded_sizes(change)) {
        return restore_sizes(host, *sizes);
    }
    // A newer version's: with the host's next start it is over.
    log(LogLevel::warning, "{}: {} is not understood, and stays until it is set again", change.what, change.before);
    return {};
}

struct Kind {
    std::string_view prefix;
    Result<void> (*undo)(link::Netlink& host, const HostChange& change);
};
constexpr std::array<Kind, 2> kKinds{{{kSysctlPrefix, undo_sysctl}, {kSizesPrefix, undo_sizes}}};

}  // namespace

Result<void> record_sysctl(Store& store, const std::string& sysctl, const std::string& before,
                           const std::string& after) {
    return store.record_host_change({.what = what(sysctl), .before = before, .after = after});
}

Result<void> change_sysctl(Store& store, const std::string& sysctl, const std::string& before,
                           const std::string& after) {
    NK_TRY(record_sysctl(store, sysctl, before, after));
    return link::write_sysctl(sysctl, after);
}

Result<void> restore_recorded_sysctl(Store& store, const std::string& sysctl) {
    for (const HostChange& change : NK_TRY(store.host_changes())) {
        if (recorded_sysctl(change) == sysctl) {
            NK_TRY_CONTEXT(formatted("restore {}", change.what), undo_sysctl_change(change));
            return forget_sysctl(store, sysctl);
        }
    }
    return {};
}

bool is_recorded(const std::vector<HostChange>& changes, const std::string& sysctl) {
    return std::ranges::contains(changes, what(sysctl), &HostChange::what);
}

Result<void> forget_sysctl(Store& store, const std::string& sysctl) {
    return store.forget_host_change(what(sysctl));
}

std::optional<std::string> recorded_sysctl(const HostChange& change) {
    return change.what.starts_with(kSysctlPrefix) ? std::optional(change.what.substr(kSysctlPrefix.size()))
                                                  : std::nullopt;
}

Result<void> record_sizes(Store& store, const link::Device& device, const link::SegmentSizes& before,
                          const link::SegmentSizes& after) {
    return store.record_host_change({.what = formatted("{}{} ({})", kSizesPrefix, device.ifindex, device.name),
                                     .before = before.to_string(),
                                     .after = after.to_string()});
}

std::optional<RecordedSizes> recorded_sizes(const HostChange& change) {
    if (!change.what.starts_with(kSizesPrefix)) {
        return std::nullopt;
    }
    const std::string_view device = std::string_view(change.what).substr(kSizesPrefix.size());
    const auto ifindex = parse_number<std::uint32_t>(device.substr(0, device.find(' ')));
    const auto before = link::SegmentSizes::parse(change.before);
    const auto after = link::SegmentSizes::parse(change.after);
    if (!ifindex || !before || !after) {
        return std::nullopt;
    }
    return RecordedSizes{.what = change.what, .ifindex = *ifindex, .before = *before, .after = *after};
}

std::optional<RecordedSizes> find_recorded_sizes(const std::vector<HostChange>& changes, std::uint32_t ifindex) {
    for (const HostChange& change : changes) {
        if (auto sizes = recorded_sizes(change); sizes && sizes->ifindex == ifindex) {
            return sizes;
        }
    }
    return std::nullopt;
}

Result<void> restore_sizes(link::Netlink& host, const RecordedSizes& sizes) {
    const auto devices = NK_TRY(link::list_devices(host));
    const auto device = std::ranges::find(devices, sizes.ifindex, &link::Device::ifindex);
    if (device == devices.end() || device->sizes != sizes.after) {
        return {};
    }
    Result<void> set = link::set_segment_sizes(host, sizes.ifindex, sizes.before);
    return !set && set.error().system_error() == ENODEV ? Result<void>() : set;
}

// What cannot be restored stays recorded, for another attempt, and keeps the others from nothing.
Result<void> restore_host_changes(Store& store, link::Netlink& host) {
    Result<void> result;
    for (const HostChange& change : std::views::reverse(NK_TRY(store.host_changes()))) {
        Result<void> undone;
        for (const Kind& kind : kKinds) {
            if (change.what.starts_with(kind.prefix)) {
                undone = with_context(kind.undo(host, change), formatted("restore {}", change.what));
            }
        }
        keep_first(result, undone ? store.forget_host_change(change.what) : undone);
    }
    return result;
}

}  // namespace netkitd
