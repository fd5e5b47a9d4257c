#include "node/datapath_settings.h"

#include <algorithm>
#include <map>

#include "abi.h"
#include "base/format.h"
#include "base/log.h"
#include "base/parse_number.h"
#include "config/own_addresses.h"
#include "link/sysctl.h"
#include "nat/flows.h"
#include "nat/ports.h"

namespace netkitd {
namespace {

std::vector<datapath::NodeNetwork> networks_of(const Config& config, const std::vector<MissingSource>& missing) {
    std::vector<datapath::NodeNetwork> result;
    for (const NetworkConfig& network : config.networks) {
        for (const IpPrefix& prefix : network.prefixes()) {
            const Masquerade& masquerade = network.masquerade(prefix.address().family());
            const auto is_source = [&](const MissingSource& source) { return source.address == masquerade.source; };
            result.push_back({.prefix = prefix,
                              .gateway = gateway_of(prefix),
                              .masquerade = masquerade.enabled,
                              .isolated = network.isolated,
                              .accept_forwarded = network.accept_forwarded,
                              .source = masquerade.source,
                              .source_missing = std::ranges::any_of(missing, is_source)});
        }
    }
    return result;
}

// The larger of both counts (ip-sysctl). Of a device that is going there is none.
bool checks_sources(const std::string& device) {
    constexpr unsigned kStrict = 1;
    const auto value_of = [](const std::string& whose) {
        const auto text = link::read_sysctl(formatted("ipv4/conf/{}/rp_filter", whose));
        return text ? parse_number<unsigned>(*text).value_or(0) : 0;
    };
    return std::max(value_of("all"), value_of(device)) == kStrict;
}

std::map<std::uint32_t, std::uint32_t> flags_of(const std::vector<std::uint32_t>& in_use,
                                                const std::vector<link::Uplink>& uplinks) {
    std::map<std::uint32_t, std::uint32_t> flags;
    for (const std::uint32_t ifindex : in_use) {
        const auto uplink = std::ranges::find(uplinks, ifindex, &link::Uplink::ifindex);
        std::uint32_t& value = flags[ifindex];
        if (uplink != uplinks.end()) {
            value |= uplink->is_inner_bridge ? std::uint32_t{NK_UPLINK_INNER_BRIDGE} : 0;
            value |= checks_sources(uplink->name) ? std::uint32_t{NK_UPLINK_STRICT} : 0;
        }
    }
    return flags;
}

bool is_for_all(const IpAddr& address, const std::vector<IpAddr>& for_others, const Config& config) {
    if (!config.publish_addresses.empty()) {
        return is_publish_address(config, address);
    }
    return address.is_loopback() || std::ranges::binary_search(for_others, address);
}

// Those where a port is that is published without an address come first: there may be more than there is room for.
std::vector<datapath::OwnAddress> own_addresses(const std::vector<IpAddr>& own, const std::vector<IpAddr>& for_others,
                                                const Config& config) {
    std::vector<datapath::OwnAddress> result;
    for (const IpAddr& address : own) {
        if (!is_gateway(config, address)) {
            result.push_back({.address = address, .for_all = is_for_all(address, for_others, config)});
        }
    }
    std::ranges::stable_partition(result, &datapath::OwnAddress::for_all);
    return result;
}

}  // namespace

void DatapathSettings::heed(const std::vector<link::PolicyRule>& rules) {
    const auto suppressing = std::ranges::find_if(
        rules, [](const link::PolicyRule& rule) { return rule.suppresses && rule.family == IpFamily::v6; });
    suppressing_rule6_ = suppressing == rules.end() ? std::nullopt : std::optional(suppressing->preference);
}

Result<void> DatapathSettings::apply(const Config& config, const link::HostDevice& device,
                                     const std::vector<MissingSource>& missing, const std::vector<IpPrefix>& host,
                                     const std::vector<link::Uplink>& uplinks,
                                     const std::vector<std::uint32_t>& in_use) {
    NK_TRY(datapath_.configure({.host_device = device.ifindex,
                                .host_device_mac = device.mac,
                                .networks = networks_of(config, missing),
                                .non_masquerade = config.non_masquerade,
                                .host = host,
                                .uplinks = flags_of(in_use, uplinks),
                                .suppressed6 = suppressing_rule6_.has_value(),
                                .mtus = NK_TRY(link::forwarding_mtus(host_, uplinks)),
                                .port_first = config.masquerade_ports.first,
                                .port_last = config.masquerade_ports.last,
                                .own_addresses = own_addresses(NK_TRY(link::own_addresses(host_)),
                                                               NK_TRY(link::addresses_for_others(host_)), config)}));
    pool_ = config.masquerade_ports;
    return {};
}

Result<void> DatapathSettings::end_flows_outside_pool() {
    if (!pool_ || pool_ == flows_of_) {
        return {};
    }
    const auto is_outside = [&](std::uint16_t port) { return !nat::port_may_be_ours(*pool_, port); };
    const std::uint64_t ended =
        NK_TRY(nat::FlowTable(datapath_).flush({.inbound = false, .translated_port = is_outside}));
    if (ended > 0) {
        log(LogLevel::notice, "flows ended because the masquerade pool does not hold their port any more: {}", ended);
    }
    flows_of_ = pool_;
    return {};
}

}  // namespace netkitd
