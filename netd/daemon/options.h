// netkitd's command line.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "base/result.h"

namespace netkitd {

struct Options {
    enum class Action { serve, check_config, purge };
    Action action = Action::serve;
    bool force = false;  // --purge although containers run
    std::string config_path = "/etc/netkitd/netkitd.json";
    bool config_required = false;  // named on the command line: it must be there
    std::string socket_path = "/run/netkitd/netkitd.sock";
    std::string bpffs_path = "/sys/fs/bpf/netkitd";
    std::optional<std::string> store_path;  // over the config's `store`
};

// Options, or text to print and leave with status 0 (--help, --version). A usage error is ErrorKind::invalid.
[[nodiscard]] Result<std::variant<Options, std::string>> parse_options(int argc, const char* const* argv);

}  // namespace netkitd
