#include "daemon/status.h"

#include <sys/utsname.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "daemon/describe.h"
#include "endpoint/store.h"

namespace netkitd {
namespace {

using nlohmann::json;

std::string kernel_release() {
    utsname name{};
    return uname(&name) == 0 ? name.release : "unknown";
}

json describe_foreign_programs(const NodeNetwork& network, const std::string& uplink) {
    json result = json::array();
    for (const datapath::ForeignProgram& program : network.foreign_programs()) {
        if (program.uplink == uplink) {
            result.push_back({{"direction", program.direction},
                              {"name", program.name},
                              {"id", program.id},
                              {"before", program.before}});
        }
    }
    return result;
}

json describe_uplinks(const NodeNetwork& network) {
    json result = json::array();
    for (const link::Uplink& uplink : network.uplinks()) {
        json addresses = json::array();
        for (const IpAddr& address : uplink.addresses) {
            addresses.push_back(address.to_string());
        }
        result.push_back({{"name", uplink.name},
                          {"ifindex", uplink.ifindex},
                          {"foreign_programs", describe_foreign_programs(network, uplink.name)},
                          {"mtu", uplink.mtu},
                          {"addresses", std::move(addresses)},
                          {"state", uplink.unusable.empty() ? "attached" : "unusable"},
                          {"reason", uplink.unusable}});
    }
    return result;
}

json describe_networks(const EndpointManager& endpoints) {
    json result = json::array();
    for (const NetworkConfig& network : endpoints.config().networks) {
        const auto use4 = endpoints.pool_use(network.name, IpFamily::v4);
        const auto use6 = endpoints.pool_use(network.name, IpFamily::v6);
        json description = {
            {"name", network.name},  {"ipv4", network.ipv4.to_string()}, {"gateway4", network.gateway4().to_string()},
            {"in_use", use4.in_use}, {"capacity", use4.capacity},        {"ipv6", nullptr},
            {"gateway6", nullptr},   {"in_use6", use6.in_use},           {"capacity6", use6.capacity}};
        if (network.ipv6) {
            description["ipv6"] = network.ipv6->to_string();
            description["gateway6"] = network.gateway6()->to_string();
        }
        result.push_back(std::move(description));
    }
    return result;
}

json describe_masquerade(const Node& node) {
    const Config& config = node.endpoints().config();
    json devices = json::array();
    for (const link::Uplink& uplink : node.network().uplinks()) {
        if (uplink.unusable.empty()) {
            devices.push_back(uplink.name);
        }
    }
    json prefixes = json::array();
    for (const IpPrefix& prefix : config.prefixes()) {
        prefixes.push_back(prefix.to_string());
    }
    return {{"enabled", config.masquerade},
            {"devices", std::move(devices)},
            {"networks", std::move(prefixes)},
            {"ports", std::format("{}-{}", config.masquerade_ports.first, config.masquerade_ports.last)}};
}

json describe_big_tcp(const BigTcp& big_tcp) {
    const link::SegmentSizes sizes = big_tcp.pair_sizes();
    return {{"enabled", big_tcp.enabled()},        {"reason", big_tcp.why_off()},
            {"gso_max_size", sizes.gso},           {"gro_max_size", sizes.gro},
            {"gso_ipv4_max_size", sizes.gso_ipv4}, {"gro_ipv4_max_size", sizes.gro_ipv4}};
}

void describe_family_maps(const Node& node, IpFamily family, json& list) {
    const char version = family == IpFamily::v4 ? '4' : '6';
    const auto endpoints = std::ranges::count_if(node.endpoints().endpoints(), [&](const auto& entry) {
        const EndpointRecord& record = entry.second.record;
        return (family == IpFamily::v4 ? record.ipv4 : record.ipv6).has_value();
    });
    const auto maps = node.datapath().flow_maps(family);
    const auto& sweep = family == IpFamily::v4 ? node.last_sweep().v4 : node.last_sweep().v6;
    list.push_back({{"name", std::format("endpoints{}", version)},
                    {"entries", endpoints},
                    {"capacity", node.datapath().endpoint_capacity()}});
    list.push_back({{"name", std::format("flows{}", version)},
                    {"entries", sweep.established_entries},
                    {"capacity", maps.established_capacity}});
    list.push_back({{"name", std::format("flows{}_new", version)},
                    {"entries", sweep.fresh_entries},
                    {"capacity", maps.fresh_capacity}});
}

json describe_maps(const Node& node) {
    json list = json::array();
    describe_family_maps(node, IpFamily::v4, list);
    describe_family_maps(node, IpFamily::v6, list);
    return list;
}

Result<json> describe_counters(const Node& node) {
    json result = json::array();
    for (const datapath::Counter& counter : NK_TRY(node.datapath().counters())) {
        result.push_back({{"name", counter.name},
                          {"kind", counter.drop ? "drop" : "event"},
                          {"packets", counter.packets},
                          {"bytes", counter.bytes},
                          {"text", counter.text}});
    }
    return result;
}

Result<json> describe_host_changes(Store& store) {
    json result = json::array();
    for (const HostChange& change : NK_TRY(store.host_changes())) {
        result.push_back({{"what", change.what}, {"before", change.before}, {"after", change.after}});
    }
    return result;
}

json describe_errors(const RecentErrors& errors) {
    json result = json::array();
    for (const RecentError& error : errors.list()) {
        result.push_back({{"when", describe_time(error.when)}, {"what", error.what}, {"message", error.message}});
    }
    return result;
}

// What works less well than it could, in words that say what to do.
json describe_degraded(const Node& node) {
    json result = json::array();
    if (!node.device_mode().reason.empty()) {
        result.push_back(node.device_mode().reason);
    }
    if (!node.network().no_ipv6().empty()) {
        result.push_back(std::format("containers get no IPv6: {}", node.network().no_ipv6()));
    }
    for (const auto& [container, host_name] : node.endpoints().cut_off()) {
        result.push_back(std::format("container {} has no network: its {} was deleted while it runs; restart it",
                                     container, host_name));
    }
    for (const auto& [container, reason] : node.endpoints().other_sizes()) {
        result.push_back(
            std::format("container {} keeps other packet sizes than this node's (BIG TCP) until it is "
                        "restarted: {}",
                        container, reason));
    }
    for (const datapath::ForeignProgram& program : node.network().foreign_programs()) {
        if (program.before) {
            result.push_back(std::format(
                "uplink {}: the program {} (id {}) runs before netkitd's at {}: what it drops or redirects never "
                "reaches the containers or the network; `bpftool net show dev {}` tells more",
                program.uplink, program.name, program.id, program.direction, program.uplink));
        }
    }
    bool usable_uplink = false;
    for (const link::Uplink& uplink : node.network().uplinks()) {
        usable_uplink = usable_uplink || uplink.unusable.empty();
        if (!uplink.unusable.empty()) {
            result.push_back(std::format("uplink {} is not used: {}", uplink.name, uplink.unusable));
        }
    }
    if (!usable_uplink) {
        result.push_back(
            "there is no uplink: containers reach each other and this host only (add a default route, or name devices "
            "in `uplinks`)");
    }
    return result;
}

}  // namespace

Result<json> describe_status(Node& node) {
    const DeviceModeDecision& mode = node.device_mode();
    return json{
        {"version", NETKITD_VERSION},
        {"kernel", kernel_release()},
        {"device_mode",
         {{"configured", mode.configured}, {"active", link::to_string(mode.modes.active)}, {"reason", mode.reason}}},
        {"attach_mode", link::is_netkit(mode.modes.active) ? "netkit" : "tcx"},
        {"host_routing", "bpf"},
        {"masquerading", describe_masquerade(node)},
        {"services", "not available"},
        {"big_tcp", describe_big_tcp(node.network().big_tcp())},
        {"uplinks", describe_uplinks(node.network())},
        {"networks", describe_networks(node.endpoints())},
        {"endpoints", node.endpoints().endpoints().size()},
        {"maps", describe_maps(node)},
        {"counters", NK_TRY(describe_counters(node))},
        {"host_changes", NK_TRY(describe_host_changes(node.store()))},
        {"degraded", describe_degraded(node)},
        {"last_errors", describe_errors(node.errors())},
        {"boot_id", NK_TRY(read_boot_id())},
        {"started", describe_time(node.started())}};
}

}  // namespace netkitd
