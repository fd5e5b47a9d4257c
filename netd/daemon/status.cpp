#include "daemon/status.h"

#include <sys/utsname.h>

#include <algorithm>
#include <numeric>

#include <nlohmann/json.hpp>

#include "daemon/describe.h"
#include "daemon/refusals.h"
#include "link/ipsec.h"
#include "link/resolv_conf.h"
#include "node/container_names.h"
#include "store/store.h"

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
        result.push_back({{"name", uplink.name},
                          {"ifindex", uplink.ifindex},
                          {"foreign_programs", describe_foreign_programs(network, uplink.name)},
                          {"mtu", uplink.mtu},
                          {"addresses", describe_addresses(uplink.addresses)},
                          {"way_out", uplink.is_way_out},
                          {"state", uplink.usable() ? "attached" : "unusable"},
                          {"reason", uplink.unusable}});
    }
    return result;
}

// `suffix`: of the family.
void describe_network_masquerade(const Masquerade& masquerade, const std::string& suffix, json& network) {
    network["masquerade" + suffix] = masquerade.enabled;
    network["source" + suffix] = masquerade.source ? json(masquerade.source->to_string()) : json(nullptr);
}

// `ipv6`: whether this host has any to give, here and below.
json describe_networks(const EndpointManager& endpoints, bool ipv6) {
    json result = json::array();
    for (const NetworkConfig& network : endpoints.config().networks) {
        const auto use4 = endpoints.pool_use(network.name, IpFamily::v4);
        const auto use6 = endpoints.pool_use(network.name, IpFamily::v6);
        json description = {{"name", network.name},
                            {"ipv4", network.ipv4.to_string()},
                            {"gateway4", network.gateway4().to_string()},
                            {"in_use", use4.in_use},
                            {"capacity", use4.capacity},
                            {"ipv6", nullptr},
                            {"gateway6", nullptr},
                            {"in_use6", use6.in_use},
                            {"capacity6", use6.capacity},
                            {"isolated", network.isolated},
                            {"accept_forwarded", network.accept_forwarded}};
        describe_network_masquerade(network.masquerade4, "4", description);
        describe_network_masquerade(network.masquerade6, "6", description);
        if (network.ipv6 && ipv6) {
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
        if (uplink.usable()) {
            devices.push_back(uplink.name);
        }
    }
    json prefixes = json::array();
    for (const NetworkConfig& network : config.networks) {
        for (const IpPrefix& prefix : network.prefixes()) {
            const bool is_used = prefix.address().is_v4() || node.network().no_ipv6().empty();
            if (is_used && network.masquerade(prefix.address().family()).enabled) {
                prefixes.push_back(prefix.to_string());
            }
        }
    }
    json non_masquerade = json::array();
    for (const IpPrefix& prefix : config.non_masquerade) {
        non_masquerade.push_back(prefix.to_string());
    }
    return {{"enabled", !prefixes.empty()},
            {"devices", std::move(devices)},
            {"networks", std::move(prefixes)},
            {"non_masquerade_cidrs", std::move(non_masquerade)},
            {"ports", formatted("{}-{}", config.masquerade_ports.first, config.masquerade_ports.last)},
            {"lifetimes_seconds",
             {{"new", config.lifetimes.fresh.count()},
              {"tcp_established", config.lifetimes.tcp_established.count()},
              {"tcp_half_closed", config.lifetimes.tcp_half_closed.count()},
              {"tcp_closed", config.lifetimes.tcp_closed.count()},
              {"udp", config.lifetimes.udp.count()},
              {"icmp", config.lifetimes.icmp.count()},
              {"sctp", config.lifetimes.sctp.count()}}}};
}

json describe_big_tcp(const BigTcp& big_tcp, bool ipv6) {
    const link::SegmentSizes sizes = big_tcp.pair_sizes();
    const auto of_ipv6 = [&](std::uint32_t size) { return ipv6 ? json(size) : json(nullptr); };
    return {{"enabled", big_tcp.enabled()},        {"reason", big_tcp.why_off()},
            {"gso_max_size", of_ipv6(sizes.gso)},  {"gro_max_size", of_ipv6(sizes.gro)},
            {"gso_ipv4_max_size", sizes.gso_ipv4}, {"gro_ipv4_max_size", sizes.gro_ipv4}};
}

// New flows by how many ports were tried for them.
Result<json> describe_port_tries(const datapath::Datapath& datapath) {
    const auto tries = NK_TRY(datapath.port_tries());
    const std::uint64_t created = NK_TRY(datapath.counted(NK_EVENT_FLOW_CREATED));
    const std::uint64_t several = std::accumulate(tries.begin(), tries.end(), std::uint64_t{0});
    return json{
        {"1", created - std::min(created, several)}, {"2-4", tries.at(NK_PORT_TRIES_4)},
        {"5-8", tries.at(NK_PORT_TRIES_8)},          {"9-16", tries.at(NK_PORT_TRIES_16)},
        {"17-32", tries.at(NK_PORT_TRIES_32)},       {"exhausted", NK_TRY(datapath.counted(NK_DROP_PORTS_EXHAUSTED))}};
}

double percent(std::uint64_t part, std::uint64_t whole) {
    constexpr double kPercent = 100.0;
    return whole == 0 ? 0 : kPercent * static_cast<double>(part) / static_cast<double>(whole);
}

json describe_map(std::string_view name, std::uint64_t entries, std::uint64_t capacity) {
    return {{"name", name},
            {"entries", entries},
            {"capacity", capacity},
            {"percent", percent(entries, capacity)},
            {"high_since", nullptr}};
}

std::uint64_t count_addresses(const EndpointManager& endpoints, IpFamily family) {
    return static_cast<std::uint64_t>(std::ranges::count_if(endpoints.endpoints(), [&](const auto& entry) {
        const EndpointRecord& record = entry.second.record;
        return (family == IpFamily::v4 ? record.ipv4 : record.ipv6).has_value();
    }));
}

Result<json> describe_maps(Node& node) {
    NK_TRY(node.sweeper().measure());
    json list = json::array();
    const std::uint32_t capacity = node.datapath().endpoint_capacity();
    list.push_back(describe_map("endpoints4", count_addresses(node.endpoints(), IpFamily::v4), capacity));
    const bool ipv6 = node.network().no_ipv6().empty();
    if (ipv6) {
        list.push_back(describe_map("endpoints6", count_addresses(node.endpoints(), IpFamily::v6), capacity));
    }
    for (const nat::FlowSweeper::Map& map : node.sweeper().maps()) {
        if (!ipv6 && std::string_view(map.name).contains('6')) {
            continue;
        }
        json description = describe_map(map.name, map.fill.entries, map.capacity);
        if (map.high_since) {
            description["high_since"] = describe_time(*map.high_since);
        }
        list.push_back(std::move(description));
    }
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

// What the host got after the containers.
void describe_overlaps(const NodeNetwork& network, json& result) {
    for (const Overlap& overlap : network.overlaps()) {
        if (overlap.host.advertised) {
            result.push_back(formatted(
                "network {}: its prefix {} overlaps {}, which a router there advertises, or somebody who says that he "
                "is one: it takes nothing from containers, but what this host itself sends there may follow it; turn "
                "it "
                "off there, or give the network another prefix",
                overlap.network, overlap.prefix.to_string(), overlap.host.text));
            continue;
        }
        result.push_back(
            formatted("network {}: its prefix {} overlaps {} of this host, which came later and goes first: "
                      "containers with addresses there and this host do not reach each other; give the network another "
                      "prefix when its containers are gone",
                      overlap.network, overlap.prefix.to_string(), overlap.host.text));
    }
    for (const IpAddr& gateway : network.gateways_of_links()) {
        result.push_back(formatted(
            "the gateway {} lies on a link of this host, which came later: it is left to whoever has it there, "
            "and containers reach this host by its other addresses only",
            gateway.to_string()));
    }
    if (const std::size_t unknown = network.unknown_host_prefixes(); unknown > 0) {
        result.push_back(formatted(
            "this host has routes to more than {} prefixes in those of the networks: {} of them are taken for the "
            "networks' own, and containers do not reach what is there; give the networks other prefixes",
            NK_MAX_HOST_PREFIXES, unknown));
    }
}

void describe_degraded_masquerade(Node& node, json& result) {
    for (const MissingSource& missing : node.network().missing_sources()) {
        result.push_back(formatted(
            "network {}: {}, which it is to be masqueraded with, is not an address of this host: its new flows are "
            "dropped (no-source-address) until it is",
            missing.network, missing.address.to_string()));
    }
    for (const nat::FlowSweeper::Map& map : node.sweeper().maps()) {
        if (map.high_since) {
            result.push_back(formatted(
                "the flow table {} has been more than three quarters full since {}, but for what is kept for each "
                "container's share: when it is full, whoever has more than that gets no new connection (flow-share); "
                "`netkitctl flow list` shows whose they are",
                map.name, describe_time(*map.high_since)));
        }
    }
}

json describe_name_servers(const link::ResolverSettings& host) {
    return {{"servers", describe_addresses(host.servers)}, {"file", host.file}, {"unreachable", host.unreachable}};
}

std::vector<std::string> missing_uplinks(const Node& node) {
    std::vector<std::string> missing = node.endpoints().config().uplinks;
    std::erase_if(missing, [&](const std::string& name) {
        return std::ranges::contains(node.network().uplinks(), name, &link::Uplink::name);
    });
    return missing;
}

void describe_uplinks_not_used(const NodeNetwork& network, const std::vector<std::string>& missing, json& result) {
    for (const std::string& name : missing) {
        result.push_back(
            formatted("uplink {} of the configuration is not there: it is used once a device has that name", name));
    }
    for (const link::Uplink& uplink : network.uplinks()) {
        if (!uplink.usable()) {
            result.push_back(formatted("uplink {} is not used: {}", uplink.name, uplink.unusable));
        }
    }
    if (const auto& others = network.left_out_uplinks(); !others.empty()) {
        result.push_back(formatted(
            "{} devices that this host has routes by are beyond the {} uplinks that netkitd has room for, {} and "
            "others: containers reach nothing by them; name those that they need in `uplinks`",
            others.size(), NK_MAX_UPLINKS, others.front()));
    }
    if (const auto& rule = network.suppressing_rule6(); rule && network.no_ipv6().empty()) {
        result.push_back(formatted(
            "the policy rule {} of this host suppresses IPv6 routes (`ip -6 rule`), which the kernel does not heed for "
            "containers: so as not to pass by a VPN, they reach nothing outside by IPv6 (policy-rule)",
            *rule));
    }
    if (std::ranges::none_of(network.uplinks(), &link::Uplink::usable)) {
        result.push_back(
            "there is no uplink: containers reach each other and this host only (give a device an address or a route, "
            "or name devices in `uplinks`)");
    }
}

// To everybody who is outside.
bool is_open(const PublishedPort& port) {
    return port.allowed.empty() && !(port.address && port.address->is_loopback());
}

json describe_published(const Node& node) {
    std::size_t ports = 0;
    std::ptrdiff_t open = 0;
    for (const auto& [id, endpoint] : node.endpoints().endpoints()) {
        ports += endpoint.record.published.size();
        open += std::ranges::count_if(endpoint.record.published, is_open);
    }
    return {{"ports", ports},
            {"open", open},
            {"socket_programs", node.datapath().socket_hooks().are_there()},
            {"loopback_program", node.datapath().loopback_program().is_there()}};
}

void describe_unreached_ports(const Node& node, json& result) {
    if (!node.endpoints().config().publish_addresses.empty() && !node.datapath().frontends().has_address_for_all()) {
        result.push_back(
            "this host has no address of `services.publish_address`: nobody reaches what is published without one");
    }
    if (const std::size_t left_out = node.datapath().frontends().addresses_left_out(); left_out > 0) {
        result.push_back(formatted(
            "this host has {} addresses more than the {} at which ports can be published: name those that are to "
            "have them in `services.publish_address`",
            left_out, NK_MAX_OWN_ADDRESSES));
    }
    if (const Result<void>& reached = node.datapath().reached_from_host(); !reached) {
        result.push_back(
            formatted("published ports are reached from outside and by containers, but not all from this host: {}",
                      reached.error().message()));
    }
}

// What works less well than it could, in words that say what to do.
json describe_degraded(Node& node, const link::ResolverSettings& host) {
    json result = json::array();
    if (!node.device_mode().reason.empty()) {
        result.push_back(node.device_mode().reason);
    }
    // Where nobody asked for IPv6, nothing is missing.
    const auto asks_for_ipv6 = [](const NetworkConfig& network) { return network.ipv6 && !network.any_ipv6; };
    if (!node.network().no_ipv6().empty() && std::ranges::any_of(node.endpoints().config().networks, asks_for_ipv6)) {
        result.push_back(formatted("containers get no IPv6: {}", node.network().no_ipv6()));
    }
    if (!host.unreachable.empty() && host.servers.empty()) {
        result.push_back(formatted("names do not resolve in containers: {}", why_no_names(host)));
    }
    for (const auto& [container, host_name] : node.endpoints().cut_off()) {
        result.push_back(formatted("container {} has no network: its {} was deleted while it runs; restart it",
                                   container, host_name));
    }
    for (const auto& [container, reason] : node.endpoints().other_sizes()) {
        result.push_back(
            formatted("container {} keeps other packet sizes than this node's (BIG TCP) until it is "
                      "restarted: {}",
                      container, reason));
    }
    describe_overlaps(node.network(), result);
    if (const std::uint32_t master = node.network().host_device_master(); master != 0) {
        result.push_back(formatted(
            "netkitd0 was made a part of {}, which gets what containers send to this host: take it out (ip link set "
            "netkitd0 nomaster)",
            link::device_name(master)));
    }
    for (std::string& refusal : describe_refusals(node)) {
        result.push_back(std::move(refusal));
    }
    describe_degraded_masquerade(node, result);
    describe_unreached_ports(node, result);
    if (const auto policies = link::outbound_ipsec_policies(); policies && *policies > 0) {
        result.push_back(formatted(
            "this host has {} IPsec policies for what leaves: containers' packets do not heed them, and go out "
            "unencrypted",
            *policies));
    }
    for (const datapath::ForeignProgram& program : node.network().foreign_programs()) {
        if (program.before) {
            result.push_back(formatted(
                "uplink {}: the program {} (id {}) runs before netkitd's at {}: what it drops or redirects never "
                "reaches the containers or the network; `bpftool net show dev {}` tells more",
                program.uplink, program.name, program.id, program.direction, program.uplink));
        }
    }
    describe_uplinks_not_used(node.network(), missing_uplinks(node), result);
    return result;
}

}  // namespace

Result<json> describe_status(Node& node) {
    const DeviceModeDecision& mode = node.device_mode();
    const auto resolver = link::find_resolver_settings(link::read_host_file);
    return json{
        {"version", NETKITD_VERSION},
        {"kernel", kernel_release()},
        {"device_mode",
         {{"configured", mode.configured}, {"active", link::to_string(mode.modes.active)}, {"reason", mode.reason}}},
        {"attach_mode", link::is_netkit(mode.modes.active) ? "netkit" : "tcx"},
        {"host_routing", "bpf"},
        {"host_device",
         {{"name", link::kHostDeviceName},
          {"ifindex", node.network().host_device()},
          {"mtu", node.network().host_mtu()}}},
        {"masquerading", describe_masquerade(node)},
        {"services", "not available"},
        {"published", describe_published(node)},
        {"big_tcp", describe_big_tcp(node.network().big_tcp(), node.network().no_ipv6().empty())},
        {"uplinks", describe_uplinks(node.network())},
        {"missing_uplinks", missing_uplinks(node)},
        {"name_servers", describe_name_servers(resolver)},
        {"networks", describe_networks(node.endpoints(), node.network().no_ipv6().empty())},
        {"endpoints", node.endpoints().endpoints().size()},
        {"maps", NK_TRY(describe_maps(node))},
        {"flows_refused", NK_TRY(node.datapath().counted(NK_DROP_FLOW_TABLE_FULL))},
        {"port_tries", NK_TRY(describe_port_tries(node.datapath()))},
        {"counters", NK_TRY(describe_counters(node))},
        {"host_changes", NK_TRY(describe_host_changes(node.store()))},
        {"degraded", describe_degraded(node, resolver)},
        {"last_errors", describe_errors(node.errors())},
        {"boot_id", NK_TRY(read_boot_id())},
        {"started", describe_time(node.started())}};
}

}  // namespace netkitd
