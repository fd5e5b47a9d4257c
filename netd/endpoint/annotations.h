// The io.netkitd.* annotations of a container: what its owner asks for. Untrusted; parsed strictly, and every error
// names the annotation and what is wrong with it. An unknown io.netkitd.* annotation is an error: a typo must not pass.
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
    std::string network = "default";             // io.netkitd.network
    std::string interface_name = "eth0";         // io.netkitd.interface
    std::optional<IpAddr> ipv4;                  // io.netkitd.ipv4, a static address
    std::optional<std::uint32_t> mtu;            // io.netkitd.mtu, 1280 (RFC 8200, section 5) … 65535
    std::optional<link::DeviceMode> device_mode;  // io.netkitd.device-mode; empty: the node's
};

[[nodiscard]] Result<AttachOptions> parse_annotations(const std::map<std::string, std::string>& annotations);

}  // namespace netkitd
