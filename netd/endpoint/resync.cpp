// EndpointManager::resync(): how kernel, pins and database come to agree again.
#include <algorithm>
#include <iterator>

#include "base/log.h"
#include "endpoint/manager.h"

namespace netkitd {

// What the kernel has of the endpoints.
struct EndpointManager::Found {
    std::vector<link::Device> devices;
    std::set<std::string> programs;
    std::set<IpAddr> entries;
    std::vector<std::uint32_t> drops;  // counted of these devices
    std::set<link::HostRoute> routes;
};

Result<void> EndpointManager::resync() {
    removed_devices_.clear();  // what was to be heard of them may be lost
    const Found found = NK_TRY(look_at_kernel());
    Result<void> result = give_back_vanished(found.devices);
    for (const auto& [id, endpoint] : endpoints_.all()) {
        keep_first(result, with_context(repair(endpoint.record, found),
                                        formatted("repair endpoint {} ({})", id, endpoint.record.host_name)));
    }
    keep_first(result, remove_strays(found));
    keep_first(result, forget_records());
    return result;
}

Result<EndpointManager::Found> EndpointManager::look_at_kernel() {
    Found found{.devices = NK_TRY(plumbing_.host_devices()),
                .programs = {},
                .entries = {},
                .drops = NK_TRY(plumbing_.devices_with_drops()),
                .routes = NK_TRY(plumbing_.host_routes())};
    std::ranges::move(NK_TRY(plumbing_.attached_programs()), std::inserter(found.programs, found.programs.end()));
    std::ranges::transform(NK_TRY(plumbing_.entries()), std::inserter(found.entries, found.entries.end()),
                           &datapath::EndpointEntry::address);
    return found;
}

Result<void> EndpointManager::give_back_vanished(const std::vector<link::Device>& devices) {
    std::vector<std::uint32_t> gone;
    for (const auto& [id, endpoint] : endpoints_.all()) {
        if (!std::ranges::contains(devices, endpoint.record.host_ifindex, &link::Device::ifindex)) {
            gone.push_back(endpoint.record.host_ifindex);
        }
    }
    Result<void> result;
    std::ranges::for_each(gone, [&](std::uint32_t ifindex) { keep_first(result, device_removed(ifindex)); });
    return result;
}

// The program first, as at an attach: nothing passes by the checks.
Result<void> EndpointManager::repair(const EndpointRecord& record, const Found& found) {
    if (to_take_up_.contains(record.id)) {
        NK_TRY(take_up(record));
        to_take_up_.erase(record.id);
        return {};
    }
    if (!found.programs.contains(record.host_name)) {
        NK_TRY(plumbing_.attach_program(record.host_name, record.host_ifindex, record.device_mode));
        log(LogLevel::notice, "{} had lost its program: attached again", record.host_name);
    }
    if (!std::ranges::contains(found.drops, record.host_ifindex)) {
        NK_TRY(plumbing_.count_drops(record.host_ifindex));
    }
    const auto addresses = record.addresses();
    if (!std::ranges::all_of(addresses, [&](const IpAddr& a) { return found.entries.contains(a); })) {
        for (const datapath::EndpointEntry& entry : datapath_entries(record)) {
            NK_TRY(plumbing_.put_entry(entry));
        }
        log(LogLevel::notice, "{} had lost its entry: put back", record.host_name);
    }
    NK_TRY(pair_sizes_.give(endpoints_.at(record.id), found.devices, settings_.sizes));
    const link::HostEnd end = host_end_of(record, settings_);
    const auto device = std::ranges::find(found.devices, record.host_ifindex, &link::Device::ifindex);
    const auto has_route = [&](const std::optional<IpAddr>& address) {
        return !address || found.routes.contains({.container = *address, .ifindex = record.host_ifindex});
    };
    if (device != found.devices.end() && device->up && has_route(end.ipv4) && has_route(end.ipv6)) {
        return {};
    }
    NK_TRY(plumbing_.configure_host_end(record.host_name, end));
    log(LogLevel::notice, "{} was down or had lost a route: put back", record.host_name);
    return {};
}

Result<void> EndpointManager::repair_forwarding(std::uint32_t host_ifindex) {
    const Endpoint* endpoint = endpoints_.find_by_device(host_ifindex);
    if (endpoint == nullptr) {
        return {};
    }
    // A new device says "off" too, and by now it is on; one that is gone needs nothing.
    const std::string& name = endpoint->record.host_name;
    const link::HostEnd end = host_end_of(endpoint->record, settings_);
    const auto on = plumbing_.forwards(name, end.ipv6.has_value());
    if (on ? *on : on.error().kind() == ErrorKind::not_found) {
        return {};
    }
    log(LogLevel::notice, "forwarding of {} was turned off: turned on again, its container needs it", name);
    return plumbing_.configure_host_end(name, end);
}

// An attach that a kill cut short leaves a pair that nobody was told of; its container never started.
Result<void> EndpointManager::remove_strays(const Found& found) {
    std::set<std::string> names;
    std::set<IpAddr> addresses;
    for (const auto& [id, endpoint] : endpoints_.all()) {
        names.insert(endpoint.record.host_name);
        std::ranges::copy(endpoint.record.addresses(), std::inserter(addresses, addresses.end()));
    }
    Result<void> result;
    for (const link::Device& device : found.devices) {
        if (device.is_host_end() && !names.contains(device.name)) {
            log(LogLevel::notice, "remove {}: it belongs to no endpoint", device.name);
            keep_first(result, plumbing_.remove_pair(device.ifindex));
        }
    }
    for (const std::string& name : found.programs) {
        if (!names.contains(name)) {
            keep_first(result, plumbing_.detach_program(name));
        }
    }
    for (const IpAddr& address : found.entries) {
        if (!addresses.contains(address)) {
            keep_first(result, plumbing_.remove_entry(address));
        }
    }
    for (const std::uint32_t ifindex : found.drops) {
        if (!has_device(ifindex)) {
            keep_first(result, plumbing_.forget_drops(ifindex));
        }
    }
    return result;
}

Result<void> EndpointManager::forget_records() {
    while (!to_forget_.empty()) {
        const auto& [id, freed] = *to_forget_.begin();
        NK_TRY(store_.remove_endpoint(id, freed));
        to_forget_.erase(to_forget_.begin());
    }
    return {};
}

}  // namespace netkitd
