#include "netkitctl/doctor.h"

#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/format.h"
#include "ipc/client.h"
#include "ipc/protocol.h"
#include "link/device.h"
#include "link/ipsec.h"
#include "netkitctl/doctor_kernel.h"
#include "netkitctl/doctor_system.h"
#include "netkitctl/reply.h"
#include "netkitctl/table.h"

namespace netkitd::ctl {
namespace {

std::string_view name_of(Verdict verdict) {
    switch (verdict) {
        case Verdict::ok:
            return "ok";
        case Verdict::warn:
            return "warn";
        case Verdict::missing:
            return "missing";
    }
    return "missing";
}

// PATH, and the two that a user's PATH often lacks.
std::vector<std::string> program_directories() {
    std::vector<std::string> directories;
    const char* const path = std::getenv("PATH");
    std::string_view rest = path == nullptr ? "" : path;
    while (!rest.empty()) {
        const auto end = std::min(rest.find(':'), rest.size());
        if (rest.starts_with('/')) {
            directories.emplace_back(rest.substr(0, end));
        }
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    directories.insert(directories.end(), {"/usr/sbin", "/usr/local/bin"});
    return directories;
}

std::optional<std::uint64_t> filesystem_type(const std::filesystem::path& path) {
    struct statfs info{};
    if (::statfs(path.c_str(), &info) != 0) {
        return std::nullopt;
    }
    return static_cast<std::uint64_t>(info.f_type);
}

using DaemonStatus = Result<nlohmann::json>;

// What the daemon has, which knows the configuration; where none answers, what one without any would have.
Result<std::vector<link::Uplink>> find_uplinks(const DaemonStatus& status) {
    if (!status) {
        link::Netlink netlink = NK_TRY(link::Netlink::open());
        return link::discover_uplinks(netlink, {});
    }
    std::vector<link::Uplink> uplinks;
    for (const nlohmann::json& uplink : array_at(*status, "uplinks")) {
        const std::string reason = text_at(uplink, "reason");
        link::Uplink known;
        known.name = text_at(uplink, "name");
        known.unusable = reason == "-" ? "" : reason;
        uplinks.push_back(std::move(known));
    }
    return uplinks;
}

std::vector<std::string> find_missing_uplinks(const DaemonStatus& status) {
    const auto missing = status ? status->find("missing_uplinks") : nlohmann::json::const_iterator();
    return status && missing != status->end() ? missing->get<std::vector<std::string>>() : std::vector<std::string>();
}

std::uint64_t count_open_ports(const DaemonStatus& status) {
    constexpr std::string_view kOpen = "/published/open";
    return status ? status->value(nlohmann::json::json_pointer(std::string(kOpen)), std::uint64_t{0}) : 0;
}

Result<std::vector<std::string>> errors_of_daemon(const DaemonStatus& status) {
    if (!status) {
        return std::unexpected(status.error());
    }
    std::vector<std::string> errors;
    for (const nlohmann::json& error : array_at(*status, "last_errors")) {
        const std::string what = text_at(error, "what");
        const std::string message = text_at(error, "message");
        errors.push_back(formatted("{} {}: {}", text_at(error, "when"), what, message));
    }
    return errors;
}

}  // namespace

Host this_host(const std::string& socket_path) {
    utsname name{};
    const bool known = ::uname(&name) == 0;
    constexpr std::chrono::seconds kPatience{5};
    const auto status =
        std::make_shared<const DaemonStatus>(ipc::call(socket_path, {.operation = ipc::Operation::status}, kPatience));
    return {.root = "/",
            .kernel_release = known ? name.release : "",
            .is_superuser = ::geteuid() == 0,
            .search_path = program_directories(),
            .netkit_supported = link::netkit_supported,
            .filesystem_type = filesystem_type,
            .uplinks = [=] { return find_uplinks(*status); },
            .missing_uplinks = [=] { return find_missing_uplinks(*status); },
            .ipsec_policies = link::outbound_ipsec_policies,
            .filter_chains = link::filter_chains,
            .chains_that_give_any_port = link::chains_that_give_any_port,
            .open_ports = [=] { return count_open_ports(*status); },
            .last_errors = [=] { return errors_of_daemon(*status); }};
}

std::vector<Finding> examine(const Host& host) {
    return {check_superuser(host),     check_kernel(host),
            check_netkit(host),        check_btf(host),
            check_bpffs(host),         check_ipv6(host),
            check_jit(host),           check_unprivileged_bpf(host),
            check_cgroup2(host),       check_runtimes(host),
            check_hook(host),          check_service(host),
            check_name_servers(host),  check_uplinks(host),
            check_ipsec(host),         check_firewall(host),
            check_host_services(host), check_published_ports(host),
            check_other_nats(host),    check_last_errors(host)};
}

bool is_fit(const std::vector<Finding>& findings) {
    return std::ranges::none_of(findings, [](const Finding& finding) { return finding.verdict == Verdict::missing; });
}

std::string print_findings(const std::vector<Finding>& findings) {
    Table table;
    for (const Finding& finding : findings) {
        table.add({std::string(name_of(finding.verdict)), finding.check, finding.text});
        if (!finding.fix.empty()) {
            table.add({"", "", "-> " + finding.fix});
        }
    }
    const auto warnings = std::ranges::count(findings, Verdict::warn, &Finding::verdict);
    const auto missing = std::ranges::count(findings, Verdict::missing, &Finding::verdict);
    return table.to_string() +
           (missing > 0 ? formatted("\n{} essential {} missing.\n", missing, missing == 1 ? "thing is" : "things are")
            : warnings > 0 ? formatted("\nNothing essential is missing; {} to look at.\n", warnings)
                           : "\nThis host has all that netkitd needs.\n");
}

nlohmann::json findings_json(const std::vector<Finding>& findings) {
    auto list = nlohmann::json::array();
    for (const Finding& finding : findings) {
        list.push_back({{"check", finding.check},
                        {"verdict", name_of(finding.verdict)},
                        {"text", finding.text},
                        {"fix", finding.fix}});
    }
    return {{"fit", is_fit(findings)}, {"findings", std::move(list)}};
}

}  // namespace netkitd::ctl
