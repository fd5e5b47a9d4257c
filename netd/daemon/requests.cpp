#include "daemon/requests.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <tuple>

#include <nlohmann/json.hpp>

#include "abi.h"
#include "base/join.h"
#include "base/log.h"
#include "base/parse_number.h"
#include "config/annotations.h"
#include "daemon/describe.h"
#include "daemon/status.h"
#include "link/resolv_conf.h"
#include "node/container_names.h"

namespace netkitd {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

constexpr std::size_t kListedFlows = 4096;

std::string in_milliseconds(microseconds time) {
    return formatted("{:.1f} ms", std::chrono::duration<double, std::milli>(time).count());
}

// What the container has for a resolver: its own choice, its network's, or the host's.
ContainerNames names_of(const Node& node, const AttachOptions& options, AttachReply& reply) {
    const NetworkConfig* const network = node.endpoints().config().find_network(reply.record.network);
    const auto host = link::find_resolver_settings(link::read_host_file);
    ContainerNames names = container_names(host, options.dns.empty() && network != nullptr ? network->dns : options.dns,
                                           reply.record.ipv6.has_value());
    // A host that has no servers itself knows.
    if (!names.obstacle.empty() && !host.file.empty()) {
        reply.notes.push_back(formatted("names do not resolve in it: {}", names.obstacle));
    }
    return names;
}

struct Attached {
    AttachReply reply;
    ContainerNames names;
};

Result<Attached> attach_container(Node& node, ipc::Request request) {
    const AttachOptions options = NK_TRY(parse_annotations(request.annotations));
    AttachReply reply = NK_TRY(node.endpoints().attach({.container_id = std::move(request.id),
                                                        .pid = request.pid,
                                                        .options = options,
                                                        .netns = std::move(request.netns),
                                                        .pidfd = std::move(request.pidfd)}));
    ContainerNames names = names_of(node, options, reply);
    return Attached{.reply = std::move(reply), .names = std::move(names)};
}

Result<json> attach(Node& node, ipc::Request request) {
    const std::string id = request.id;
    const auto begin = Clock::now();
    const Result<Attached> attached = attach_container(node, std::move(request));
    const auto took = std::chrono::duration_cast<microseconds>(Clock::now() - begin);
    const std::string what = formatted("attach {}", id);
    if (!attached) {
        node.errors().report(what, attached.error());
        return std::unexpected(Error(attached.error()).context(what));
    }
    node.errors().resolved(what);
    const AttachReply& reply = attached->reply;
    log(LogLevel::info, "attached {}: {} on {} ({}), in {} and {} for the kernel's grace period", id,
        reply.record.address_text(), reply.record.host_name, link::to_string(reply.record.device_mode),
        in_milliseconds(took - reply.kernel_wait), in_milliseconds(reply.kernel_wait));
    for (const std::string& note : reply.notes) {
        log(LogLevel::notice, "{}: {}", id, note);
    }
    json result = describe_attach(reply, attached->names);
    result["own_time_us"] = (took - reply.kernel_wait).count();
    return result;
}

using End = Result<void> (EndpointManager::*)(const std::string&);

Result<const Endpoint*> find_by_beginning(const EndpointTable::ById& endpoints, const std::string& text) {
    const Endpoint* found = nullptr;
    for (const auto& [id, endpoint] : endpoints) {
        const bool begins = std::ranges::any_of(
            endpoint.record.members, [&](const Member& member) { return member.container_id.starts_with(text); });
        if (begins && found != nullptr) {
            return fail(ErrorKind::invalid, "more than one container's id begins with {}: give more of it", text);
        }
        found = begins ? &endpoint : found;
    }
    return found;
}

const Endpoint* find_by_address(const EndpointTable::ById& endpoints, const IpAddr& address) {
    const auto found =
        std::ranges::find_if(endpoints, [&](const auto& entry) { return entry.second.record.has(address); });
    return found == endpoints.end() ? nullptr : &found->second;
}

// What a person names: a container's id, which may be a number too, then an endpoint's number, one of its addresses, or
// the beginning of one id, as `endpoint list` shows them. The number of an endpoint that has ended is no beginning of
// another one's id.
Result<const Endpoint*> find_endpoint(const Node& node, const std::string& text) {
    if (const Endpoint* endpoint = node.endpoints().find_container(text)) {
        return endpoint;
    }
    const auto& endpoints = node.endpoints().endpoints();
    const Endpoint* found = nullptr;
    if (const auto number = parse_number<std::uint32_t>(text)) {
        const auto endpoint = endpoints.find(*number);
        found = endpoint == endpoints.end() ? nullptr : &endpoint->second;
    } else if (const auto address = IpAddr::parse(text)) {
        found = find_by_address(endpoints, *address);
    } else {
        found = NK_TRY(find_by_beginning(endpoints, text));
    }
    if (found == nullptr) {
        return fail(ErrorKind::not_found,
                    "no endpoint here is or has {}, or is of a container {}; `netkitctl endpoint list` names them",
                    text, text);
    }
    return found;
}

// What is told about a container that is not attached is no error; but a person may have named one by another name.
Result<void> refuse_other_names(const Node& node, const std::string& id) {
    if (node.endpoints().find_container(id) != nullptr) {
        return {};
    }
    const auto found = find_endpoint(node, id);
    if (found || found.error().kind() != ErrorKind::not_found) {
        return fail(ErrorKind::invalid, "no container {} is attached: give the whole id{}", id,
                    found ? formatted(", {}", join((*found)->record.members, &Member::container_id)) : "");
    }
    return {};
}

// `what` and `done`: "detach", "detached".
Result<json> end(Node& node, const std::string& id, End how, std::string_view what, std::string_view done) {
    const bool known = node.endpoints().find_container(id) != nullptr;
    const std::string operation = formatted("{} {}", what, id);
    const Result<void> ended = (node.endpoints().*how)(id);
    node.errors().record(operation, ended);
    if (!ended) {
        return std::unexpected(Error(ended.error()).context(operation));
    }
    if (known) {
        log(LogLevel::info, "{} {}", done, id);
    }
    return json{{"id", id}, {"known", known}};
}

using FlowCounts = std::map<std::uint32_t, nk_flow_counts>;

// By endpoint.
Result<FlowCounts> flow_counts(const Node& node) {
    FlowCounts counts;
    for (const auto& [endpoint_id, flows] : NK_TRY(node.datapath().flow_counts())) {
        counts[endpoint_id] = flows;
    }
    return counts;
}

void add_flows(json& endpoint, const nk_flow_counts& flows) {
    endpoint["flows4"] = flows.flows4;
    endpoint["flows6"] = flows.flows6;
}

Result<json> list_endpoints(const Node& node) {
    FlowCounts counts = NK_TRY(flow_counts(node));
    json list = json::array();
    for (const auto& [id, endpoint] : node.endpoints().endpoints()) {
        list.push_back(describe_endpoint(endpoint));
        add_flows(list.back(), counts[id]);
    }
    return json{{"endpoints", std::move(list)}};
}

Result<json> show_endpoint(const Node& node, const std::string& id) {
    const Endpoint* const endpoint = NK_TRY(find_endpoint(node, id));
    json shown =
        describe_endpoint_fully(*endpoint, NK_TRY(node.datapath().endpoint_drops(endpoint->record.host_ifindex)));
    add_flows(shown, NK_TRY(flow_counts(node))[endpoint->record.id]);
    shown["flow_share4"] = node.datapath().flow_shares(IpFamily::v4).share;
    shown["flow_share6"] = node.datapath().flow_shares(IpFamily::v6).share;
    return shown;
}

std::string container_of(const Node& node, std::uint32_t endpoint_id) {
    const auto& endpoints = node.endpoints().endpoints();
    const auto found = endpoints.find(endpoint_id);
    return found == endpoints.end() || found->second.record.members.empty()
               ? ""
               : found->second.record.members.front().container_id;
}

// Those that others began, by what they began at.
class Connections {
public:
    explicit Connections(const std::vector<nat::Flow>& flows) {
        for (const nat::Flow& flow : flows) {
            ++counts_[{flow.endpoint_id, flow.protocol, flow.translated_port}][flow.translated];
        }
    }
    [[nodiscard]] std::uint64_t at(const PublishedPort& port, std::uint32_t endpoint_id) const {
        const auto addresses = counts_.find({endpoint_id, port.protocol, port.port});
        std::uint64_t count = 0;
        if (addresses != counts_.end()) {
            for (const auto& [address, connections] : addresses->second) {
                count += !port.address || *port.address == address ? connections : 0;
            }
        }
        return count;
    }

private:
    std::map<std::tuple<std::uint32_t, std::uint8_t, std::uint16_t>, std::map<IpAddr, std::uint64_t>> counts_;
};

Result<json> list_ports(const Node& node) {
    const Connections connections(
        NK_TRY(node.flows().list(std::numeric_limits<std::size_t>::max(), {.inbound = true})).flows);
    json list = json::array();
    for (const auto& [id, endpoint] : node.endpoints().endpoints()) {
        for (const PublishedPort& port : endpoint.record.published) {
            list.push_back(describe_port(port, endpoint.record, connections.at(port, id)));
        }
    }
    const Result<void>& reached = node.datapath().reached_from_host();
    return json{{"ports", std::move(list)},
                {"held", describe_held(node.datapath().frontends())},
                {"publish_address", describe_prefixes(node.endpoints().config().publish_addresses)},
                {"unreachable_from_host", reached ? json(nullptr) : json(reached.error().message())}};
}

Result<nat::FlowFilter> filter_of(const Node& node, const ipc::FlowSelection& selection) {
    nat::FlowFilter filter{.endpoint_id = std::nullopt,
                           .protocol = selection.protocol,
                           .destination = selection.destination,
                           .destination_port = selection.port};
    if (selection.hosts) {
        filter.owner = nat::is_of_host;
    }
    if (selection.endpoint) {
        filter.endpoint_id = NK_TRY(find_endpoint(node, *selection.endpoint))->record.id;
    }
    return filter;
}

Result<json> list_flows(const Node& node, const ipc::FlowSelection& selection) {
    const auto listing = NK_TRY(node.flows().list(kListedFlows, NK_TRY(filter_of(node, selection))));
    json list = json::array();
    for (const nat::Flow& flow : listing.flows) {
        list.push_back(describe_flow(flow, container_of(node, flow.endpoint_id)));
    }
    return json{{"flows", std::move(list)}, {"truncated", listing.truncated}};
}

Result<json> flush_flows(const Node& node, const ipc::FlowSelection& selection) {
    if (selection.hosts) {
        return fail(ErrorKind::refused,
                    "the host's own flows, and those of other NATs on it, only say which ports are taken: they end by "
                    "themselves, and are never flushed");
    }
    nat::FlowFilter filter = NK_TRY(filter_of(node, selection));
    filter.owner = [](std::uint32_t endpoint_id) { return !nat::is_of_host(endpoint_id); };
    const std::uint64_t flushed = NK_TRY(node.flows().flush(filter));
    log(LogLevel::notice, "{} masqueraded flows flushed on request", flushed);
    return json{{"flushed", flushed}};
}

}  // namespace

Result<json> answer(Node& node, ipc::Request request) {
    switch (request.operation) {
        case ipc::Operation::attach:
            return attach(node, std::move(request));
        case ipc::Operation::detach:
            NK_TRY(refuse_other_names(node, request.id));
            return end(node, request.id, &EndpointManager::detach, "detach", "detached");
        case ipc::Operation::stopped:
            return end(node, request.id, &EndpointManager::stopped, "poststop of", "stopped:");
        case ipc::Operation::status:
            return describe_status(node);
        case ipc::Operation::endpoint_list:
            return list_endpoints(node);
        case ipc::Operation::endpoint_show:
            return show_endpoint(node, request.id);
        case ipc::Operation::port_list:
            return list_ports(node);
        case ipc::Operation::flow_list:
            return list_flows(node, request.flows);
        case ipc::Operation::flow_flush:
            return flush_flows(node, request.flows);
    }
    return fail(ErrorKind::invalid, "unknown operation");
}

}  // namespace netkitd
