// What a container asks for when it is attached, whichever way its owner said so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip_addr.h"
#include "base/published_port.h"
#include "link/device.h"

namespace netkitd {

struct AttachOptions {
    std::string network = "default";              // io.netkitd.network; that it exists is the caller's to check
    std::string interface_name = "eth0";          // io.netkitd.interface
    std::optional<IpAddr> ipv4;                   // io.netkitd.ipv4, a static address
    std::optional<IpAddr> ipv6;                   // io.netkitd.ipv6, likewise
    std::optional<std::uint32_t> mtu;             // io.netkitd.mtu, kMinMtu … kMaxMtu
    std::optional<link::DeviceMode> device_mode;  // io.netkitd.device-mode; empty: the node's
    std::vector<IpAddr> dns;                      // io.netkitd.dns; empty: the network's, or the host's
    std::vector<PublishedPort> publish;           // io.netkitd.publish, sorted
    bool operator==(const AttachOptions&) const = default;
};

}  // namespace netkitd
