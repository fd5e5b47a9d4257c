// A range of ports, its ends included; by default the pool that masquerade takes its ports from.
#pragma once

#include <cstdint>

namespace netkitd {

struct PortRange {
    std::uint16_t first = 49152;  // RFC 6335, section 6: the dynamic ports
    std::uint16_t last = 65535;
    [[nodiscard]] constexpr bool holds(std::uint16_t port) const { return port >= first && port <= last; }
    bool operator==(const PortRange&) const = default;
};

}  // namespace netkitd
