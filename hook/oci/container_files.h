// /etc/resolv.conf and /etc/hosts of a container, which its runtime leaves to whoever gives it a network.
//
// At createRuntime the container's mount namespace and root file system are there, and its process waits (seen: crun
// 1.21, runc 1.1). So resolv.conf is mounted there, by the hook itself, which may do what a hook of the stage
// createContainer may not: with crun that one runs after a root file system that is to be read-only has become so, and
// in the container's user namespace. It is mounted and not written, since a file in the container's root would be in
// what `podman commit` makes, and in the user's own directory with `podman run --rootfs`. Of an image without
// /etc/resolv.conf an empty one stays behind, as it does of all that Podman mounts itself. One that is mounted already
// is the user's (`-v …:/etc/resolv.conf`) and stays; with a user namespace, crun mounts that later, on top.
//
// /etc/hosts is Podman's own, with one line to change (own_name.h).
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "oci/container_process.h"
#include "oci/oci_state.h"

namespace netkitd::hook {

// `reply`: the daemon's. Moves the calling thread, which must be the only one, to the container's mount namespace.
[[nodiscard]] Result<void> put_container_files(const ContainerProcess& process, const OciState& state,
                                               const nlohmann::json& reply);

}  // namespace netkitd::hook
