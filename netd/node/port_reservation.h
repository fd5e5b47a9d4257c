// The ports that masquerade owns and those that are published, reserved on the host (ip_local_reserved_ports): its own
// connections do not get them, unless a program asks for one by its number.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
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
    // Masquerade's, and again what is published if somebody else took it out.
    [[nodiscard]] Result<void> sync(const PortRange& pool);
    // In place of those before: noted only, until masquerade's are known. Refused where the host would keep too few for
    // its connections.
    [[nodiscard]] Result<void> reserve_published(std::set<std::uint16_t> ports);

private:
    [[nodiscard]] Result<std::string> reserved_by_others(const std::string& now);
    [[nodiscard]] Result<void> reserve(const PortRange& pool);

    Store& store_;
    std::optional<PortRange> pool_;
    std::set<std::uint16_t> published_;
    std::string reserved_;  // what was merged into the sysctl
    std::string sysctl_;    // and what the kernel made of it
};

}  // namespace netkitd
