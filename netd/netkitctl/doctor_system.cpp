#include "netkitctl/doctor_system.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <ranges>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/join.h"
#include "base/quote.h"
#include "link/resolv_conf.h"
#include "netkitctl/host_file.h"

namespace netkitd::ctl {
namespace {

using nlohmann::json;

// hook.path of a hooks.d file, oci-hooks(5); empty when there is none.
std::string hook_path(const std::string& text) {
    const json file = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!file.is_object() || !file.contains("hook") || !file["hook"].is_object() || !file["hook"].contains("path") ||
        !file["hook"]["path"].is_string()) {
        return "";
    }
    return file["hook"]["path"].get<std::string>();
}

Finding cannot_look(const char* check, const Error& error) {
    return {.check = check, .verdict = Verdict::warn, .text = error.message(), .fix = "run netkitctl doctor as root"};
}

}  // namespace

Finding check_runtimes(const Host& host) {
    constexpr std::array<std::string_view, 5> kRuntimes{"podman", "crun", "runc", "crio", "containerd"};
    const auto is_there = [&](std::string_view program) {
        return std::ranges::any_of(host.search_path, [&](const std::string& directory) {
            return is_executable_on(host, formatted("{}/{}", directory, program));
        });
    };
    if (const std::string found = join(kRuntimes | std::views::filter(is_there)); !found.empty()) {
        return {.check = "runtimes", .verdict = Verdict::ok, .text = "found " + found, .fix = ""};
    }
    return {.check = "runtimes",
            .verdict = Verdict::warn,
            .text = formatted("no container runtime in PATH ({})", join(kRuntimes)),
            .fix = "apt install podman crun"};
}

Finding check_hook(const Host& host) {
    constexpr std::array<const char*, 2> kFiles{"/usr/share/containers/oci/hooks.d/netkitd.json",
                                                "/etc/containers/oci/hooks.d/netkitd.json"};
    for (const char* const file : kFiles) {
        const auto text = read_on(host, file);
        if (!text) {
            continue;
        }
        const std::string path = hook_path(*text);
        if (path.empty()) {
            return {.check = "hook",
                    .verdict = Verdict::missing,
                    .text = formatted("{} is not a hook file (no hook.path in it)", file),
                    .fix = "install netkitd again"};
        }
        if (!is_executable_on(host, path)) {
            return {.check = "hook",
                    .verdict = Verdict::missing,
                    .text = formatted("{} names {}, which is not there, or no program: containers start without their "
                                      "network, or not at all",
                                      file, quote(path)),
                    .fix = formatted("install netkitd again, or remove {}", file)};
        }
        return {.check = "hook",
                .verdict = Verdict::ok,
                .text = formatted("containers with io.netkitd.network are handed to {}", path),
                .fix = ""};
    }
    return {.check = "hook",
            .verdict = Verdict::missing,
            .text = formatted("there is no {}: runtimes don't tell netkitd about containers", kFiles[0]),
            .fix = "install netkitd's hook (cmake --install), or name its directory in containers.conf: hooks_dir"};
}

Finding check_service(const Host& host) {
    constexpr std::array<const char*, 4> kUnitFolders{"/etc/systemd/system", "/usr/local/lib/systemd/system",
                                                      "/usr/lib/systemd/system", "/lib/systemd/system"};
    std::error_code error;
    const auto exists = [&](const std::string& path) {
        return std::filesystem::is_symlink(path_on(host, path), error) ||
               std::filesystem::exists(path_on(host, path), error);
    };
    if (!exists("/run/systemd/system")) {  // sd_booted(3)
        return {.check = "service",
                .verdict = Verdict::warn,
                .text = "this host was not booted with systemd: nothing starts netkitd by itself",
                .fix = "start it by hand: netkitd &"};
    }
    if (!std::ranges::any_of(kUnitFolders,
                             [&](const char* folder) { return exists(formatted("{}/netkitd.service", folder)); })) {
        return {.check = "service",
                .verdict = Verdict::missing,
                .text = "netkitd.service is not installed",
                .fix = "install netkitd (cmake --install), then systemctl daemon-reload"};
    }
    if (!exists("/etc/systemd/system/multi-user.target.wants/netkitd.service")) {
        return {.check = "service",
                .verdict = Verdict::warn,
                .text = "netkitd is not started at boot",
                .fix = "systemctl enable --now netkitd"};
    }
    return {.check = "service", .verdict = Verdict::ok, .text = "netkitd is started at boot", .fix = ""};
}

Finding check_name_servers(const Host& host) {
    constexpr const char* kFix =
        "give the network `dns` in /etc/netkitd/netkitd.json, or the container --annotation io.netkitd.dns=ADDRESS";
    const auto resolver = link::find_resolver_settings([&](const std::string& path) { return read_on(host, path); });
    if (!resolver.servers.empty()) {
        return {
            .check = "name-servers",
            .verdict = Verdict::ok,
            .text = formatted("containers ask {}, from {}", join(resolver.servers, &IpAddr::to_string), resolver.file),
            .fix = ""};
    }
    return {.check = "name-servers",
            .verdict = Verdict::warn,
            .text = resolver.unreachable.empty()
                        ? "/etc/resolv.conf names no server: names do not resolve in containers"
                        : formatted("no server of {} is one for containers ({}): names do not resolve in them",
                                    resolver.file, join(resolver.unreachable)),
            .fix = kFix};
}

namespace {

std::string some_names(const std::vector<link::Uplink>& uplinks) {
    constexpr std::size_t kMost = 8;
    const std::string names = join(uplinks | std::views::take(kMost), &link::Uplink::name);
    return uplinks.size() > kMost ? formatted("{} and {} others", names, uplinks.size() - kMost) : names;
}

// Those of this hook that may drop something.
std::vector<link::FilterChain> that_filter(const std::vector<link::FilterChain>& chains, link::FilterChain::Hook hook) {
    std::vector<link::FilterChain> filters;
    std::ranges::copy_if(chains, std::back_inserter(filters), [&](const link::FilterChain& chain) {
        return chain.hook == hook && (chain.drops || chain.has_rules);
    });
    return filters;
}

}  // namespace

Finding check_uplinks(const Host& host) {
    constexpr const char* kCheck = "uplinks";
    const auto uplinks = host.uplinks();
    if (!uplinks) {
        return cannot_look(kCheck, uplinks.error());
    }
    for (const link::Uplink& uplink : *uplinks) {
        if (!uplink.usable()) {
            return {.check = kCheck,
                    .verdict = Verdict::warn,
                    .text = uplink.unusable,
                    .fix = "route containers by another device (ip rule add from their prefix …)"};
        }
    }
    if (const auto missing = host.missing_uplinks(); missing && !missing->empty()) {
        return {.check = kCheck,
                .verdict = Verdict::warn,
                .text = formatted("`uplinks` names {}, which this host does not have: containers reach nothing by it",
                                  join(*missing)),
                .fix = "name devices that there are (ip link), or leave `uplinks` out: then it is all of them"};
    }
    if (uplinks->empty()) {
        return {.check = kCheck,
                .verdict = Verdict::warn,
                .text = "no device has an address or a route: containers reach each other and this host only",
                .fix = "connect this host to a network"};
    }
    return {.check = kCheck,
            .verdict = Verdict::ok,
            .text = "containers reach what this host does, by " + some_names(*uplinks),
            .fix = ""};
}

Finding check_ipsec(const Host& host) {
    constexpr const char* kCheck = "ipsec";
    const auto policies = host.ipsec_policies();
    if (!policies) {
        return cannot_look(kCheck, policies.error());
    }
    if (*policies > 0) {
        return {.check = kCheck,
                .verdict = Verdict::warn,
                .text = formatted("{} IPsec policies for what leaves: containers' packets do not heed them, and go out "
                                  "unencrypted",
                                  *policies),
                .fix = "encrypt by a tunnel device instead (wireguard), which the routes of containers can lead to"};
    }
    return {.check = kCheck, .verdict = Verdict::ok, .text = "no IPsec policy is passed by", .fix = ""};
}

Finding check_firewall(const Host& host) {
    constexpr const char* kCheck = "firewall";
    const auto chains = host.filter_chains();
    if (!chains) {
        return cannot_look(kCheck, chains.error());
    }
    if (const auto filters = that_filter(*chains, link::FilterChain::Hook::forward); !filters.empty()) {
        const auto text_of = [](const link::FilterChain& chain) {
            return chain.name + (chain.drops ? ", policy drop" : "");
        };
        return {.check = kCheck,
                .verdict = Verdict::warn,
                .text = formatted("the firewall filters what this host forwards ({}): that does not hold for "
                                  "containers, most of whose packets do not come there",
                                  join(filters, text_of, "; ")),
                .fix = "separate containers by networks (`isolated`), or filter where their packets arrive"};
    }
    return {.check = kCheck, .verdict = Verdict::ok, .text = "nothing is filtered that this host forwards", .fix = ""};
}

Finding check_host_services(const Host& host) {
    constexpr const char* kCheck = "host-services";
    const auto chains = host.filter_chains();
    if (!chains) {
        return cannot_look(kCheck, chains.error());
    }
    for (const link::FilterChain& chain : *chains) {
        if (chain.hook == link::FilterChain::Hook::input && chain.drops && !chain.names_host_device) {
            return {.check = kCheck,
                    .verdict = Verdict::warn,
                    .text = formatted("the firewall drops what comes to this host unless a rule accepts it ({}), and "
                                      "none names netkitd0: containers may not reach this host's services",
                                      chain.name),
                    .fix = formatted("accept what they shall reach: nft add rule {} iifname netkitd0 udp dport 53 "
                                     "accept",
                                     chain.name)};
        }
    }
    return {.check = kCheck,
            .verdict = Verdict::ok,
            .text = "the firewall does not drop all that containers send to this host",
            .fix = ""};
}

Finding check_published_ports(const Host& host) {
    constexpr const char* kCheck = "published-ports";
    const std::uint64_t open = host.open_ports();
    const auto chains = host.filter_chains();
    if (!chains) {
        return cannot_look(kCheck, chains.error());
    }
    const auto filters = that_filter(*chains, link::FilterChain::Hook::input);
    if (open == 0 || filters.empty()) {
        return {.check = kCheck, .verdict = Verdict::ok, .text = "none passes by a firewall of this host's", .fix = ""};
    }
    return {.check = kCheck,
            .verdict = Verdict::warn,
            .text = formatted("{} of them {} open to everybody outside, whatever the firewall ({}) says of what comes "
                              "to this host: it does not see that",
                              open, open == 1 ? "is" : "are", join(filters, &link::FilterChain::name, "; ")),
            .fix =
                "say who may come (`;allow=`), or at which addresses (`services.publish_address`); `netkitctl port "
                "list` has them"};
}

Finding check_other_nats(const Host& host) {
    constexpr const char* kCheck = "other-nats";
    const auto chains = host.chains_that_give_any_port();
    if (!chains) {
        return cannot_look(kCheck, chains.error());
    }
    if (chains->empty()) {
        return {.check = kCheck, .verdict = Verdict::ok, .text = "no other NAT takes ports of the pool", .fix = ""};
    }
    return {
        .check = kCheck,
        .verdict = Verdict::warn,
        .text = formatted("masquerade or SNAT without ports ({}): where it takes a port of the pool that a "
                          "container's connection has, that connection is ended",
                          join(*chains, {}, "; ")),
        .fix =
            "before it, in a table of your own (priority srcnat - 1), give ports outside `masquerade.ports`: `meta "
            "l4proto { tcp, udp, icmp, ipv6-icmp } masquerade to :32768-49151`; in iptables' own chain `-p tcp -j "
            "MASQUERADE --to-ports 32768-49151`, and for udp. (Then this stays: which comes first is not looked at.)"};
}

Finding check_last_errors(const Host& host) {
    constexpr const char* kJournal = "journalctl -t netkit-hook -t netkitd";
    const auto answer = host.last_errors();
    if (!answer) {
        return {.check = "last-errors",
                .verdict = Verdict::warn,
                .text = formatted("what failed lately is not known: {}", answer.error().message()),
                .fix = formatted("{} has why netkitd ended or did not start", kJournal)};
    }
    const std::vector<std::string>& errors = *answer;
    if (errors.empty()) {
        return {.check = "last-errors", .verdict = Verdict::ok, .text = "netkitd reports no failure", .fix = ""};
    }
    return {.check = "last-errors",
            .verdict = Verdict::warn,
            .text = formatted("{} failed lately, the last: {}", errors.size(), errors.back()),
            .fix = formatted("netkitctl status lists all; {} has what the hook said", kJournal)};
}

}  // namespace netkitd::ctl
