// What all endpoints of this node follow: the configuration, and what the kernel and the uplinks allow.
#pragma once

#include <cstdint>
#include <string>

#include "config/config.h"
#include "link/device.h"
#include "link/segment_sizes.h"

namespace netkitd {

// Which kinds of device this node makes.
struct DeviceModes {
    link::DeviceMode active{};      // for containers that ask for none
    bool netkit_available = false;  // the kernel has it
};

struct EndpointSettings {
    Config config;
    DeviceModes modes;
    std::uint32_t uplink_mtu = 1500;
    std::uint32_t host_mtu = 1500;  // of netkitd0
    std::uint64_t host_netns_cookie = 0;
    std::string no_ipv6 = {};  // empty, or why this host has no IPv6
    link::SegmentSizes sizes = {};
};

}  // namespace netkitd
