#include "node/ipv6_forwarding.h"

#include <algorithm>
#include <map>

#include "base/log.h"
#include "link/sysctl.h"
#include "node/host_changes.h"

namespace netkitd {
namespace {

constexpr std::string_view kSettings = "ipv6/conf";

std::string setting_of(const std::string& device, std::string_view name) {
    return formatted("{}/{}/{}", kSettings, device, name);
}

// By sysctl: what each device, and `default`, has for itself.
Result<std::map<std::string, std::string>> forwarding_of_devices() {
    std::map<std::string, std::string> result;
    for (const std::string& device : NK_TRY(link::list_sysctls(kSettings))) {
        const std::string sysctl = setting_of(device, "forwarding");
        // A device may go at any time.
        if (const auto value = NK_TRY(link::read_sysctl_if_there(sysctl)); value && sysctl != kForwardingEverywhere) {
            result.emplace(sysctl, *value);
        }
    }
    return result;
}

// Nothing is written that is there already: every write of a 1 makes the kernel forget routes.
Result<void> write_if_other(std::string_view sysctl, const std::string& value) {
    const auto now = NK_TRY(link::read_sysctl_if_there(sysctl));
    return now && *now != value ? link::write_sysctl(sysctl, value) : Result<void>();
}

// What a run that was cut short left undone, or nothing.
Result<void> give_back_recorded(Store& store) {
    for (const HostChange& change : NK_TRY(store.host_changes())) {
        const auto sysctl = recorded_sysctl(change);
        if (sysctl && sysctl->starts_with(kSettings) && sysctl->ends_with("/forwarding") &&
            *sysctl != kForwardingEverywhere) {
            NK_TRY(write_if_other(*sysctl, change.before));
            NK_TRY(store.forget_host_change(change.what));
        }
    }
    return {};
}

}  // namespace

Result<std::string> why_no_ipv6() {
    // The gateways are addresses of lo; `all` is written to it too.
    const auto disabled = NK_TRY(link::read_sysctl_if_there("ipv6/conf/lo/disable_ipv6"));
    if (!disabled) {
        return "this kernel has no IPv6 (booted with ipv6.disable=1?)";
    }
    return *disabled == "0" ? ""
                            : "IPv6 is turned off on this host (net.ipv6.conf.lo.disable_ipv6=1, perhaps by `all`)";
}

Result<void> keep_default_routes(Store& store, const std::set<std::string>& devices) {
    for (const std::string& device : devices) {
        const std::string sysctl = setting_of(device, "accept_ra");
        const auto forwarding = NK_TRY(link::read_sysctl_if_there(setting_of(device, "forwarding")));
        // One that forwards already takes no advertisements with 1, and shall not begin to.
        if (forwarding == "0" && NK_TRY(link::read_sysctl_if_there(sysctl)) == "1") {
            NK_TRY(change_sysctl(store, sysctl, "1", "2"));
        }
    }
    return {};
}

Result<bool> kernel_forwards_by_device() {
    return NK_TRY(link::read_sysctl_if_there("ipv6/conf/lo/force_forwarding")).has_value();
}

Result<void> forward_everywhere(Store& store) {
    NK_TRY(give_back_recorded(store));
    if (NK_TRY(link::read_sysctl(kForwardingEverywhere)) != "0") {
        return {};
    }
    for (const auto& [sysctl, value] : NK_TRY(forwarding_of_devices())) {
        if (value == "0") {
            NK_TRY(record_sysctl(store, sysctl, value, value));
        }
    }
    NK_TRY(change_sysctl(store, std::string(kForwardingEverywhere), "0", "1"));
    log(LogLevel::notice, "net.ipv6.conf.all.forwarding turned on: this kernel has no IPv6 forwarding by device");
    return give_back_recorded(store);
}

Result<void> restore_forwarding(const std::string& value) {
    const auto devices = NK_TRY(forwarding_of_devices());
    NK_TRY(write_if_other(kForwardingEverywhere, value));
    for (const auto& [sysctl, before] : devices) {
        NK_TRY(write_if_other(sysctl, before));
    }
    return {};
}

}  // namespace netkitd
