#include "netkitctl/netkitctl.h"

#include <chrono>
#include <variant>

#include <nlohmann/json.hpp>

#include "ipc/client.h"
#include "netkitctl/command_line.h"
#include "netkitctl/doctor.h"
#include "netkitctl/print.h"
#include "netkitctl/table.h"
#include "netlink/netns.h"

namespace netkitd::ctl {
namespace {

using nlohmann::json;

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kUsage = 2;

// The daemon answers in milliseconds; an attach may wait for the kernel behind others.
constexpr std::chrono::seconds kDeadline{10};

Result<ipc::Request> request_for(const CommandLine& line) {
    ipc::Request request;
    switch (line.command) {
        case Command::status:
            request.operation = ipc::Operation::status;
            break;
        case Command::endpoint_list:
            request.operation = ipc::Operation::endpoint_list;
            break;
        case Command::endpoint_show:
            request.operation = ipc::Operation::endpoint_show;
            request.id = line.id;
            break;
        case Command::attach:
            request.operation = ipc::Operation::attach;
            request.id = line.id;
            request.annotations = line.annotations;
            request.netns = NK_TRY(link::open_netns(line.netns));
            break;
        case Command::detach:
            request.operation = ipc::Operation::detach;
            request.id = line.id;
            break;
        case Command::port_list:
            request.operation = ipc::Operation::port_list;
            break;
        case Command::flow_list:
            request.operation = ipc::Operation::flow_list;
            request.flows = line.flows;
            break;
        case Command::flow_flush:
            request.operation = ipc::Operation::flow_flush;
            request.flows = line.flows;
            request.all = line.all;
            break;
        case Command::doctor:
            return fail(ErrorKind::internal, "doctor asks no daemon");
    }
    return request;
}

Result<json> ask(const CommandLine& line) {
    const ipc::Request request = NK_TRY(request_for(line));
    return ipc::call(line.socket_path, request, kDeadline);
}

std::string print(const CommandLine& line, const json& reply) {
    switch (line.command) {
        case Command::status:
            return print_status(reply);
        case Command::endpoint_list:
            return print_endpoints(reply);
        case Command::endpoint_show:
            return print_endpoint(reply);
        case Command::attach:
            return print_attached(line.id, reply);
        case Command::detach:
            return print_detached(line.id, reply);
        case Command::port_list:
            return print_ports(reply);
        case Command::flow_list:
            return print_flows(reply);
        case Command::flow_flush:
            return print_flushed(reply);
        case Command::doctor:
            break;
    }
    return "";
}

std::string to_text(const json& value) {
    constexpr int kIndent = 2;
    return value.dump(kIndent, ' ', false, json::error_handler_t::replace) + "\n";
}

int examine_host(const CommandLine& line, std::ostream& out) {
    const std::vector<Finding> findings = examine(this_host(line.socket_path));
    out << (line.json ? to_text(findings_json(findings)) : print_findings(findings));
    return is_fit(findings) ? kDone : kFailed;
}

int ask_daemon(const CommandLine& line, std::ostream& out, std::ostream& err) {
    const Result<json> reply = ask(line);
    if (!reply) {
        err << "netkitctl: " << printable(reply.error().message()) << "\n";
        return kFailed;
    }
    out << (line.json ? to_text(*reply) : print(line, *reply));
    return kDone;
}

}  // namespace

int run(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
    const auto parsed = parse_command_line(argc, argv);
    if (!parsed) {
        err << "netkitctl: " << printable(parsed.error().message()) << "\nTry: netkitctl --help\n";
        return kUsage;
    }
    int status = kDone;
    if (const auto* text = std::get_if<std::string>(&*parsed)) {
        out << *text;
    } else {
        const auto& line = std::get<CommandLine>(*parsed);
        status = line.command == Command::doctor ? examine_host(line, out) : ask_daemon(line, out, err);
    }
    if (!out.flush()) {
        err << "netkitctl: the output could not be written\n";
        return kFailed;
    }
    return status;
}

}  // namespace netkitd::ctl
