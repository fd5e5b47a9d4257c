// netkitd0, the host's one device for all its containers (bpf/lib/host_device.h): one end of a netkit pair, or of a
// veth pair where there is no netkit, whose other end is in the host as well and leads nowhere. The routes to the
// networks lead to it; the packets themselves go from its program straight to the containers.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "link/device.h"
#include "netlink/socket.h"

namespace netkitd::link {

struct HostDevice {
    std::uint32_t ifindex = 0;
    MacAddr mac;               // zero where it is of netkit
    std::uint32_t master = 0;  // somebody made it a part of that device: what comes in by it is that one's
};

// Makes it if it is not there, gives it that MTU and those sizes, and sets it up. What is as it shall be is left alone.
// Refused where another device has the name. `wanted`: the mode of a pair that is made, of netkit or not; by default
// that of netkit, where the kernel has it.
[[nodiscard]] Result<HostDevice> ensure_host_device(Netlink& host, std::optional<DeviceMode> wanted, std::uint32_t mtu,
                                                    const SegmentSizes& sizes);

}  // namespace netkitd::link
