// How the pairs of containers that run already come to have other segment sizes (node/big_tcp): because the daemon is a
// newer one, or an uplink came or went.
#include <algorithm>

#include "base/log.h"
#include "endpoint/manager.h"
#include "endpoint/process.h"

namespace netkitd {

Result<void> EndpointManager::give_sizes(const EndpointRecord& record, const std::vector<link::Device>& devices) {
    const auto device = std::ranges::find(devices, record.host_ifindex, &link::Device::ifindex);
    if (device != devices.end() && device->sizes != settings_.sizes) {
        NK_TRY(plumbing_.set_host_sizes(record.host_ifindex, settings_.sizes));
    }
    const auto known = peer_sizes_.find(record.id);
    if (known != peer_sizes_.end() && known->second == settings_.sizes) {
        return {};
    }
    // Packets pass all the same, if not as large: a failure is told, and tried again when it would be another size.
    const Result<void> given = give_sizes_to_peer(record);
    forget_sizes(record);
    peer_sizes_.emplace(record.id, settings_.sizes);
    if (!given && !endpoints_.at(record.id).dying()) {
        log(LogLevel::notice, "{}: the container's end keeps its packet sizes: {}", record.host_name,
            given.error().message());
        for (const Member& member : record.members) {
            other_sizes_.emplace(member.container_id, given.error().message());
        }
    }
    return {};
}

Result<void> EndpointManager::give_sizes_to_peer(const EndpointRecord& record) {
    const auto peer = NK_TRY(plumbing_.look_at_peer(record.host_ifindex));
    if (!peer || peer->sizes == settings_.sizes) {
        return {};
    }
    Result<void> result = fail(ErrorKind::not_found, "the process that its network namespace belongs to is not known");
    for (const Member& member : record.members) {
        const auto process =
            member.pid ? open_process(*member.pid, member.pid_start_time) : Result<UniqueFd>(UniqueFd());
        if (!process || !*process) {
            continue;
        }
        result = plumbing_.set_peer_sizes(process->get(), record.netns_cookie, peer->ifindex, settings_.sizes);
        if (result) {
            return {};
        }
    }
    return result;
}

void EndpointManager::forget_sizes(const EndpointRecord& record) {
    peer_sizes_.erase(record.id);
    for (const Member& member : record.members) {
        other_sizes_.erase(member.container_id);
    }
}

}  // namespace netkitd
