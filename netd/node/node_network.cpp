#include "node/node_network.h"

#include <linux/if_arp.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "base/log.h"
#include "nat/flows.h"
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
        if (uplink.usable()) {
            result.push_back(uplink.ifindex);
        }
    }
    return result;
}

// The others of the host's default routes are guarded, but containers do not use them.
void leave_out_what_has_no_room(std::vector<link::Uplink>& uplinks) {
    std::size_t usable = 0;
    for (link::Uplink& uplink : uplinks) {
        if (uplink.usable() && ++usable > NK_MAX_UPLINKS) {
            uplink.unusable = std::format(
                "there are more than {} uplinks: containers reach nothing by it; name those that they need "
                "in `uplinks`",
                NK_MAX_UPLINKS);
        }
    }
}

datapath::UplinkKind kind_of(const link::Uplink& uplink) {
    return uplink.is_l3 ? datapath::UplinkKind::l3 : datapath::UplinkKind::ethernet;
}

// Whether there is a program for what comes in there, and it comes from somebody else.
bool can_be_guarded(const link::Device& device) {
    return (device.hardware_type == ARPHRD_ETHER || device.hardware_type == ARPHRD_NONE) && !device.is_host_end();
}

datapath::UplinkKind kind_of(const link::Device& device) {
    return device.hardware_type == ARPHRD_NONE ? datapath::UplinkKind::l3 : datapath::UplinkKind::ethernet;
}

// What comes in on a part of a bridge or bond comes in on the whole, or is not for this host. A VRF receives nothing
// itself.
bool is_part(const link::Device& device, const std::vector<link::Device>& devices) {
    const auto master = std::ranges::find(devices, device.master, &link::Device::ifindex);
    return master != devices.end() && master->kind != "vrf";
}

// Whether it brings packets from elsewhere. A pair does not, nor does a bridge of pairs: they are for containers of
// this host, of other runtimes, whose answers to ours (by a published port, say) have to come through.
bool leads_elsewhere(const link::Device& device, const std::vector<link::Device>& devices) {
    if (device.is_of_pair() || is_part(device, devices)) {
        return false;
    }
    return device.kind != "bridge" || std::ranges::any_of(devices, [&](const link::Device& port) {
               return port.master == device.ifindex && !port.is_of_pair();
           });
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
        if (uplink.usable() && (smallest == 0 || uplink.mtu < smallest)) {
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
    NK_TRY(datapath_.configure(settings));
    pool_ = config.masquerade_ports;
    return {};
}

Result<void> NodeNetwork::sync_uplinks(const Config& config) {
    NK_TRY(sync_sources(config));
    uplinks_ = NK_TRY(link::discover_uplinks(host_, config.uplinks));
    leave_out_what_has_no_room(uplinks_);
    // An uplink's programs know the networks before they see a packet: at a restart they replace programs that do, and
    // a reply that went up the host's stack for a moment would be answered with a reset. Containers send to an uplink
    // only when its programs are there.
    NK_TRY(configure(config, {attached_.begin(), attached_.end()}));
    foreign_programs_.clear();
    for (link::Uplink& uplink : uplinks_) {
        if (!uplink.usable()) {
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
    NK_TRY(attach_guards(config, usable));
    return detach_former_uplinks(usable);
}

// What is no uplink, but may bring packets to the containers' addresses where the host forwards: whatever leads
// elsewhere, and what uplinks stand on (what comes in untagged below a VLAN, or for another address below a macvlan,
// comes from the same neighbours). A device that only lost its default route keeps its guard even if it is one of a
// pair: its neighbours are still there.
Result<std::vector<link::Device>> NodeNetwork::devices_to_guard(const Config& config,
                                                                const std::vector<std::uint32_t>& usable) const {
    const std::vector<link::Device> devices = NK_TRY(link::list_devices(host_));
    const auto attached = NK_TRY(datapath_.attached_uplinks());
    const auto stack = link::with_lower_devices(devices, {usable.begin(), usable.end()}, link::Parts::left_out);
    const auto keeps_guard = [&](const link::Device& device) {
        return config.uplinks.empty() && device.is_of_pair() && std::ranges::contains(attached, device.ifindex) &&
               !is_part(device, devices);
    };
    std::vector<link::Device> result;
    std::ranges::copy_if(devices, std::back_inserter(result), [&](const link::Device& device) {
        return can_be_guarded(device) && !std::ranges::contains(usable, device.ifindex) &&
               (stack.contains(device.ifindex) || leads_elsewhere(device, devices) || keeps_guard(device));
    });
    return result;
}

Result<void> NodeNetwork::attach_guards(const Config& config, const std::vector<std::uint32_t>& usable) {
    const std::vector<link::Device> devices = NK_TRY(devices_to_guard(config, usable));
    for (const link::Device& device : devices) {
        // One that refuses does not keep the others from theirs; it is asked again the next time.
        if (const auto attached = attach_guard(device); attached) {
            unguarded_.erase(device.ifindex);
        } else if (attached.error().system_error() != ENODEV && unguarded_.insert(device.ifindex).second) {
            log(LogLevel::warning, "no guard on {}: {}", device.name, attached.error().message());
        }
    }
    guards_.clear();
    std::ranges::transform(devices, std::inserter(guards_, guards_.end()), &link::Device::ifindex);
    return {};
}

Result<void> NodeNetwork::attach_guard(const link::Device& device) {
    const auto programs = NK_TRY(datapath_.look_at_uplink(device.name, device.ifindex, kind_of(device)));
    if (!guards_.contains(device.ifindex) || !programs.complete) {
        NK_TRY(datapath_.attach_uplink(device.name, device.ifindex, kind_of(device)));
        log(LogLevel::info, "guard on {}", device.name);
    }
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

Result<void> NodeNetwork::detach_former_uplinks(const std::vector<std::uint32_t>& usable) {
    std::erase_if(attached_, [&](std::uint32_t ifindex) { return !std::ranges::contains(usable, ifindex); });
    for (const std::uint32_t ifindex : NK_TRY(datapath_.attached_uplinks())) {
        if (!std::ranges::contains(usable, ifindex) && !guards_.contains(ifindex)) {
            NK_TRY(datapath_.detach_uplink(ifindex));
        }
    }
    return {};
}

Result<void> NodeNetwork::end_flows_outside_pool() {
    if (!pool_ || pool_ == flows_of_) {
        return {};
    }
    const auto is_outside = [&](std::uint16_t port) { return port < pool_->first || port > pool_->last; };
    const std::uint64_t ended = NK_TRY(datapath::FlowTable(datapath_).flush({.translated_port = is_outside}));
    if (ended > 0) {
        log(LogLevel::notice, "{} flows whose port the masquerade pool does not hold any more were ended", ended);
    }
    flows_of_ = pool_;
    return {};
}

}  // namespace netkitd
