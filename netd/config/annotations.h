// The io.netkitd.* annotations of a container: what its owner asks for. Untrusted; parsed strictly, and every error
// names the annotation and what is wrong with it. An unknown io.netkitd.* annotation is an error: a typo must not pass.
// Annotations under other prefixes belong to other people and are left alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/ip_addr.h"
#include "base/result.h"
#include "link/device.h"

namespace netkitd {

struct AttachOptions {
    std::string network = "default";              // io.netkitd.network; that it exists is the caller's to check
    std::string interface_name = "eth0";          // io.netkitd.interface
    std::optional<IpAddr> ipv4;                   // io.netkitd.ipv4, a static address
    std::optional<IpAddr> ipv6;                   // io.netkitd.ipv6, likewise
    std::optional<std::uint32_t> mtu;             // io.netkitd.mtu, kMinMtu … kMaxMtu
    std::optional<link::DeviceMode> device_mode;  // io.netkitd.device-mode; empty: the node's
    bool operator==(const AttachOptions&) const = default;
};

[[nodiscard]] Result<AttachOptions> parse_annotations(const std::map<std::string, std::string>& annotations);

}  // namespace netkitd
