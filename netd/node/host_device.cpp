#include "node/host_device.h"

#include <array>
#include <string>
#include <string_view>

#include "base/format.h"
#include "link/device.h"
#include "link/sysctl.h"

namespace netkitd {
namespace {

struct Setting {
    std::string_view path;
    std::string_view value;
};

// Written only where it changes something: see node/ipv6_forwarding.h what else a write does. One that is not there is
// of a kernel without IPv6, or without force_forwarding, which forwards everywhere then.
Result<void> apply(std::string_view family, std::string_view device, const Setting& setting) {
    const std::string sysctl = formatted("{}/conf/{}/{}", family, device, setting.path);
    const auto value = NK_TRY(link::read_sysctl_if_there(sysctl));
    return !value || *value == setting.value ? Result<void>() : link::write_sysctl(sysctl, setting.value);
}

}  // namespace

Result<void> HostDevice::sync(const Config& config, std::uint32_t mtu, const link::SegmentSizes& sizes) {
    device_ = NK_TRY(link::ensure_host_device(host_, config.device_mode, mtu, sizes));
    return datapath_.attach_host_device(device_.ifindex);
}

// Nothing comes in at the other end of the pair.
Result<void> HostDevice::turn_on_forwarding(bool ipv6) {
    NK_TRY(apply("ipv4", link::kHostDeviceName, {.path = "forwarding", .value = "1"}));
    NK_TRY(apply("ipv4", link::kHostDevicePeerName, {.path = "forwarding", .value = "0"}));
    NK_TRY(apply("ipv6", link::kHostDevicePeerName, {.path = "disable_ipv6", .value = "1"}));
    if (!ipv6) {
        return apply("ipv6", link::kHostDeviceName, {.path = "forwarding", .value = "0"});
    }
    // Whatever the host's `default` says about new devices. A container is no router of the host's.
    constexpr std::array<Setting, 4> kSettings{{{.path = "disable_ipv6", .value = "0"},
                                                {.path = "accept_ra", .value = "0"},
                                                {.path = "forwarding", .value = "1"},
                                                {.path = "force_forwarding", .value = "1"}}};
    for (const Setting& setting : kSettings) {
        NK_TRY(apply("ipv6", link::kHostDeviceName, setting));
    }
    return {};
}

}  // namespace netkitd
