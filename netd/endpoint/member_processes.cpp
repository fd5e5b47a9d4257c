#include "endpoint/member_processes.h"

#include <utility>

#include "base/log.h"
#include "endpoint/process.h"

namespace netkitd {

Result<void> MemberProcesses::watch(const std::string& container_id, UniqueFd pidfd) {
    if (!pidfd) {
        return {};
    }
    return with_context(watch_.watch(container_id, std::move(pidfd)), "watch the container's process");
}

void MemberProcesses::watch_members(Endpoint& endpoint) {
    for (const Member& member : endpoint.record.members) {
        if (member.pid && !watch_process(member)) {
            endpoint.exited.insert(member.container_id);
        }
    }
}

bool MemberProcesses::watch_process(const Member& member) {
    if (!member.pid) {
        return false;
    }
    auto process = open_process(*member.pid, member.pid_start_time);
    return process && watch(member.container_id, std::move(*process));
}

void MemberProcesses::forget(const std::string& container_id) {
    watch_.forget(container_id);
    cut_off_.erase(container_id);
}

void MemberProcesses::note_cut_off(const EndpointRecord& record) {
    for (const Member& member : record.members) {
        if (watch_process(member) && has_netns(*member.pid)) {
            log(LogLevel::warning, "{} was deleted while container {} runs: it has no network until it is restarted",
                record.host_name, member.container_id);
            cut_off_.insert_or_assign(member.container_id, record.host_name);
        }
    }
}

}  // namespace netkitd
