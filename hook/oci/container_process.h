// The container's process and its namespaces, as descriptors that stay what they are.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"
#include "oci/private_file.h"

namespace netkitd::hook {

struct ContainerProcess {
    UniqueFd netns;
    UniqueFd mount_namespace;
    UniqueFd pidfd;
    Owner root_user;  // whom the host sees as the container's root
};

// The process that has this pid now must still be running when its namespaces are open: else the pid may have been used
// again in between, and the netns would be a stranger's.
[[nodiscard]] Result<ContainerProcess> open_container_process(std::int32_t pid);

// A hook of rootless Podman runs in the user's own user namespace (user_namespaces(7)). Nothing it holds there is of
// use to a daemon of the host.
[[nodiscard]] Result<void> refuse_user_namespace();

}  // namespace netkitd::hook
