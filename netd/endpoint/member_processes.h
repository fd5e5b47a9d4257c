// The processes of the endpoints' members: when they are over, and which of them run on without a network.
#pragma once

#include <map>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "endpoint/endpoint_table.h"
#include "endpoint/process_watch.h"
#include "store/store.h"

namespace netkitd {

class MemberProcesses {
public:
    // Borrows it for its life.
    explicit MemberProcesses(ProcessWatch& watch) : watch_(watch) {}

    // Without a pidfd there is nothing to watch.
    [[nodiscard]] Result<void> watch(const std::string& container_id, UniqueFd pidfd);
    // All of an endpoint that was recorded; those whose process is over are marked as exited.
    void watch_members(Endpoint& endpoint);
    // It is detached, or its process is over.
    void forget(const std::string& container_id);

    // The endpoint's pair is gone: those of its members that run are cut off.
    void note_cut_off(const EndpointRecord& record);
    void note_attached(const std::string& container_id) { cut_off_.erase(container_id); }
    // The name of the pair that each of them had, by container.
    [[nodiscard]] const std::map<std::string, std::string>& cut_off() const { return cut_off_; }

private:
    // False: its process is over, or not known.
    [[nodiscard]] bool watch_process(const Member& member);

    ProcessWatch& watch_;
    std::map<std::string, std::string> cut_off_;
};

}  // namespace netkitd
