// The node's ports that flows of containers may have, from the daemon's side. The programs ask the same of each packet
// (bpf/lib/nat/ports.h), and both must give the same answers (tests/bpf/ports_test.cpp).
#pragma once

#include <cstdint>

#include "config/port_range.h"

namespace netkitd::nat {

// Whether a flow may have this port or echo id of the node's, with `pool` for masquerade and nothing published there.
// If not, it is the host's.
[[nodiscard]] constexpr bool port_may_be_ours(const PortRange& pool, std::uint16_t port) {
    return port != 0 && pool.holds(port);
}

}  // namespace netkitd::nat
