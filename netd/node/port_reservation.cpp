#include "node/port_reservation.h"

#include <algorithm>
#include <utility>

#include "base/format.h"
#include "base/parse_number.h"
#include "base/quote.h"
#include "base/words.h"
#include "link/sysctl.h"
#include "node/host_changes.h"

namespace netkitd {
namespace {

constexpr const char* kReservedPorts = "ipv4/ip_local_reserved_ports";
constexpr const char* kLocalRange = "ipv4/ip_local_port_range";

// "49152\t65535"
Result<PortRange> parse_local_range(const std::string& text) {
    const auto words = words_of(text);
    const auto first = words.empty() ? std::nullopt : parse_number<std::uint16_t>(words.front());
    const auto last = words.size() != 2 ? std::nullopt : parse_number<std::uint16_t>(words.back());
    if (!first || !last) {
        return fail(ErrorKind::internal, "sysctl {}: {} is not two ports", kLocalRange, quote(text));
    }
    return PortRange{.first = *first, .last = *last};
}

}  // namespace

// What it was before, if nobody but netkitd has written it since.
Result<std::string> PortReservation::reserved_by_others(const std::string& now) {
    for (const HostChange& change : NK_TRY(store_.host_changes())) {
        if (recorded_sysctl(change) == kReservedPorts &&
            NK_TRY(parse_port_ranges(change.after)) == NK_TRY(parse_port_ranges(now))) {
            return change.before;
        }
    }
    return now;
}

Result<HostPorts> PortReservation::host_ports() {
    const std::string reserved = NK_TRY(reserved_by_others(NK_TRY(link::read_sysctl(kReservedPorts))));
    return HostPorts{.ephemeral = NK_TRY(parse_local_range(NK_TRY(link::read_sysctl(kLocalRange)))),
                     .reserved = NK_TRY(parse_port_ranges(reserved))};
}

Result<void> PortReservation::reserve_published(std::set<std::uint16_t> ports) {
    if (ports == published_) {
        return {};
    }
    if (!pool_) {
        published_ = std::move(ports);
        return {};
    }
    if (!std::ranges::includes(published_, ports)) {
        NK_TRY(check_published_ports(ports, *pool_, NK_TRY(host_ports())));
    }
    std::swap(published_, ports);
    Result<void> reserved = reserve(*pool_);
    if (!reserved) {
        published_ = std::move(ports);
    }
    return reserved;
}

Result<void> PortReservation::sync(const PortRange& pool) {
    NK_TRY(reserve(pool));
    pool_ = pool;
    return {};
}

Result<void> PortReservation::reserve(const PortRange& pool) {
    const std::string before = NK_TRY(link::read_sysctl(kReservedPorts));
    const std::string ports = port_ranges_text(published_, pool);
    if (ports == reserved_ && before == sysctl_) {
        return {};
    }
    const std::string others = NK_TRY(reserved_by_others(before));
    // The kernel merges overlapping ranges (proc_do_large_bitmap).
    const std::string wanted = others.empty() ? ports : formatted("{},{}", others, ports);
    if (others == before) {
        // Somebody else wrote it since: that is what comes back.
        NK_TRY(forget_sysctl(store_, kReservedPorts));
    }
    NK_TRY(record_sysctl(store_, kReservedPorts, others, wanted));
    NK_TRY(link::write_sysctl(kReservedPorts, wanted));
    reserved_ = ports;
    sysctl_ = NK_TRY(link::read_sysctl(kReservedPorts));
    if (sysctl_ == others) {
        return forget_sysctl(store_, kReservedPorts);
    }
    return {};
}

}  // namespace netkitd
