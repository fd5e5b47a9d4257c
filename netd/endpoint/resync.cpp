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
    const auto device = std::ranges::find(found.devices, record.host_ifindex, &link::Device::ifindex);
    if (device != found.devices.end() && !device->up) {
        NK_TRY(plumbing_.set_host_end_up(record.host_ifindex));
        log(LogLevel::notice, "{} was down: set up again", record.host_name);
    }
    return repair_routes(record, found);
}

// What it has beside its network's, and shall not have, goes first: of the first version's, which led to its device.
Result<void> EndpointManager::repair_routes(const EndpointRecord& record, const Found& found) {
    const std::vector<NarrowRoute> wanted = narrow_routes_of(record, settings_);
    for (const IpAddr& address : record.addresses()) {
        std::vector<link::HostRoute> there;
        std::ranges::copy_if(found.routes, std::back_inserter(there),
                             [&](const link::HostRoute& route) { return route.container == address; });
        const auto route = std::ranges::find(wanted, address, &NarrowRoute::container);
        const bool is_right =
            route == wanted.end() ? there.empty() : there.size() == 1 && there.front().mtu == route->mtu;
        if (!is_right) {
            NK_TRY(replace_routes(address, wanted));
        }
    }
    return {};
}

Result<void> EndpointManager::replace_routes(const IpAddr& address, const std::vector<NarrowRoute>& wanted) {
    NK_TRY(plumbing_.remove_host_routes(address));
    const auto route = std::ranges::find(wanted, address, &NarrowRoute::container);
    return route == wanted.end() ? Result<void>() : plumbing_.add_host_route(address, route->mtu, route->gateway);
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
        if (device.is_host_end() && !has_device(device.ifindex)) {
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
    for (const link::HostRoute& route : found.routes) {
        if (!addresses.contains(route.container)) {
            keep_first(result, plumbing_.remove_host_routes(route.container));
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
