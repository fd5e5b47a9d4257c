// Which ports masquerade takes, so that the host keeps enough for its own connections.
//
// Those of the pool are reserved (port_reservation.h): the host's own connect(2) gets none of them. Where the host's
// ephemeral range lies in the pool (49152-65535, as RFC 6335 has it), that would be all it has.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/port_range.h"

namespace netkitd {

// Sorted, disjoint.
using PortRanges = std::vector<PortRange>;
// "1000,2000-3000", as of net.ipv4.ip_local_reserved_ports.
[[nodiscard]] Result<PortRanges> parse_port_ranges(std::string_view text);
// The inverse, of all of them.
[[nodiscard]] std::string port_ranges_text(const std::set<std::uint16_t>& ports, const PortRange& more);

struct HostPorts {
    PortRange ephemeral;  // net.ipv4.ip_local_port_range
    PortRanges reserved;  // by others
};

// How many ephemeral ports the host keeps at least, or all that it has.
inline constexpr unsigned kFewestHostPorts = 4096;
// And beside what is published.
inline constexpr unsigned kFewestBesidePublished = 2048;

// `wanted`, or as much of it as leaves the host enough, if it is there `by_default`; refused if that is too little, or
// if the pool was configured.
[[nodiscard]] Result<PortRange> settle_port_pool(const PortRange& wanted, bool by_default, const HostPorts& host);
// Refused where published ports would leave the host fewer, or less than all that it had.
[[nodiscard]] Result<void> check_published_ports(const std::set<std::uint16_t>& published, const PortRange& pool,
                                                 const HostPorts& host);

}  // namespace netkitd
