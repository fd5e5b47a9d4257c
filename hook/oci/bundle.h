// What the hook needs of a container's config.json (OCI runtime specification, "Configuration"), which the state does
// not say: where its root file system is, its host name, and what is mounted on its /etc/hosts.
#pragma once

#include <string>

#include "base/result.h"
#include "oci/oci_state.h"

namespace netkitd::hook {

struct Bundle {
    std::string root;       // absolute, in the container's mount namespace
    std::string host_name;  // empty: the host's
    // Where Podman wrote the container's /etc/hosts; empty: nowhere, or the user mounts another.
    std::string hosts_file;
};

// crun's state has the root itself, and its bundle is "/" where a user namespace hides the real one (seen: crun 1.21).
[[nodiscard]] Result<Bundle> read_bundle(const OciState& state);

}  // namespace netkitd::hook
