#include "node/guards.h"

#include <linux/if_arp.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "base/log.h"
#include "link/lower_devices.h"

namespace netkitd {
namespace {

// Whether there is a program for what comes in there, and it comes from somebody else.
bool can_be_guarded(const link::Device& device) {
    return (device.hardware_type == ARPHRD_ETHER || device.hardware_type == ARPHRD_NONE) && !device.is_host_end();
}

datapath::UplinkKind kind_of(const link::Device& device) {
    return device.hardware_type == ARPHRD_NONE ? datapath::UplinkKind::l3 : datapath::UplinkKind::ethernet;
}

// What comes in on a part of a bridge or bond comes in on the whole, or is not for this host. A VRF receives nothing
// itself.
bool is_part(const link::Device& device, const std::vector<link::Device>& devices) {
    const auto master = std::ranges::find(devices, device.master, &link::Device::ifindex);
    return master != devices.end() && master->kind != "vrf";
}

// Whether it brings packets from elsewhere. A pair does not, nor does a bridge of pairs: they are for containers of
// this host, of other runtimes, whose answers to ours (by a published port, say) have to come through.
bool leads_elsewhere(const link::Device& device, const std::vector<link::Device>& devices) {
    if (device.is_of_pair() || is_part(device, devices)) {
        return false;
    }
    return device.kind != "bridge" || std::ranges::any_of(devices, [&](const link::Device& port) {
               return port.master == device.ifindex && !port.is_of_pair();
           });
}

}  // namespace

Result<void> Guards::attach(const std::vector<std::string>& configured, const std::vector<std::uint32_t>& usable) {
    const std::vector<link::Device> devices = NK_TRY(devices_to_guard(configured, usable));
    for (const link::Device& device : devices) {
        // One that refuses does not keep the others from theirs; it is asked again the next time.
        if (const auto attached = attach_one(device); attached) {
            unguarded_.erase(device.ifindex);
        } else if (attached.error().system_error() != ENODEV && unguarded_.insert(device.ifindex).second) {
            log(LogLevel::warning, "no guard on {}: {}", device.name, attached.error().message());
        }
    }
    guarded_.clear();
    std::ranges::transform(devices, std::inserter(guarded_, guarded_.end()), &link::Device::ifindex);
    return {};
}

// Whatever leads elsewhere, and what uplinks stand on (what comes in untagged below a VLAN, or for another address
// below a macvlan, comes from the same neighbours). A device that only lost its default route keeps its guard even if
// it is one of a pair: its neighbours are still there.
Result<std::vector<link::Device>> Guards::devices_to_guard(const std::vector<std::string>& configured,
                                                           const std::vector<std::uint32_t>& usable) const {
    const std::vector<link::Device> devices = NK_TRY(link::list_devices(host_));
    const auto attached = NK_TRY(datapath_.attached_uplinks());
    const auto stack = link::with_lower_devices(devices, {usable.begin(), usable.end()}, link::Parts::left_out);
    const auto keeps_guard = [&](const link::Device& device) {
        return configured.empty() && device.is_of_pair() && std::ranges::contains(attached, device.ifindex) &&
               !is_part(device, devices);
    };
    std::vector<link::Device> result;
    std::ranges::copy_if(devices, std::back_inserter(result), [&](const link::Device& device) {
        return can_be_guarded(device) && !std::ranges::contains(usable, device.ifindex) &&
               (stack.contains(device.ifindex) || leads_elsewhere(device, devices) || keeps_guard(device));
    });
    return result;
}

Result<void> Guards::attach_one(const link::Device& device) {
    const auto programs = NK_TRY(datapath_.look_at_uplink(device.name, device.ifindex, kind_of(device)));
    if (!guarded_.contains(device.ifindex) || !programs.complete) {
        NK_TRY(datapath_.attach_uplink(device.name, device.ifindex, kind_of(device)));
        log(LogLevel::info, "guard on {}", device.name);
    }
    return {};
}

}  // namespace netkitd
