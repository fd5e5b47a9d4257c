// netkitctl doctor: what this host lacks for netkitd, and how to get it. Asks the host; of the daemon, if it
// runs, only what went wrong lately.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "link/firewall.h"
#include "link/uplink.h"

namespace netkitd::ctl {

enum class Verdict {
    ok,
    warn,     // works, but less well, or only in part
    missing,  // the main job doesn't work without it
};

struct Finding {
    std::string check;
    Verdict verdict{};
    std::string text;  // what was found and what it means
    std::string fix;   // how to get it; empty when ok
};

// All that the doctor looks at, so that a test can be any host.
struct Host {
    std::filesystem::path root;  // before every path
    std::string kernel_release;
    bool is_superuser = false;
    std::vector<std::string> search_path;  // of programs, without `root`
    std::function<Result<bool>()> netkit_supported;
    // statfs(2), f_type; nothing when the path is not there.
    std::function<std::optional<std::uint64_t>(const std::filesystem::path&)> filesystem_type;
    // By which containers reach what this host does.
    std::function<Result<std::vector<link::Uplink>>()> uplinks;
    // Of the configuration, which the daemon knows.
    std::function<Result<std::vector<std::string>>()> missing_uplinks;
    // For what leaves.
    std::function<Result<std::uint32_t>()> ipsec_policies;
    std::function<Result<std::vector<link::FilterChain>>()> filter_chains;
    // Of the firewall: where packets that leave get any port.
    std::function<Result<std::vector<std::string>>()> chains_that_give_any_port;
    // How many ports the daemon publishes to everybody who is outside.
    std::function<std::uint64_t()> open_ports;
    // What the daemon could not do lately, "attach ID: why"; an error where none answers.
    std::function<Result<std::vector<std::string>>()> last_errors;
};

// `socket_path`: of the daemon.
[[nodiscard]] Host this_host(const std::string& socket_path);
[[nodiscard]] std::vector<Finding> examine(const Host& host);
[[nodiscard]] bool is_fit(const std::vector<Finding>& findings);

[[nodiscard]] std::string print_findings(const std::vector<Finding>& findings);
// {"fit":true,"findings":[{"check","verdict","text","fix"}]}
[[nodiscard]] nlohmann::json findings_json(const std::vector<Finding>& findings);

}  // namespace netkitd::ctl
