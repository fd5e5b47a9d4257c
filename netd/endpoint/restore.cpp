// EndpointManager::restore(): what the daemon finds at its start, and how kernel, pins and database come to agree.
#include <algorithm>
#include <iterator>
#include <set>

#include "base/log.h"
#include "endpoint/host_name.h"
#include "endpoint/manager.h"
#include "endpoint/process.h"

namespace netkitd {
namespace {

bool is_pair_of(const link::Device& device, const EndpointRecord& record) {
    return device.ifindex == record.host_ifindex && device.name == record.host_name;
}

bool looks_like_ours(const link::Device& device) {
    return is_host_device_name(device.name) && (device.kind == "netkit" || device.kind == "veth") &&
           device.alias.starts_with("netkitd ");
}

}  // namespace

Result<void> EndpointManager::restore() {
    const auto devices = NK_TRY(plumbing_.host_devices());
    for (const EndpointRecord& record : NK_TRY(store_.endpoints())) {
        const bool alive = std::ranges::any_of(devices, [&](const auto& device) { return is_pair_of(device, record); });
        if (!alive) {
            log(LogLevel::info, "endpoint {} of {} ended while the daemon was not running", record.id,
                record.members.empty() ? "nobody" : record.members.front().container_id);
            NK_TRY(store_.remove_endpoint(record.id));
            NK_TRY(plumbing_.forget_flows(record.id));
            continue;
        }
        NK_TRY_CONTEXT(std::format("take up endpoint {} ({})", record.id, record.host_name), adopt(record));
    }
    // Also a netns that ended after the devices were listed, and before the notifications are read.
    return resync();
}

Result<void> EndpointManager::adopt(const EndpointRecord& record) {
    const NetworkConfig* network = settings_.config.find_network(record.network);
    for (const IpAddr& address : record.addresses()) {
        const auto prefixes = network == nullptr ? std::vector<IpPrefix>() : network->prefixes();
        const auto prefix = std::ranges::find_if(prefixes, [&](const IpPrefix& p) { return p.contains(address); });
        if (prefix == prefixes.end()) {
            return fail(ErrorKind::refused,
                        "its container {} has {} in network {}, which the configuration does not have any more: put "
                        "the network back until its containers are gone",
                        record.members.front().container_id, address.to_string(), record.network);
        }
        NK_TRY(pools_.at(*prefix).reserve(address));
    }
    for (const datapath::EndpointEntry& entry : datapath_entries(record, place_of(record))) {
        NK_TRY(plumbing_.put_entry(entry));
    }
    NK_TRY(plumbing_.attach_program(record.host_name, record.host_ifindex, record.device_mode));
    NK_TRY(plumbing_.configure_host_end(record.host_name, host_end_of(record)));
    Endpoint& endpoint = endpoints_[record.id];
    endpoint = Endpoint{.record = record, .exited = {}};
    watch_members(endpoint);
    return {};
}

void EndpointManager::watch_members(Endpoint& endpoint) {
    for (const Member& member : endpoint.record.members) {
        if (!member.pid) {
            continue;
        }
        // The pidfd is opened first: then the start time belongs to the process that it refers to.
        auto pidfd = open_pidfd(*member.pid);
        const auto start_time = process_start_time(*member.pid);
        const bool same = pidfd && start_time && *start_time == member.pid_start_time;
        if (!same || !start_watch(member.container_id, std::move(*pidfd))) {
            endpoint.exited.insert(member.container_id);
        }
    }
}

// An attach that a kill cut short leaves a pair that nobody was told of; its container never started.
Result<void> EndpointManager::remove_strays(const std::vector<link::Device>& devices) {
    std::set<std::string> names;
    std::set<IpAddr> addresses;
    for (const auto& [id, endpoint] : endpoints_) {
        names.insert(endpoint.record.host_name);
        std::ranges::copy(endpoint.record.addresses(), std::inserter(addresses, addresses.end()));
    }
    for (const link::Device& device : devices) {
        if (looks_like_ours(device) && !names.contains(device.name)) {
            log(LogLevel::notice, "remove {}: it belongs to no endpoint", device.name);
            NK_TRY(plumbing_.remove_pair(device.ifindex));
        }
    }
    for (const std::string& name : NK_TRY(plumbing_.attached_programs())) {
        if (!names.contains(name)) {
            NK_TRY(plumbing_.detach_program(name));
        }
    }
    for (const IpAddr& address : NK_TRY(plumbing_.entries())) {
        if (!addresses.contains(address)) {
            NK_TRY(plumbing_.remove_entry(address));
        }
    }
    return {};
}

}  // namespace netkitd
