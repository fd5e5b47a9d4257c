#include "endpoint/manager.h"

#include <algorithm>
#include <iterator>

#include "base/log.h"
#include "endpoint/attach.h"
#include "endpoint/attach_planner.h"
#include "endpoint/endpoint_view.h"

namespace netkitd {
namespace {

// What a change does to an address from before it, which has to be the network's after it, under the same gateway; else
// empty.
std::string lost_by(const NetworkConfig* before, const NetworkConfig* after, const EndpointRecord& record) {
    if (before == nullptr || after == nullptr) {
        return "it is not configured any more";
    }
    if (record.ipv4 && before->ipv4 != after->ipv4) {
        return formatted("its ipv4 {} is {} now", before->ipv4.to_string(), after->ipv4.to_string());
    }
    if (record.ipv6 && before->ipv6 != after->ipv6) {
        return formatted("its ipv6 {} is {}", before->ipv6 ? before->ipv6->to_string() : "prefix",
                         after->ipv6 ? formatted("{} now", after->ipv6->to_string()) : "missing");
    }
    return {};
}

}  // namespace

EndpointManager::EndpointManager(EndpointSettings settings, Store& store, Plumbing& plumbing, ProcessWatch& watch)
    : settings_(std::move(settings)),
      store_(store),
      plumbing_(plumbing),
      pools_(settings_.config.prefixes()),
      processes_(watch),
      pair_sizes_(plumbing) {}

Result<AttachReply> EndpointManager::attach(AttachRequest request) {
    ContainerNetns netns = NK_TRY(plumbing_.enter(request.netns.get()));
    if (netns.cookie == settings_.host_netns_cookie) {
        return fail(ErrorKind::refused,
                    "the container uses the host's network namespace: run it with `--network none` instead of "
                    "`--network host`, or without the io.netkitd.network annotation");
    }
    if (Endpoint* endpoint = endpoints_.find_by_netns(netns.cookie)) {
        return join(*endpoint, std::move(request));
    }
    return attach_new(std::move(request), std::move(netns));
}

Result<AttachReply> EndpointManager::join(Endpoint& endpoint, AttachRequest request) {
    const EndpointRecord& record = endpoint.record;
    const AttachOptions& options = request.options;
    if (options.network != record.network || options.interface_name != record.interface_name ||
        (options.ipv4 && options.ipv4 != record.ipv4) || (options.ipv6 && options.ipv6 != record.ipv6) ||
        (!options.publish.empty() && options.publish != record.published)) {
        if (std::ranges::contains(record.members, request.container_id, &Member::container_id)) {
            return fail(ErrorKind::refused,
                        "it is attached here with other io.netkitd.* annotations: {} with {} in network {}; give it "
                        "the same ones, or detach it first",
                        record.interface_name, record.address_text(), record.network);
        }
        return fail(
            ErrorKind::refused,
            "container {} shares this network namespace and has {} with {} in network {}: containers that share "
            "a namespace share the endpoint, so give both the same io.netkitd.* annotations",
            first_container(record), record.interface_name, record.address_text(), record.network);
    }
    EndpointRecord updated = record;
    std::erase_if(updated.members, [&](const Member& m) { return m.container_id == request.container_id; });
    updated.members.push_back(NK_TRY(member_of(request)));
    NK_TRY(store_.put_endpoint(updated));
    std::set<std::string> exited = endpoint.exited;
    exited.erase(request.container_id);
    const Endpoint* const former = endpoints_.find_by_container(request.container_id);
    const auto former_id = former == nullptr ? updated.id : former->record.id;
    endpoints_.put({.record = updated, .exited = std::move(exited)});
    if (former_id != updated.id) {
        leave(former_id, request.container_id);
    }
    NK_TRY(processes_.watch(request.container_id, std::move(request.pidfd)));
    return AttachReply{.record = updated,
                       .network = place_of(updated, settings_.config),
                       .notes = {},
                       .kernel_wait = {},
                       .existing = true};
}

Result<AttachReply> EndpointManager::attach_new(AttachRequest request, ContainerNetns netns) {
    const Endpoint* predecessor = endpoints_.find_by_container(request.container_id);
    UndoStack undo;
    AttachPlan plan = NK_TRY(AttachPlanner(settings_, store_, plumbing_, endpoints_, pools_, homes_)
                                 .plan(request, netns, predecessor, undo));
    AttachOutcome outcome = NK_TRY(run_attach(plumbing_, store_, netns, plan, settings_.config));
    undo.commit();
    processes_.note_attached(request.container_id);

    pair_sizes_.note_made(outcome.record.id, plan.sizes);
    endpoints_.put({.record = outcome.record});
    if (predecessor != nullptr) {
        outcome.notes.push_back(formatted(
            "it was attached in another network namespace, with {}, which has lost that: if it is another container's, "
            "give each an id of its own",
            predecessor->record.address_text()));
        leave(predecessor->record.id, request.container_id);
    }
    if (const auto watched = processes_.watch(request.container_id, std::move(request.pidfd)); !watched) {
        log(LogLevel::error, "{}: {}", request.container_id, watched.error().message());
    }
    std::ranges::move(outcome.notes, std::back_inserter(plan.notes));
    return AttachReply{.record = std::move(outcome.record),
                       .network = plan.network,
                       .notes = std::move(plan.notes),
                       .kernel_wait = outcome.kernel_wait,
                       .existing = false};
}

void EndpointManager::leave(std::uint32_t former_id, const std::string& container_id) {
    if (const auto dropped = drop_member(former_id, container_id); !dropped) {
        log(LogLevel::error, "{}: give back its former endpoint: {}", container_id, dropped.error().message());
    }
}

Result<void> EndpointManager::reconfigure(const Config& config) {
    for (const auto& [id, endpoint] : endpoints_.all()) {
        const NetworkConfig* before = settings_.config.find_network(endpoint.record.network);
        const NetworkConfig* after = config.find_network(endpoint.record.network);
        if (const std::string lost = lost_by(before, after, endpoint.record); !lost.empty()) {
            return fail(ErrorKind::refused,
                        "network {} is in use by container {}, and {}: keep that as it was until its containers are "
                        "gone",
                        endpoint.record.network, first_container(endpoint.record), lost);
        }
    }
    pools_.reconfigure(config.prefixes());
    settings_.config = config;
    return {};
}

bool EndpointManager::has_device(std::uint32_t host_ifindex) const {
    return endpoints_.find_by_device(host_ifindex) != nullptr;
}

bool EndpointManager::has_or_had_device(std::uint32_t host_ifindex) const {
    return has_device(host_ifindex) || removed_devices_.contains(host_ifindex);
}

const Endpoint* EndpointManager::find_container(const std::string& container_id) const {
    return endpoints_.find_by_container(container_id);
}

PoolUse EndpointManager::pool_use(const std::string& network, IpFamily family) const {
    const NetworkConfig* found = settings_.config.find_network(network);
    if (found == nullptr || (family == IpFamily::v6 && !found->ipv6)) {
        return {};
    }
    return pools_.use(family == IpFamily::v4 ? found->ipv4 : *found->ipv6);
}

}  // namespace netkitd
