#include "node/big_tcp.h"

#include <algorithm>
#include <set>

#include "base/log.h"
#include "link/device.h"
#include "link/lower_devices.h"
#include "node/host_changes.h"

namespace netkitd {
namespace {

// Three times 64 KiB, as Cilium has it. The kernel takes up to eight times (GSO_MAX_SIZE, linux/netdevice.h), but a
// larger packet keeps the others waiting for longer.
constexpr std::uint32_t kBigTcpSize = 196608;

// Of the usable uplinks, and of what they stand on: a packet that is too large for a device is cut by the CPU there.
Result<std::vector<link::Device>> devices_of(link::Netlink& host, const std::vector<link::Uplink>& uplinks) {
    std::set<std::uint32_t> ifindexes;
    for (const link::Uplink& uplink : uplinks) {
        if (uplink.usable()) {
            ifindexes.insert(uplink.ifindex);
        }
    }
    std::vector<link::Device> devices = NK_TRY(link::list_devices(host));
    ifindexes = link::with_lower_devices(devices, std::move(ifindexes), link::Parts::included);
    std::erase_if(devices, [&](const link::Device& device) { return !ifindexes.contains(device.ifindex); });
    return devices;
}

// What somebody else made larger stays so.
link::SegmentSizes at_least(const link::SegmentSizes& sizes, std::uint32_t size) {
    return {.gso = std::max(sizes.gso, size),
            .gro = std::max(sizes.gro, size),
            .gso_ipv4 = std::max(sizes.gso_ipv4, size),
            .gro_ipv4 = std::max(sizes.gro_ipv4, size)};
}

}  // namespace

Result<void> BigTcp::sync(bool wanted, const std::vector<link::Uplink>& uplinks) {
    const std::vector<link::Device> devices = NK_TRY(devices_of(host_, uplinks));
    decide(wanted, devices);
    NK_TRY(give_back(devices));
    for (const link::Device& uplink : devices) {
        if (!enabled()) {
            return give_back(devices);
        }
        NK_TRY(enlarge(uplink));
    }
    return enabled() ? Result<void>() : give_back(devices);
}

void BigTcp::decide(bool wanted, const std::vector<link::Device>& uplinks) {
    Limits limits;
    size_ = kBigTcpSize;
    std::string smallest;
    for (const link::Device& uplink : uplinks) {
        limits.emplace(uplink.ifindex, uplink.tso_max_size);
        if (uplink.tso_max_size < size_) {
            size_ = uplink.tso_max_size;
            smallest = uplink.name;
        }
    }
    if (limits != refused_limits_) {
        refused_limits_ = limits;
        refusal_.clear();
    }
    why_off_.clear();
    if (!wanted) {
        turn_off("turned off by the configuration (`big_tcp`)");
    } else if (size_ <= link::kLegacySegmentSize) {
        turn_off(formatted("{}, an uplink, takes packets of at most {} bytes (its tso_max_size)", smallest, size_));
    } else if (!refusal_.empty()) {
        turn_off(refusal_);
    }
}

void BigTcp::turn_off(std::string reason) {
    why_off_ = std::move(reason);
    size_ = link::kLegacySegmentSize;
}

// From all devices that shall not have what they were given: all of them when it is off.
Result<void> BigTcp::give_back(const std::vector<link::Device>& uplinks) {
    for (const HostChange& change : NK_TRY(store_.host_changes())) {
        const auto sizes = recorded_sizes(change);
        if (!sizes || (enabled() && std::ranges::contains(uplinks, sizes->ifindex, &link::Device::ifindex))) {
            continue;
        }
        NK_TRY(restore_sizes(host_, *sizes));
        NK_TRY(store_.forget_host_change(change.what));
    }
    return {};
}

Result<void> BigTcp::enlarge(const link::Device& uplink) {
    link::SegmentSizes before = uplink.sizes;
    if (const auto recorded = find_recorded_sizes(NK_TRY(store_.host_changes()), uplink.ifindex)) {
        if (recorded->after == uplink.sizes) {
            before = recorded->before;
        } else {
            // Somebody else changed it since: that is what it gets back.
            NK_TRY(store_.forget_host_change(recorded->what));
        }
    }
    const link::SegmentSizes after = at_least(before, size_);
    if (after == uplink.sizes) {
        return {};
    }
    NK_TRY(record_sizes(store_, uplink, before, after));
    if (const auto set = set_sizes_(host_, uplink.ifindex, after); !set) {
        refusal_ =
            formatted("{}, an uplink, refuses packets of {} bytes: {}", uplink.name, size_, set.error().message());
        log(LogLevel::notice, "BIG TCP is off: {}", refusal_);
        turn_off(refusal_);
        return {};
    }
    log(LogLevel::info, "{}: packets of TCP may be up to {} bytes large (BIG TCP)", uplink.name, size_);
    return {};
}

}  // namespace netkitd
