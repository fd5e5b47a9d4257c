#include "node/host_changes.h"

#include <algorithm>
#include <ranges>

#include "link/sysctl.h"
#include "node/ipv6_forwarding.h"

namespace netkitd {
namespace {

constexpr std::string_view kSysctlPrefix = "sysctl net/";

std::string what(const std::string& sysctl) {
    return std::format("{}{}", kSysctlPrefix, sysctl);
}

Result<void> restore_sysctl(const std::string& sysctl, const std::string& value) {
    if (sysctl == kForwardingEverywhere) {
        return restore_forwarding(value);
    }
    Result<void> written = link::write_sysctl(sysctl, value);
    if (!written && written.error().kind() == ErrorKind::not_found) {
        return {};  // it went with its device
    }
    return written;
}

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

Result<void> restore_host_changes(Store& store) {
    for (const HostChange& change : std::views::reverse(NK_TRY(store.host_changes()))) {
        if (const auto sysctl = recorded_sysctl(change)) {
            NK_TRY(restore_sysctl(*sysctl, change.before));
        }
        NK_TRY(store.forget_host_change(change.what));
    }
    return {};
}

}  // namespace netkitd
