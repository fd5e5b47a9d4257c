#include "netkitctl/command_line.h"

#include <algorithm>
#include <array>
#include <ranges>
#include <string_view>
#include <vector>

#include "base/annotation_prefix.h"
#include "base/ip_protocol.h"
#include "base/join.h"
#include "base/parse_number.h"
#include "base/quote.h"

// An annotation's value may have commas, at which cxxopts would otherwise split it; no argument has a NUL.
#define CXXOPTS_VECTOR_DELIMITER '\0'
#include <cxxopts.hpp>

namespace netkitd::ctl {
namespace {

constexpr const char* kCommands = R"(
Commands:
  status                   the node: modes, uplinks, networks, drops, what is degraded
  endpoint list            who is attached
  endpoint show ID         one endpoint; the first characters of the id, or an address of its, are enough
  attach --id ID --netns PATH [--annotation K=V]...
                           attach a network namespace, as the hook does for a container
  detach --id ID           undo it
  port list                published ports: where they lead, and who may come
  flow list [FILTER]...    masqueraded flows, and those that others begin to published ports (BEGUN outside or
                           inside; SOURCE is the container all the same)
  flow flush FILTER...     forget them: their connections may end; --all for every flow of containers
  doctor                   what this host lacks, and how to get it (asks no daemon)

Exit status: 0 done, 1 refused or failed, 2 usage.
)";

cxxopts::Options describe() {
    cxxopts::Options options("netkitctl", "Looks at netkitd and tells it what to do.\n");
    options.custom_help("[--socket FILE] [--json]").positional_help("COMMAND");
    // clang-format off
    options.add_options()
        ("socket", "where the daemon listens", cxxopts::value<std::string>()->default_value(std::string(ipc::kDefaultSocketPath)), "FILE")
        ("json", "print JSON")
        ("version", "print the version, and end")
        ("h,help", "print this, and end");
    options.add_options("attach and detach")
        ("id", "the container's id", cxxopts::value<std::string>(), "ID")
        ("netns", "its network namespace: /run/netns/NAME, /proc/PID/ns/net", cxxopts::value<std::string>(), "PATH")
        ("annotation", "as in podman run, io.netkitd.* only; repeatable", cxxopts::value<std::vector<std::string>>(), "K=V");
    options.add_options("flow list and flow flush")
        ("endpoint", "of this container (the first characters of its id are enough), or of this endpoint", cxxopts::value<std::string>(), "ID")
        ("proto", "tcp, udp, icmp, …", cxxopts::value<std::string>(), "NAME")
        ("dst", "to these addresses: 198.51.100.0/24, 198.51.100.7:443, [2001:db8::/32]:443", cxxopts::value<std::string>(), "PREFIX[:PORT]")
        ("host", "flow list: those of the host itself and of other NATs on it, which are never flushed")
        ("all", "flow flush: every flow of containers");
    options.add_options("hidden")
        ("words", "", cxxopts::value<std::vector<std::string>>());
    // clang-format on
    options.parse_positional("words");
    return options;
}

struct Form {
    std::string_view words;  // as typed
    Command command{};
    bool takes_id_word = false;
    bool needs_id = false;
    bool takes_netns = false;  // and annotations
    bool takes_flows = false;
    bool takes_all = false;
};

constexpr std::array<Form, 9> kForms{{
    {.words = "status", .command = Command::status},
    {.words = "endpoint list", .command = Command::endpoint_list},
    {.words = "endpoint show", .command = Command::endpoint_show, .takes_id_word = true},
    {.words = "attach", .command = Command::attach, .needs_id = true, .takes_netns = true},
    {.words = "detach", .command = Command::detach, .needs_id = true},
    {.words = "port list", .command = Command::port_list},
    {.words = "flow list", .command = Command::flow_list, .takes_flows = true},
    {.words = "flow flush", .command = Command::flow_flush, .takes_flows = true, .takes_all = true},
    {.words = "doctor", .command = Command::doctor},
}};

Result<Form> find_form(const std::vector<std::string>& words) {
    if (words.empty()) {
        return fail(ErrorKind::invalid, "a command is missing");
    }
    for (const Form& form : kForms) {
        const auto own = static_cast<std::size_t>(std::ranges::count(form.words, ' ')) + 1;
        if (join(words | std::views::take(own), {}, " ") != form.words) {
            continue;
        }
        const std::size_t wanted = own + (form.takes_id_word ? 1 : 0);
        if (words.size() < wanted) {
            return fail(ErrorKind::invalid, "{}: the container's id is missing", form.words);
        }
        if (words.size() > wanted) {
            return fail(ErrorKind::invalid, "{}: {} is superfluous", form.words, quote(words[wanted]));
        }
        return form;
    }
    return fail(ErrorKind::invalid, "there is no command {}", quote(join(words, {}, " ")));
}

Result<std::map<std::string, std::string>> parse_annotations(const std::vector<std::string>& texts) {
    std::map<std::string, std::string> annotations;
    for (const std::string& text : texts) {
        const auto equals = text.find('=');
        if (equals == std::string::npos) {
            return fail(ErrorKind::invalid, "--annotation {}: not KEY=VALUE", quote(text));
        }
        const std::string key = text.substr(0, equals);
        if (!key.starts_with(kAnnotationPrefix)) {
            return fail(ErrorKind::invalid, "--annotation {}: only {}* mean something here", quote(key),
                        kAnnotationPrefix);
        }
        if (!annotations.emplace(key, text.substr(equals + 1)).second) {
            return fail(ErrorKind::invalid, "--annotation {} is there twice", quote(key));
        }
    }
    return annotations;
}

Result<void> check_options(const Form& form, const cxxopts::ParseResult& parsed) {
    const auto check = [&](const char* option, bool allowed, bool required) -> Result<void> {
        if (parsed.count(option) > 0 && !allowed) {
            return fail(ErrorKind::invalid, "{} takes no --{}", form.words, option);
        }
        if (parsed.count(option) == 0 && required) {
            return fail(ErrorKind::invalid, "{} needs --{}", form.words, option);
        }
        if (parsed.count(option) > 1 && std::string_view(option) != "annotation") {
            return fail(ErrorKind::invalid, "--{} is there twice", option);
        }
        return {};
    };
    NK_TRY(check("id", form.needs_id, form.needs_id));
    NK_TRY(check("netns", form.takes_netns, form.takes_netns));
    for (const char* option : {"endpoint", "proto", "dst"}) {
        NK_TRY(check(option, form.takes_flows, false));
    }
    NK_TRY(check("host", form.takes_flows && !form.takes_all, false));
    NK_TRY(check("all", form.takes_all, false));
    return check("annotation", form.takes_netns, false);
}

Result<std::uint16_t> parse_port(std::string_view digits) {
    const auto port = parse_number<std::uint16_t>(digits);
    if (!port) {
        return fail(ErrorKind::invalid, "{} is not a port", quote(digits));
    }
    return *port;
}

// As `flow list` writes them: a port stands behind IPv4, and behind IPv6 in brackets.
Result<void> parse_dst(std::string_view text, ipc::FlowSelection& flows) {
    std::string_view prefix = text;
    std::string_view port;
    if (text.starts_with('[')) {
        const auto end = text.find(']');
        if (end == std::string_view::npos || !text.substr(end + 1).starts_with(':')) {
            return fail(ErrorKind::invalid, "{} is not [PREFIX]:PORT", quote(text));
        }
        prefix = text.substr(1, end - 1);
        port = text.substr(end + 2);
    } else if (std::ranges::count(text, ':') == 1) {
        prefix = text.substr(0, text.find(':'));
        port = text.substr(prefix.size() + 1);
    }
    flows.destination = NK_TRY(IpPrefix::parse_or_address(prefix));
    if (prefix.size() != text.size()) {
        flows.port = NK_TRY(parse_port(port));
    }
    return {};
}

Result<ipc::FlowSelection> parse_selection(const cxxopts::ParseResult& parsed) {
    ipc::FlowSelection flows;
    if (parsed.count("endpoint") > 0) {
        flows.endpoint = parsed["endpoint"].as<std::string>();
        NK_TRY_CONTEXT("--endpoint", ipc::check_id(*flows.endpoint));
    }
    flows.hosts = parsed.count("host") > 0;
    if (flows.hosts && flows.endpoint) {
        return fail(ErrorKind::invalid, "--host and --endpoint: no flow is of both");
    }
    if (parsed.count("proto") > 0) {
        const auto& name = parsed["proto"].as<std::string>();
        flows.protocol = protocol_from(name);
        if (!flows.protocol) {
            return fail(ErrorKind::invalid, "--proto: {} is none of {}", quote(name), protocol_names());
        }
    }
    if (parsed.count("dst") > 0) {
        NK_TRY_CONTEXT("--dst", parse_dst(parsed["dst"].as<std::string>(), flows));
    }
    return flows;
}

Result<CommandLine> collect(const cxxopts::ParseResult& parsed) {
    const auto words =
        parsed.count("words") > 0 ? parsed["words"].as<std::vector<std::string>>() : std::vector<std::string>();
    const Form form = NK_TRY(find_form(words));
    NK_TRY(check_options(form, parsed));
    CommandLine line;
    line.command = form.command;
    line.json = parsed.count("json") > 0;
    line.socket_path = parsed["socket"].as<std::string>();
    if (form.takes_id_word || form.needs_id) {
        line.id = form.takes_id_word ? words.back() : parsed["id"].as<std::string>();
        NK_TRY(ipc::check_id(line.id));
    }
    if (form.takes_netns) {
        line.netns = parsed["netns"].as<std::string>();
    }
    line.flows = NK_TRY(parse_selection(parsed));
    line.all = parsed.count("all") > 0;
    if (form.takes_all && line.all != line.flows.is_everything()) {
        return fail(ErrorKind::invalid, "{}: say which flows, by --endpoint, --proto or --dst, or else --all",
                    form.words);
    }
    if (parsed.count("annotation") > 0) {
        line.annotations = NK_TRY(parse_annotations(parsed["annotation"].as<std::vector<std::string>>()));
    }
    return line;
}

}  // namespace

Result<std::variant<CommandLine, std::string>> parse_command_line(int argc, const char* const* argv) {
    cxxopts::Options options = describe();
    try {
        const cxxopts::ParseResult parsed = options.parse(argc, argv);
        if (parsed.count("help") > 0) {
            return options.help({"", "attach and detach", "flow list and flow flush"}) + kCommands;
        }
        if (parsed.count("version") > 0) {
            return std::string("netkitctl " NETKITD_VERSION "\n");
        }
        return NK_TRY(collect(parsed));
    } catch (const cxxopts::exceptions::exception& error) {
        return fail(ErrorKind::invalid, "{}", error.what());
    }
}

}  // namespace netkitd::ctl
