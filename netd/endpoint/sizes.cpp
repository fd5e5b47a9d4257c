#include "endpoint/sizes.h"

#include <algorithm>

#include "base/log.h"
#include "endpoint/process.h"

namespace netkitd {

void PairSizes::note_made(std::uint32_t endpoint_id, const link::SegmentSizes& sizes) {
    of_peers_.insert_or_assign(endpoint_id, sizes);
}

Result<void> PairSizes::give(const Endpoint& endpoint, const std::vector<link::Device>& devices,
                             const link::SegmentSizes& sizes) {
    const EndpointRecord& record = endpoint.record;
    const auto device = std::ranges::find(devices, record.host_ifindex, &link::Device::ifindex);
    if (device != devices.end() && device->sizes != sizes) {
        NK_TRY(plumbing_.set_host_sizes(record.host_ifindex, sizes));
    }
    const auto known = of_peers_.find(record.id);
    if (known != of_peers_.end() && known->second == sizes) {
        return {};
    }
    // Packets pass all the same, if not as large: a failure is told, and tried again when it would be another size.
    const Result<void> given = give_to_peer(record, sizes);
    forget(record);
    of_peers_.emplace(record.id, sizes);
    if (!given && !endpoint.dying()) {
        log(LogLevel::notice, "{}: the container's end keeps its packet sizes: {}", record.host_name,
            given.error().message());
        for (const Member& member : record.members) {
            refused_.emplace(member.container_id, given.error().message());
        }
    }
    return {};
}

Result<void> PairSizes::give_to_peer(const EndpointRecord& record, const link::SegmentSizes& sizes) {
    const auto peer = NK_TRY(plumbing_.look_at_peer(record.host_ifindex));
    if (!peer || peer->sizes == sizes) {
        return {};
    }
    Result<void> result = fail(ErrorKind::not_found, "the process that its network namespace belongs to is not known");
    for (const Member& member : record.members) {
        const auto process =
            member.pid ? open_process(*member.pid, member.pid_start_time) : Result<UniqueFd>(UniqueFd());
        if (!process || !*process) {
            continue;
        }
        result = plumbing_.set_peer_sizes(process->get(), record.netns_cookie, peer->ifindex, sizes);
        if (result) {
            return {};
        }
    }
    return result;
}

void PairSizes::forget(const EndpointRecord& record) {
    of_peers_.erase(record.id);
    for (const Member& member : record.members) {
        refused_.erase(member.container_id);
    }
}

}  // namespace netkitd
