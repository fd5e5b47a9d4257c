// The ports that masquerade owns, reserved on the host (ip_local_reserved_ports): its own connections do not get them.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "config/port_range.h"
#include "node/port_pool.h"
#include "store/store.h"

namespace netkitd {

class PortReservation {
public:
    // Borrows it for its life.
    explicit PortReservation(Store& store) : store_(store) {}

    // What the host has of ports, without what this has reserved.
    [[nodiscard]] Result<HostPorts> host_ports();
    [[nodiscard]] Result<void> sync(const PortRange& ports);

private:
    [[nodiscard]] Result<std::string> reserved_by_others(const std::string& now);

    Store& store_;
    std::optional<PortRange> reserved_;  // what was merged into the sysctl
    std::string sysctl_;                 // and what the kernel made of it
};

}  // namespace netkitd
