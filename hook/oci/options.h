// The hook's command line.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"
#include "ipc/protocol.h"
#include "oci/action.h"

namespace netkitd::hook {

struct Options {
    Stage stage = Stage::from_state;
    std::string socket_path{ipc::kDefaultSocketPath};
    // For everything, from the first byte of the state to the daemon's reply. Shorter than `timeout` in
    // oci-hooks.d/netkitd.json, so that the hook can still say why before the runtime kills it.
    std::chrono::milliseconds deadline{5000};
    bool help = false;
};

inline constexpr std::string_view kUsage =
    "usage: netkit-hook [--socket PATH] [--deadline-ms N] [createRuntime|poststop] < STATE\n"
    "\n"
    "The OCI hook of netkitd: asks the daemon to attach or detach the container whose state is on stdin.\n"
    "Container runtimes start it; see oci-hooks(5).\n";

[[nodiscard]] Result<Options> parse_options(int argc, char** argv);

}  // namespace netkitd::hook
