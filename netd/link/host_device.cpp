#include "link/host_device.h"

#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "base/log.h"
#include "base/quote.h"
#include "netlink/netns.h"
#include "netlink/request.h"

namespace netkitd::link {
namespace {

Result<void> expect_ours(const std::optional<Device>& device) {
    if (!device || device->is_of_host_device()) {
        return {};
    }
    return fail(ErrorKind::refused, "{} is somebody else's device, {}: rename it, netkitd needs the name", device->name,
                device->kind.empty() ? "hardware" : quote(device->kind));
}

// Whether both ends are there. What somebody has renamed one end of goes: its other end has the name that the new one
// needs.
Result<bool> is_whole(Netlink& host) {
    const auto device = NK_TRY(find_device(host, std::string(kHostDeviceName)));
    const auto peer = NK_TRY(find_device(host, std::string(kHostDevicePeerName)));
    NK_TRY(expect_ours(device));
    NK_TRY(expect_ours(peer));
    if (device && peer) {
        return true;
    }
    if (device || peer) {
        log(LogLevel::warning, "{} was renamed: the pair is made anew", device ? kHostDevicePeerName : kHostDeviceName);
        NK_TRY(remove_device(host, device ? device->ifindex : peer->ifindex));
    }
    return false;
}

Result<Device> find(Netlink& host, std::string_view name) {
    const std::string text(name);
    auto device = NK_TRY(find_device(host, text));
    if (!device) {
        return fail(ErrorKind::internal, "{} is gone again", name);
    }
    return std::move(*device);
}

// As long as its program is there nothing gets from one end to the other; netkit itself sees to it without one too.
Result<void> create(Netlink& host, std::optional<DeviceMode> wanted, std::uint32_t mtu, const SegmentSizes& sizes) {
    const bool netkit = wanted ? is_netkit(*wanted) : NK_TRY(netkit_supported());
    const UniqueFd own = NK_TRY(open_netns("/proc/thread-self/ns/net"));
    NK_TRY(create_pair(host, host,
                       {.mode = netkit ? DeviceMode::netkit : DeviceMode::veth,
                        .host_name = std::string(kHostDeviceName),
                        .host_alias = "netkitd: the host's way to its containers",
                        .peer_netns = own.get(),
                        .peer_name = std::string(kHostDevicePeerName),
                        .mtu = mtu,
                        .is_barred = true,
                        .sizes = sizes}));
    return {};
}

// No neighbour is asked for behind it.
Result<void> set_up(Netlink& host, const Device& device, std::uint32_t mtu) {
    if (device.up && device.mtu == mtu) {
        return {};
    }
    NetlinkRequest request(RTM_SETLINK, 0, formatted("set {} up", device.name));
    request.put_struct(device_message(device.ifindex, IFF_UP | IFF_NOARP)).put_u32(IFLA_MTU, mtu);
    return host.transact(request);
}

}  // namespace

Result<HostDevice> ensure_host_device(Netlink& host, std::optional<DeviceMode> wanted, std::uint32_t mtu,
                                      const SegmentSizes& sizes) {
    if (!NK_TRY(is_whole(host))) {
        NK_TRY(create(host, wanted, mtu, sizes));
    }
    const Device peer = NK_TRY(find(host, kHostDevicePeerName));
    const Device device = NK_TRY(find(host, kHostDeviceName));
    for (const Device& end : {peer, device}) {
        NK_TRY(set_up(host, end, mtu));
        if (end.sizes != sizes) {
            NK_TRY(set_segment_sizes(host, end.ifindex, sizes));
        }
    }
    return HostDevice{.ifindex = device.ifindex, .mac = device.mac, .master = device.master};
}

}  // namespace netkitd::link
