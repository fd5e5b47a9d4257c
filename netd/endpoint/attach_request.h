// What a hook asks for a container, and the answer.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "config/attach_options.h"
#include "endpoint/endpoint_view.h"
#include "store/store.h"

namespace netkitd {

struct AttachRequest {
    std::string container_id;
    std::optional<std::int32_t> pid;
    AttachOptions options;
    UniqueFd netns;
    UniqueFd pidfd;
};

struct AttachReply {
    EndpointRecord record;
    NetworkPlace network;
    std::vector<std::string> notes;
    std::chrono::microseconds kernel_wait{};
    bool existing = false;  // the netns was attached already
};

// The container as a member of its endpoint.
[[nodiscard]] Result<Member> member_of(const AttachRequest& request);

}  // namespace netkitd
