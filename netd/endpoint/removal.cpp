// How an endpoint ends: with its last member, or with its device.
#include <algorithm>

#include "base/format.h"
#include "base/log.h"
#include "endpoint/manager.h"
#include "endpoint/named_netns.h"
#include "endpoint/process.h"

namespace netkitd {

Result<void> EndpointManager::detach(const std::string& container_id) {
    processes_.forget(container_id);
    const Endpoint* endpoint = find_container(container_id);
    return endpoint == nullptr ? Result<void>() : drop_member(endpoint->record.id, container_id);
}

Result<void> EndpointManager::stopped(const std::string& container_id) {
    const Endpoint* endpoint = find_container(container_id);
    if (endpoint == nullptr || endpoint->record.members.size() > 1) {
        return detach(container_id);
    }
    if (!NK_TRY(plumbing_.peer_has_processes(endpoint->record.host_ifindex))) {
        return detach(container_id);
    }
    // It stays a member, whose process is over, so that the endpoint is known by it; one that starts again joins it.
    process_exited(container_id);
    log(LogLevel::info, "{} is over, but others live in its network namespace: its endpoint stays with them",
        container_id);
    return {};
}

Result<void> EndpointManager::drop_member(std::uint32_t endpoint_id, const std::string& container_id) {
    Endpoint endpoint = endpoints_.at(endpoint_id);
    processes_.forget(container_id);
    if (endpoint.record.members.size() <= 1) {
        return remove(endpoint_id);
    }
    std::erase_if(endpoint.record.members, [&](const Member& m) { return m.container_id == container_id; });
    endpoint.exited.erase(container_id);
    return store_.put_endpoint(endpoints_.put(std::move(endpoint)).record);
}

Result<void> EndpointManager::remove(std::uint32_t endpoint_id) {
    const EndpointRecord record = endpoints_.take(endpoint_id).record;
    ++ended_;
    removed_devices_.insert(record.host_ifindex);
    std::vector<IpAddr> addresses = record.addresses();
    // Moved on, with the container.
    std::erase_if(addresses, [this](const IpAddr& address) { return endpoints_.has_address(address); });
    // The device has it; none, if the netns took the device with it.
    const auto device = plumbing_.find_host_device(record.host_name);
    Result<void> result;
    if (!record.published.empty()) {
        keep_first(result, plumbing_.end_frontends(frontends_of(record)));
    }
    for (const IpAddr& address : addresses) {
        keep_first(result, plumbing_.remove_entry(address));
        if (record.mtu < settings_.host_mtu) {
            keep_first(result, plumbing_.remove_host_routes(address));
        }
    }
    keep_first(result, plumbing_.remove_pair(record.host_ifindex));
    if (device && *device) {
        undo_changes(record, changes_in((*device)->alias));
    }
    keep_first(result, plumbing_.detach_program(record.host_name));
    keep_first(result, plumbing_.forget_drops(record.host_ifindex));
    to_take_up_.erase(record.id);
    pair_sizes_.forget(record);
    to_forget_.emplace(record.id, addresses);
    keep_first(result, forget_records());
    std::ranges::for_each(addresses, [this](const IpAddr& address) { pools_.release(address); });
    homes_.give_back(record.home);
    return with_context(result, formatted("give back endpoint {} of {}", record.id, first_container(record)));
}

// A netns that lives on without its endpoint is found by a process in it, or, where none was named, by its cookie among
// those that have a name. That it is nowhere is most often so: it ends with the container.
void EndpointManager::undo_changes(const EndpointRecord& record, const NetnsChanges& changes) {
    if (!changes.any()) {
        return;
    }
    UniqueFd netns;
    for (const Member& member : record.members) {
        if (auto process = member.pid ? open_process(*member.pid, member.pid_start_time) : UniqueFd()) {
            netns = std::move(*process);
        }
    }
    if (!netns && std::ranges::none_of(record.members, [](const Member& member) { return member.pid.has_value(); })) {
        netns = find_named_netns(record.netns_cookie);
    }
    if (!netns) {
        return;
    }
    if (const auto undone = plumbing_.undo_changes_in(netns.get(), record.netns_cookie, changes); !undone) {
        log(LogLevel::notice, "{}: restore the settings of its network namespace: {}", first_container(record),
            undone.error().message());
    }
}

Result<void> EndpointManager::device_removed(std::uint32_t host_ifindex) {
    const Endpoint* endpoint = endpoints_.find_by_device(host_ifindex);
    if (endpoint == nullptr) {
        removed_devices_.erase(host_ifindex);
        return {};
    }
    const EndpointRecord record = endpoint->record;
    for (const Member& member : record.members) {
        processes_.forget(member.container_id);
    }
    processes_.note_cut_off(record);
    Result<void> removed = remove(record.id);
    removed_devices_.erase(host_ifindex);
    log(LogLevel::info, "endpoint {} of {} is gone with its device; freed: {}", record.id, first_container(record),
        record.address_text());
    return removed;
}

void EndpointManager::process_exited(const std::string& container_id) {
    processes_.forget(container_id);
    if (Endpoint* endpoint = endpoints_.find_by_container(container_id)) {
        endpoint->exited.insert(container_id);
    }
}

}  // namespace netkitd
