#include "endpoint/attach_planner.h"

#include <chrono>

#include "base/format.h"
#include "base/join.h"
#include "config/mtu.h"
#include "endpoint/host_name.h"
#include "endpoint/port_claims.h"

namespace netkitd {

Result<AttachPlan> AttachPlanner::plan(const AttachRequest& request, ContainerNetns& netns, const Endpoint* predecessor,
                                       UndoStack& undo) {
    NK_TRY(check_interface_is_free(netns, request.options.interface_name));
    const NetworkConfig& network = *NK_TRY(find_network(request.options.network));
    NK_TRY_CONTEXT("io.netkitd.publish", claim_ports(request.options.publish, predecessor, undo));
    AttachPlan result = NK_TRY(without_addresses(request, network, netns.cookie));
    result.record.published = request.options.publish;
    NK_TRY(take_addresses(result, request.options, network, netns, predecessor, undo));
    NK_TRY_CONTEXT("io.netkitd.publish", check_families(result.record));
    result.record.home = take_home(request.container_id, undo);
    if (predecessor != nullptr) {
        result.predecessor = predecessor->record;
    }
    return result;
}

Result<void> AttachPlanner::check_families(const EndpointRecord& record) {
    for (const PublishedPort& port : record.published) {
        if (port.address && !port.address->is_v4() && !record.ipv6) {
            return fail(ErrorKind::refused, "{}: this container has no IPv6 address that it could lead to",
                        port.to_string());
        }
    }
    return {};
}

// Reserved before it is looked who has them, so that no connection of the host's gets one after that.
Result<void> AttachPlanner::claim_ports(const std::vector<PublishedPort>& wanted, const Endpoint* predecessor,
                                        UndoStack& undo) {
    if (wanted.empty()) {
        return {};
    }
    undo.push("give the host its ports back", [&plumbing = plumbing_] { return plumbing.reserve_ports({}); });
    NK_TRY(plumbing_.reserve_ports(wanted));
    return check_port_claims(wanted, endpoints_, predecessor, settings_.config, plumbing_);
}

Result<void> AttachPlanner::check_interface_is_free(ContainerNetns& netns, const std::string& name) {
    if (NK_TRY(plumbing_.find_container_device(netns, name))) {
        return fail(ErrorKind::refused,
                    "the container already has an interface {}: run it with `--network none` (or keep CNI from "
                    "networking its pod), or choose another name with the io.netkitd.interface annotation",
                    name);
    }
    return {};
}

Result<const NetworkConfig*> AttachPlanner::find_network(const std::string& name) const {
    if (const NetworkConfig* network = settings_.config.find_network(name)) {
        return network;
    }
    return fail(ErrorKind::not_found, "io.netkitd.network: there is no network '{}' on this node (there are: {})", name,
                join(settings_.config.networks, &NetworkConfig::name));
}

Result<AttachPlan> AttachPlanner::without_addresses(const AttachRequest& request, const NetworkConfig& network,
                                                    std::uint64_t netns_cookie) {
    const AttachOptions& options = request.options;
    AttachPlan result{.record = {},
                      .network = place_in(network),
                      .local_ports = settings_.config.masquerade_ports,
                      .sizes = settings_.sizes,
                      .host_mtu = settings_.host_mtu,
                      .predecessor = std::nullopt,
                      .notes = {}};
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

std::uint32_t AttachPlanner::mtu_for(const AttachOptions& options, const NetworkConfig& network) const {
    return options.mtu.value_or(network.mtu.value_or(settings_.uplink_mtu));
}

Result<link::DeviceMode> AttachPlanner::device_mode(const AttachOptions& options) const {
    const link::DeviceMode mode = options.device_mode.value_or(settings_.modes.active);
    if (link::is_netkit(mode) && !settings_.modes.netkit_available) {
        return fail(ErrorKind::refused,
                    "io.netkitd.device-mode: this kernel has no netkit devices (Linux 6.8 with CONFIG_NETKIT has); "
                    "leave the annotation out or ask for veth");
    }
    return mode;
}

// Nor may it be that of an endpoint whose device is gone: its program's pin has that name, and goes with it.
Result<std::string> AttachPlanner::free_host_name(const std::string& container_id) {
    for (std::uint32_t attempt = 0; attempt < kHostNameAttempts; ++attempt) {
        std::string name = host_device_name(container_id, attempt);
        if (!endpoints_.has_host_name(name) && !NK_TRY(plumbing_.find_host_device(name))) {
            return name;
        }
    }
    return fail(ErrorKind::internal, "no free name for the host's end of {}", container_id);
}

Result<std::string> AttachPlanner::obstacle_to_ipv6(ContainerNetns& netns, std::uint32_t mtu) {
    if (!settings_.no_ipv6.empty()) {
        return settings_.no_ipv6;
    }
    if (mtu < kMinMtu) {
        return formatted("the MTU is {}, and IPv6 needs {} (RFC 8200, section 5)", mtu, kMinMtu);
    }
    if (!NK_TRY(plumbing_.container_takes_ipv6(netns))) {
        return "it is turned off in the container (net.ipv6.conf.all.disable_ipv6 or default.disable_ipv6)";
    }
    return "";
}

Result<void> AttachPlanner::take_addresses(AttachPlan& plan, const AttachOptions& options, const NetworkConfig& network,
                                           ContainerNetns& netns, const Endpoint* predecessor, UndoStack& undo) {
    EndpointRecord& record = plan.record;
    if (!network.ipv6 && options.ipv6) {
        return fail(ErrorKind::refused,
                    "io.netkitd.ipv6: network {} has no IPv6 prefix; leave the annotation out, or give the network one",
                    network.name);
    }
    if (network.ipv6) {
        const std::string obstacle = NK_TRY(obstacle_to_ipv6(netns, record.mtu));
        if (!obstacle.empty() && options.ipv6) {
            return fail(ErrorKind::refused, "io.netkitd.ipv6: no IPv6 for this container: {}", obstacle);
        }
        if (obstacle.empty()) {
            record.ipv6 = NK_TRY_CONTEXT(options.ipv6 ? "io.netkitd.ipv6" : formatted("network {}", network.name),
                                         take_address(*network.ipv6, options.ipv6, predecessor, undo));
        } else {
            plan.notes.push_back(formatted("IPv4 only: {}", obstacle));
        }
    }
    record.ipv4 = NK_TRY_CONTEXT(options.ipv4 ? "io.netkitd.ipv4" : formatted("network {}", network.name),
                                 take_address(network.ipv4, options.ipv4, predecessor, undo));
    return {};
}

std::uint32_t AttachPlanner::take_home(const std::string& container_id, UndoStack& undo) {
    const std::uint32_t home = homes_.take(container_id, settings_.config.masquerade_ports);
    undo.push("give back the home", [&homes = homes_, home]() -> Result<void> {
        homes.give_back(home);
        return {};
    });
    return home;
}

Result<IpAddr> AttachPlanner::take_address(const IpPrefix& prefix, const std::optional<IpAddr>& wanted,
                                           const Endpoint* predecessor, UndoStack& undo) {
    if (wanted && predecessor != nullptr && predecessor->record.has(*wanted) &&
        predecessor->record.members.size() == 1) {
        return *wanted;  // reserved already, and moves with the container
    }
    if (wanted) {
        NK_TRY(pools_.reserve(prefix, *wanted));
    }
    const IpAddr address = wanted ? *wanted : NK_TRY(pools_.allocate(prefix));
    undo.push("release the address", [&pools = pools_, address]() -> Result<void> {
        pools.release(address);
        return {};
    });
    return address;
}

}  // namespace netkitd
