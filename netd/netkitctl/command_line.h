// netkitctl's command line: global options, a command, the command's own options.
#pragma once

#include <map>
#include <string>
#include <variant>

#include "base/result.h"
#include "ipc/protocol.h"

namespace netkitd::ctl {

enum class Command { status, endpoint_list, endpoint_show, attach, detach, port_list, flow_list, flow_flush, doctor };

struct CommandLine {
    Command command{};
    bool json = false;
    std::string socket_path{ipc::kDefaultSocketPath};
    std::string id;                                  // endpoint show, attach, detach
    std::string netns;                               // attach: a path
    std::map<std::string, std::string> annotations;  // attach
    ipc::FlowSelection flows;                        // flow list, flow flush
    bool all = false;                                // flow flush
};

// What to do, or text to print and leave with status 0 (--help, --version). An error is a usage error.
[[nodiscard]] Result<std::variant<CommandLine, std::string>> parse_command_line(int argc, const char* const* argv);

}  // namespace netkitd::ctl
