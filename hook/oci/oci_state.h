// The container state that an OCI runtime writes to a hook's stdin (OCI runtime specification, "State").
//
// Untrusted and of any size, so nothing is built from it but what the hook needs: four fields and the io.netkitd.*
// annotations. Fields that are not ours may hold anything (crun adds `root`), only not nested without end.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace netkitd::hook {

struct OciState {
    std::string id;
    // In the runtime's view. 0 where there is no process: poststop (crun writes 0, runc and Podman leave it out).
    std::int32_t pid = 0;
    // "creating", "created", "running" or "stopped"; runtimes differ on which of them a stage shows. Empty: not given.
    std::string status;
    std::string bundle{};                            // the directory of its config.json
    std::string root{};                              // of crun alone: its root file system
    std::map<std::string, std::string> annotations;  // only io.netkitd.*
};

[[nodiscard]] Result<OciState> parse_oci_state(std::string_view text);

}  // namespace netkitd::hook
