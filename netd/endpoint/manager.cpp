#include "endpoint/manager.h"

#include <algorithm>
#include <iterator>

#include "base/log.h"
#include "config/mtu.h"
#include "endpoint/host_name.h"
#include "endpoint/process.h"

namespace netkitd {
namespace {

constexpr std::uint32_t kHostNameAttempts = 16;

// Whether an address from before the change is one of the network's after it, under the same gateway.
bool keeps(const NetworkConfig& before, const NetworkConfig& after, const EndpointRecord& record) {
    return (!record.ipv4 || before.ipv4 == after.ipv4) && (!record.ipv6 || before.ipv6 == after.ipv6);
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
        (options.ipv4 && options.ipv4 != record.ipv4) || (options.ipv6 && options.ipv6 != record.ipv6)) {
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
    endpoints_.put({.record = updated, .exited = std::move(exited)});
    NK_TRY(processes_.watch(request.container_id, std::move(request.pidfd)));
    return AttachReply{.record = updated,
                       .network = place_of(updated, settings_.config),
                       .notes = {},
                       .kernel_wait = {},
                       .existing = true};
}

Result<AttachReply> EndpointManager::attach_new(AttachRequest request, ContainerNetns netns) {
    if (NK_TRY(plumbing_.find_container_device(netns, request.options.interface_name))) {
        return fail(ErrorKind::refused,
                    "the container already has an interface {}: run it with `--network none` (or keep CNI from "
                    "networking its pod), or choose another name with the io.netkitd.interface annotation",
                    request.options.interface_name);
    }
    const Endpoint* predecessor = endpoints_.find_by_container(request.container_id);
    const NetworkConfig& network = *NK_TRY(find_network(request.options.network));
    AttachPlan attach_plan = NK_TRY(plan(request, network, netns.cookie));
    UndoStack undo;
    std::vector<std::string> notes =
        NK_TRY(take_addresses(attach_plan, request.options, network, netns, predecessor, undo));
    if (predecessor != nullptr) {
        attach_plan.predecessor = predecessor->record;
    }
    AttachOutcome outcome = NK_TRY(run_attach(plumbing_, store_, netns, attach_plan));
    undo.commit();
    processes_.note_attached(request.container_id);

    pair_sizes_.note_made(outcome.record.id, attach_plan.sizes);
    endpoints_.put({.record = outcome.record});
    if (predecessor != nullptr) {
        if (const auto dropped = drop_member(predecessor->record.id, request.container_id); !dropped) {
            log(LogLevel::error, "{}: give back its former endpoint: {}", request.container_id,
                dropped.error().message());
        }
    }
    if (const auto watched = processes_.watch(request.container_id, std::move(request.pidfd)); !watched) {
        log(LogLevel::error, "{}: {}", request.container_id, watched.error().message());
    }
    std::ranges::move(outcome.notes, std::back_inserter(notes));
    return AttachReply{.record = std::move(outcome.record),
                       .network = attach_plan.network,
                       .notes = std::move(notes),
                       .kernel_wait = outcome.kernel_wait,
                       .existing = false};
}

Result<AttachPlan> EndpointManager::plan(const AttachRequest& request, const NetworkConfig& network,
                                         std::uint64_t netns_cookie) {
    const AttachOptions& options = request.options;
    AttachPlan result{.record = {},
                      .network = place_in(network),
                      .local_ports = settings_.config.masquerade_ports,
                      .sizes = settings_.sizes,
                      .predecessor = std::nullopt};
    EndpointRecord& record = result.record;
    record.id = NK_TRY(store_.next_endpoint_id());
    record.netns_cookie = netns_cookie;
    record.network = network.name;
    record.interface_name = options.interface_name;
    record.mtu = mtu_for(options, network);
    record.device_mode = NK_TRY(device_mode(options));
    record.host_name = NK_TRY(free_host_name(request.container_id));
    // To the second: what the database keeps and people read.
    record.created = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    record.members.push_back(NK_TRY(member_of(request)));
    return result;
}

Result<const NetworkConfig*> EndpointManager::find_network(const std::string& name) const {
    if (const NetworkConfig* network = settings_.config.find_network(name)) {
        return network;
    }
    std::string known;
    for (const NetworkConfig& network : settings_.config.networks) {
        known += std::format("{}{}", known.empty() ? "" : ", ", network.name);
    }
    return fail(ErrorKind::not_found, "io.netkitd.network: there is no network '{}' on this node (there are: {})", name,
                known);
}

std::uint32_t EndpointManager::mtu_for(const AttachOptions& options, const NetworkConfig& network) const {
    return options.mtu.value_or(network.mtu.value_or(settings_.uplink_mtu));
}

Result<link::DeviceMode> EndpointManager::device_mode(const AttachOptions& options) const {
    const link::DeviceMode mode = options.device_mode.value_or(settings_.modes.active);
    if (link::is_netkit(mode) && !settings_.modes.netkit_available) {
        return fail(ErrorKind::refused,
                    "io.netkitd.device-mode: this kernel has no netkit devices (Linux 6.8 with CONFIG_NETKIT has); "
                    "leave the annotation out or ask for veth");
    }
    return mode;
}

Result<std::string> EndpointManager::free_host_name(const std::string& container_id) {
    for (std::uint32_t attempt = 0; attempt < kHostNameAttempts; ++attempt) {
        std::string name = host_device_name(container_id, attempt);
        if (!NK_TRY(plumbing_.find_host_device(name))) {
            return name;
        }
    }
    return fail(ErrorKind::internal, "no free name for the host's end of {}", container_id);
}

Result<std::string> EndpointManager::obstacle_to_ipv6(ContainerNetns& netns, std::uint32_t mtu) {
    if (!settings_.no_ipv6.empty()) {
        return settings_.no_ipv6;
    }
    if (mtu < kMinMtu) {
        return std::format("the MTU is {}, and IPv6 needs {} (RFC 8200, section 5)", mtu, kMinMtu);
    }
    if (!NK_TRY(plumbing_.container_takes_ipv6(netns))) {
        return "it is turned off in the container (net.ipv6.conf.all.disable_ipv6 or default.disable_ipv6)";
    }
    return "";
}

// The notes say what the container does without.
Result<std::vector<std::string>> EndpointManager::take_addresses(AttachPlan& plan, const AttachOptions& options,
                                                                 const NetworkConfig& network, ContainerNetns& netns,
                                                                 const Endpoint* predecessor, UndoStack& undo) {
    EndpointRecord& record = plan.record;
    if (!network.ipv6 && options.ipv6) {
        return fail(ErrorKind::refused,
                    "io.netkitd.ipv6: network {} has no IPv6 prefix; leave the annotation out, or give the network one",
                    network.name);
    }
    std::vector<std::string> notes;
    if (network.ipv6) {
        const std::string obstacle = NK_TRY(obstacle_to_ipv6(netns, record.mtu));
        if (!obstacle.empty() && options.ipv6) {
            return fail(ErrorKind::refused, "io.netkitd.ipv6: no IPv6 for this container: {}", obstacle);
        }
        if (obstacle.empty()) {
            record.ipv6 = NK_TRY_CONTEXT(options.ipv6 ? "io.netkitd.ipv6" : std::format("network {}", network.name),
                                         take_address(*network.ipv6, options.ipv6, predecessor, undo));
        } else {
            notes.push_back(std::format("IPv4 only: {}", obstacle));
        }
    }
    record.ipv4 = NK_TRY_CONTEXT(options.ipv4 ? "io.netkitd.ipv4" : std::format("network {}", network.name),
                                 take_address(network.ipv4, options.ipv4, predecessor, undo));
    return notes;
}

Result<IpAddr> EndpointManager::take_address(const IpPrefix& prefix, const std::optional<IpAddr>& wanted,
                                             const Endpoint* predecessor, UndoStack& undo) {
    if (wanted && predecessor != nullptr && predecessor->record.has(*wanted) &&
        predecessor->record.members.size() == 1) {
        return *wanted;  // reserved already, and moves with the container
    }
    if (wanted) {
        NK_TRY(pools_.reserve(prefix, *wanted));
    }
    const IpAddr address = wanted ? *wanted : NK_TRY(pools_.allocate(prefix));
    undo.push("release the address", [this, address]() -> Result<void> {
        pools_.release(address);
        return {};
    });
    return address;
}

Result<void> EndpointManager::detach(const std::string& container_id) {
    processes_.forget(container_id);
    const Endpoint* endpoint = find_container(container_id);
    return endpoint == nullptr ? Result<void>() : drop_member(endpoint->record.id, container_id);
}

Result<void> EndpointManager::drop_member(std::uint32_t endpoint_id, const std::string& container_id) {
    Endpoint endpoint = endpoints_.at(endpoint_id);
    processes_.forget(container_id);
    if (endpoint.record.members.size() <= 1) {
        return remove(endpoint_id);
    }
    std::erase_if(endpoint.record.members, [&](const Member& m) { return m.container_id == container_id; });
    endpoint.exited.erase(container_id);
    return store_.put_endpoint(endpoints_.put(std::move(endpoint)).record);
}

Result<void> EndpointManager::remove(std::uint32_t endpoint_id) {
    const EndpointRecord record = endpoints_.take(endpoint_id).record;
    removed_devices_.insert(record.host_ifindex);
    std::vector<IpAddr> addresses = record.addresses();
    // Moved on, with the container.
    std::erase_if(addresses, [this](const IpAddr& address) { return endpoints_.has_address(address); });
    Result<void> result;
    for (const IpAddr& address : addresses) {
        keep_first(result, plumbing_.remove_entry(address));
    }
    keep_first(result, plumbing_.remove_pair(record.host_ifindex));
    keep_first(result, plumbing_.detach_program(record.host_name));
    keep_first(result, plumbing_.forget_flows(record.id));
    to_take_up_.erase(record.id);
    pair_sizes_.forget(record);
    to_forget_.emplace(record.id, addresses);
    keep_first(result, forget_records());
    std::ranges::for_each(addresses, [this](const IpAddr& address) { pools_.release(address); });
    return with_context(result, std::format("give back endpoint {} of {}", record.id, first_container(record)));
}

Result<void> EndpointManager::device_removed(std::uint32_t host_ifindex) {
    const Endpoint* endpoint = endpoints_.find_by_device(host_ifindex);
    if (endpoint == nullptr) {
        removed_devices_.erase(host_ifindex);
        return {};
    }
    const EndpointRecord record = endpoint->record;
    for (const Member& member : record.members) {
        processes_.forget(member.container_id);
    }
    processes_.note_cut_off(record);
    Result<void> removed = remove(record.id);
    removed_devices_.erase(host_ifindex);
    log(LogLevel::info, "endpoint {} of {} is gone with its device; freed: {}", record.id, first_container(record),
        record.address_text());
    return removed;
}

void EndpointManager::process_exited(const std::string& container_id) {
    processes_.forget(container_id);
    if (Endpoint* endpoint = endpoints_.find_by_container(container_id)) {
        endpoint->exited.insert(container_id);
    }
}

Result<void> EndpointManager::repair_forwarding(std::uint32_t host_ifindex) {
    const Endpoint* endpoint = endpoints_.find_by_device(host_ifindex);
    if (endpoint == nullptr) {
        return {};
    }
    // A new device says "off" too, and by now it is on; one that is gone needs nothing.
    const std::string& name = endpoint->record.host_name;
    const link::HostEnd end = host_end_of(endpoint->record, settings_);
    const auto on = plumbing_.forwards(name, end.ipv6.has_value());
    if (on ? *on : on.error().kind() == ErrorKind::not_found) {
        return {};
    }
    log(LogLevel::notice, "forwarding of {} was turned off: turned on again, its container needs it", name);
    return plumbing_.configure_host_end(name, end);
}

Result<void> EndpointManager::reconfigure(const Config& config) {
    for (const auto& [id, endpoint] : endpoints_.all()) {
        const NetworkConfig* before = settings_.config.find_network(endpoint.record.network);
        const NetworkConfig* after = config.find_network(endpoint.record.network);
        if (after == nullptr || before == nullptr || !keeps(*before, *after, endpoint.record)) {
            return fail(ErrorKind::refused,
                        "network {} is in use by container {}: keep it as it is until its containers are gone",
                        endpoint.record.network, first_container(endpoint.record));
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
