#include "node/port_reservation.h"

#include <format>

#include "link/sysctl.h"
#include "node/host_changes.h"

namespace netkitd {
namespace {

constexpr const char* kReservedPorts = "ipv4/ip_local_reserved_ports";

}  // namespace

Result<void> PortReservation::sync(const PortRange& ports) {
    const std::string before = NK_TRY(link::read_sysctl(kReservedPorts));
    if (ports == reserved_ && before == sysctl_) {
        return {};
    }
    const std::string range = std::format("{}-{}", ports.first, ports.last);
    // The kernel merges overlapping ranges (proc_do_large_bitmap), so writing the union is idempotent.
    const std::string wanted = before.empty() ? range : std::format("{},{}", before, range);
    const bool recorded = is_recorded(NK_TRY(store_.host_changes()), kReservedPorts);
    if (!recorded) {
        NK_TRY(record_sysctl(store_, kReservedPorts, before, wanted));
    }
    NK_TRY(link::write_sysctl(kReservedPorts, wanted));
    reserved_ = ports;
    sysctl_ = NK_TRY(link::read_sysctl(kReservedPorts));
    if (!recorded && sysctl_ == before) {
        return forget_sysctl(store_, kReservedPorts);
    }
    return {};
}

}  // namespace netkitd
