#include "node/node_network.h"

#include <linux/if_arp.h>

#include <algorithm>
#include <iterator>

#include "base/log.h"
#include "link/configure.h"
#include "link/device.h"
#include "link/lower_devices.h"
#include "link/sysctl.h"
#include "node/host_changes.h"
#include "node/ipv6_forwarding.h"

namespace netkitd {
namespace {

// RFC 1122 gives no smaller figure for Ethernet; used only while there is no uplink.
constexpr std::uint32_t kMtuWithoutUplink = 1500;
constexpr const char* kReservedPorts = "ipv4/ip_local_reserved_ports";

std::vector<std::uint32_t> usable_ifindexes(const std::vector<link::Uplink>& uplinks) {
    std::vector<std::uint32_t> result;
    for (const link::Uplink& uplink : uplinks) {
        if (uplink.unusable.empty()) {
            result.push_back(uplink.ifindex);
        }
    }
    return result;
}

datapath::UplinkKind kind_of(const link::Uplink& uplink) {
    return uplink.is_l3 ? datapath::UplinkKind::l3 : datapath::UplinkKind::ethernet;
}

}  // namespace

Result<void> NodeNetwork::sync(const Config& config) {
    NK_TRY(sync_uplinks(config));
    NK_TRY(sync_ipv6(config));
    NK_TRY(sync_networks(config));
    NK_TRY(reserve_ports(config.masquerade_ports));
    return big_tcp_.sync(config.big_tcp, uplinks_);
}

std::uint32_t NodeNetwork::uplink_mtu() const {
    std::uint32_t smallest = 0;
    for (const link::Uplink& uplink : uplinks_) {
        if (uplink.unusable.empty() && (smallest == 0 || uplink.mtu < smallest)) {
            smallest = uplink.mtu;
        }
    }
    return smallest == 0 ? kMtuWithoutUplink : smallest;
}

Result<void> NodeNetwork::sync_ipv6(const Config& config) {
    no_ipv6_.clear();
    if (std::ranges::none_of(config.networks, [](const NetworkConfig& network) { return network.ipv6.has_value(); })) {
        return {};
    }
    no_ipv6_ = NK_TRY(why_no_ipv6());
    if (!no_ipv6_.empty()) {
        return {};
    }
    std::set<std::string> devices;
    std::ranges::transform(uplinks_, std::inserter(devices, devices.end()), &link::Uplink::name);
    if (!config.uplinks.empty()) {
        // A default route may also lead out of a device that is no uplink.
        std::ranges::transform(NK_TRY(link::discover_uplinks(host_, {})), std::inserter(devices, devices.end()),
                               &link::Uplink::name);
    }
    NK_TRY(keep_default_routes(store_, devices));
    return NK_TRY(kernel_forwards_by_device()) ? Result<void>() : forward_everywhere(store_);
}

Result<void> NodeNetwork::sync_networks(const Config& config) {
    const std::vector<NetworkRecord> made = NK_TRY(store_.networks());
    NK_TRY(remove_former_networks(config, made));
    for (const NetworkConfig& network : config.networks) {
        for (const IpPrefix& prefix : network.prefixes()) {
            if (!prefix.address().is_v4() && !no_ipv6_.empty()) {
                continue;
            }
            const NetworkRecord record{.prefix = prefix, .gateway = gateway_of(prefix)};
            if (!std::ranges::contains(made, record)) {
                NK_TRY(store_.record_network(record));
            }
            NK_TRY_CONTEXT(std::format("network {}", network.name),
                           link::ensure_network(host_, prefix, record.gateway));
        }
    }
    return {};
}

// What another configuration had made, unless containers still are in it.
Result<void> NodeNetwork::remove_former_networks(const Config& config, const std::vector<NetworkRecord>& made) {
    const std::vector<IpPrefix> wanted = config.prefixes();
    for (const NetworkRecord& former : made) {
        if (std::ranges::contains(wanted, former.prefix)) {
            continue;
        }
        const auto in_former = [&](const IpAddr& address) {
            return former.prefix.contains(address) &&
                   std::ranges::none_of(wanted, [&](const IpPrefix& prefix) { return prefix.contains(address); });
        };
        if (std::ranges::any_of(NK_TRY(store_.endpoints()), [&](const EndpointRecord& record) {
                return std::ranges::any_of(record.addresses(), in_former);
            })) {
            continue;
        }
        const bool gateway_stays = std::ranges::contains(wanted, former.gateway, gateway_of);
        NK_TRY(
            link::remove_network(host_, former.prefix, gateway_stays ? std::nullopt : std::optional(former.gateway)));
        NK_TRY(store_.forget_network(former.prefix));
        log(LogLevel::notice, "network {} is not configured any more: its gateway and route are removed",
            former.prefix.to_string());
    }
    return {};
}

Result<void> NodeNetwork::reserve_ports(const PortRange& ports) {
    const std::string before = NK_TRY(link::read_sysctl(kReservedPorts));
    if (ports == reserved_ && before == reserved_ports_sysctl_) {
        return {};
    }
    const std::string range = std::format("{}-{}", ports.first, ports.last);
    // The kernel merges overlapping ranges (proc_do_large_bitmap), so writing the union is idempotent.
    const std::string wanted = before.empty() ? range : std::format("{},{}", before, range);
    const bool recorded = is_recorded(NK_TRY(store_.host_changes()), kReservedPorts);
    if (!recorded) {
        NK_TRY(record_sysctl(store_, kReservedPorts, before, wanted));
    }
    NK_TRY(link::write_sysctl(kReservedPorts, wanted));
    reserved_ = ports;
    reserved_ports_sysctl_ = NK_TRY(link::read_sysctl(kReservedPorts));
    if (!recorded && reserved_ports_sysctl_ == before) {
        return forget_sysctl(store_, kReservedPorts);
    }
    return {};
}

Result<void> NodeNetwork::sync_sources(const Config& config) {
    missing_sources_.clear();
    std::optional<std::vector<IpAddr>> present;  // asked for where somebody wants to know
    for (const NetworkConfig& network : config.networks) {
        for (const IpFamily family : {IpFamily::v4, IpFamily::v6}) {
            const std::optional<IpAddr>& source = network.masquerade(family).source;
            if (!source) {
                continue;
            }
            if (!present) {
                present = NK_TRY(link::own_addresses(host_));
            }
            if (!std::ranges::binary_search(*present, *source)) {
                missing_sources_.push_back({.network = network.name, .address = *source});
            }
        }
    }
    return {};
}

Result<void> NodeNetwork::configure(const Config& config, const std::vector<std::uint32_t>& uplinks) {
    datapath::NodeSettings settings{.networks = {},
                                    .non_masquerade = config.non_masquerade,
                                    .uplinks = uplinks,
                                    .mtus = NK_TRY(link::forwarding_mtus(host_, uplinks_)),
                                    .port_first = config.masquerade_ports.first,
                                    .port_last = config.masquerade_ports.last};
    for (const NetworkConfig& network : config.networks) {
        for (const IpPrefix& prefix : network.prefixes()) {
            const Masquerade& masquerade = network.masquerade(prefix.address().family());
            settings.networks.push_back(
                {.prefix = prefix,
                 .gateway = gateway_of(prefix),
                 .masquerade = masquerade.enabled,
                 .isolated = network.isolated,
                 .source = masquerade.source,
                 .source_missing = std::ranges::any_of(missing_sources_, [&](const MissingSource& missing) {
                     return missing.address == masquerade.source;
                 })});
        }
    }
    return datapath_.configure(settings);
}

Result<void> NodeNetwork::sync_uplinks(const Config& config) {
    NK_TRY(sync_sources(config));
    uplinks_ = NK_TRY(link::discover_uplinks(host_, config.uplinks));
    // An uplink's programs know the networks before they see a packet: at a restart they replace programs that do, and
    // a reply that went up the host's stack for a moment would be answered with a reset. Containers send to an uplink
    // only when its programs are there.
    NK_TRY(configure(config, {attached_.begin(), attached_.end()}));
    foreign_programs_.clear();
    for (link::Uplink& uplink : uplinks_) {
        if (!uplink.unusable.empty()) {
            continue;
        }
        // One that cannot be used does not keep the others from it; it may also have vanished just now.
        if (const auto attached = attach_uplink(uplink); !attached) {
            uplink.unusable = attached.error().message();
            attached_.erase(uplink.ifindex);
        }
    }
    const std::vector<std::uint32_t> usable = usable_ifindexes(uplinks_);
    NK_TRY(configure(config, usable));
    NK_TRY(attach_guards());
    return detach_former_uplinks(config, usable);
}

// The devices below uplinks that are none themselves: what comes in untagged below a VLAN, or for another address below
// a macvlan, comes from the same neighbours.
Result<std::vector<link::Device>> NodeNetwork::devices_to_guard() const {
    std::set<std::uint32_t> uplinks;
    std::ranges::transform(uplinks_, std::inserter(uplinks, uplinks.end()), &link::Uplink::ifindex);
    std::vector<link::Device> devices = NK_TRY(link::list_devices(host_));
    const auto stack = link::with_lower_devices(devices, uplinks, link::Parts::left_out);
    std::erase_if(devices, [&](const link::Device& device) {
        return !stack.contains(device.ifindex) || uplinks.contains(device.ifindex) ||
               device.hardware_type != ARPHRD_ETHER;
    });
    return devices;
}

Result<void> NodeNetwork::attach_guards() {
    std::set<std::uint32_t> guards;
    for (const link::Device& device : NK_TRY(devices_to_guard())) {
        const auto programs =
            NK_TRY(datapath_.look_at_uplink(device.name, device.ifindex, datapath::UplinkKind::ethernet));
        if (!guards_.contains(device.ifindex) || !programs.complete) {
            NK_TRY(datapath_.attach_uplink(device.name, device.ifindex, datapath::UplinkKind::ethernet));
            log(LogLevel::info, "guard on {}, which is below an uplink", device.name);
        }
        guards.insert(device.ifindex);
    }
    guards_ = std::move(guards);
    return {};
}

Result<void> NodeNetwork::attach_uplink(const link::Uplink& uplink) {
    auto programs = NK_TRY(datapath_.look_at_uplink(uplink.name, uplink.ifindex, kind_of(uplink)));
    const bool first_time = !attached_.contains(uplink.ifindex);
    if (first_time || !programs.complete) {
        NK_TRY(datapath_.attach_uplink(uplink.name, uplink.ifindex, kind_of(uplink)));
        attached_.insert(uplink.ifindex);
        log(LogLevel::info, "uplink {} (mtu {}){}", uplink.name, uplink.mtu,
            first_time ? "" : ": its programs had been detached, and are attached again");
        programs = NK_TRY(datapath_.look_at_uplink(uplink.name, uplink.ifindex, kind_of(uplink)));
    }
    std::ranges::move(programs.foreign, std::back_inserter(foreign_programs_));
    return {};
}

// A device that only lost its default route keeps its guard: its neighbours are still there.
Result<void> NodeNetwork::detach_former_uplinks(const Config& config, const std::vector<std::uint32_t>& usable) {
    const auto devices = NK_TRY(link::list_devices(host_));
    for (const std::uint32_t ifindex : NK_TRY(datapath_.attached_uplinks())) {
        const bool exists = std::ranges::contains(devices, ifindex, &link::Device::ifindex);
        const bool keep =
            exists && (config.uplinks.empty() || std::ranges::contains(usable, ifindex) || guards_.contains(ifindex));
        if (!keep) {
            NK_TRY(datapath_.detach_uplink(ifindex));
            attached_.erase(ifindex);
        }
    }
    return {};
}

}  // namespace netkitd
