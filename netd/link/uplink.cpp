// Uplinks are read from all routing tables, as policy rules may lead to any: a unicast route names its device itself,
// through the next hops of a multipath route, or through a nexthop object (ip-nexthop(8)), which may be a group of
// others.
#include "link/uplink.h"

#include <linux/if_arp.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <set>

#include "base/parse_number.h"
#include "link/device.h"
#include "link/host_tables.h"
#include "link/policy_rules.h"
#include "link/sysctl.h"
#include "netlink/align.h"
#include "netlink/attributes.h"
#include "netlink/request.h"

namespace netkitd::link {
namespace {

using DeviceSet = std::set<std::uint32_t>;  // of ifindexes

// The devices of routes, and the ids of nexthop objects that stand for devices.
struct Ways {
    DeviceSet devices;
    std::set<std::uint32_t> nexthops;
};

struct Routes {
    Ways any;
    Ways by_default;
    // The same, of IPv6's routers that advertise themselves or a link's prefix, which anybody can.
    Ways advertised;
};

// rtnexthop structures one after the other, each with its length (linux/rtnetlink.h).
void read_multipath(std::span<const std::byte> hops, DeviceSet& devices) {
    while (hops.size() >= sizeof(rtnexthop)) {
        rtnexthop hop{};
        std::memcpy(&hop, hops.data(), sizeof(hop));
        if (hop.rtnh_len < sizeof(hop) || hop.rtnh_len > hops.size()) {
            return;
        }
        devices.insert(static_cast<std::uint32_t>(hop.rtnh_ifindex));
        hops = hops.subspan(std::min<std::size_t>(hops.size(), netlink_align(hop.rtnh_len)));
    }
}

void read_ways(const NetlinkAttributes& route, Ways& ways) {
    if (const auto device = route.u32(RTA_OIF)) {
        ways.devices.insert(*device);
    }
    if (const auto hops = route.bytes(RTA_MULTIPATH)) {
        read_multipath(*hops, ways.devices);
    }
    if (const auto nexthop = route.u32(RTA_NH_ID)) {
        ways.nexthops.insert(*nexthop);
    }
}

// Of a route as wide as a default one: no link has so many addresses, so what the kernel itself has of IPv6's was
// advertised (RFC 4861, 6.3.4).
bool is_advertised(const rtmsg& route) {
    return route.rtm_protocol == RTPROT_RA || (route.rtm_family == AF_INET6 && route.rtm_protocol == RTPROT_KERNEL);
}

// That a rule leads to.
using Tables = std::set<std::pair<IpFamily, std::uint32_t>>;

void read_route(const nlmsghdr& message, const Tables& tables, Routes& routes) {
    const auto route = fixed_part<rtmsg>(message);
    if (message.nlmsg_type != RTM_NEWROUTE || !route || route->rtm_type != RTN_UNICAST ||
        (route->rtm_flags & RTM_F_CLONED) != 0) {
        return;
    }
    const NetlinkAttributes attributes(message, sizeof(rtmsg));
    const auto destination = attributes.address(RTA_DST);
    if (destination && is_link_local(IpPrefix(*destination, route->rtm_dst_len))) {
        return;
    }
    read_ways(attributes, routes.any);
    const IpFamily family = route->rtm_family == AF_INET ? IpFamily::v4 : IpFamily::v6;
    if (route->rtm_dst_len < kShortestPart &&
        tables.contains({family, attributes.u32(RTA_TABLE).value_or(route->rtm_table)})) {
        read_ways(attributes, is_advertised(*route) ? routes.advertised : routes.by_default);
    }
}

// The members' ids of a nexthop group.
std::vector<std::uint32_t> read_group(std::span<const std::byte> group) {
    std::vector<std::uint32_t> members;
    for (; group.size() >= sizeof(nexthop_grp); group = group.subspan(sizeof(nexthop_grp))) {
        nexthop_grp member{};
        std::memcpy(&member, group.data(), sizeof(member));
        members.push_back(member.id);
    }
    return members;
}

// Groups hold no groups (net/ipv4/nexthop.c, valid_group_nh), so this is at most two steps deep.
Result<void> resolve_nexthop(Netlink& host, std::uint32_t id, DeviceSet& devices) {
    NetlinkRequest request(RTM_GETNEXTHOP, 0, formatted("look up nexthop {}", id));
    request.put_struct(nhmsg{}).put_u32(NHA_ID, id);
    std::vector<std::uint32_t> members;
    const Result<void> found = host.query(request, [&](const nlmsghdr& message) {
        const NetlinkAttributes attributes(message, sizeof(nhmsg));
        if (const auto device = attributes.u32(NHA_OIF)) {
            devices.insert(*device);
        }
        if (const auto group = attributes.bytes(NHA_GROUP)) {
            members = read_group(*group);
        }
    });
    // ENOENT: gone since the routes were read, and its routes with it.
    if (!found && found.error().system_error() != ENOENT) {
        return found;
    }
    for (const std::uint32_t member : members) {
        NK_TRY(resolve_nexthop(host, member, devices));
    }
    return {};
}

// Zero if the route has none, or one that forwarding does not heed.
std::uint32_t locked_mtu(const nlmsghdr& message) {
    if (message.nlmsg_type != RTM_NEWROUTE) {
        return 0;
    }
    const NetlinkAttributes metrics = NetlinkAttributes(message, sizeof(rtmsg)).nested(RTA_METRICS);
    const bool locked = (metrics.u32(RTAX_LOCK).value_or(0) & (1U << unsigned{RTAX_MTU})) != 0;
    return locked ? metrics.u32(RTAX_MTU).value_or(0) : 0;
}

Result<Routes> read_routes(Netlink& host) {
    // A kernel without rules of a family asks the main table.
    Tables tables{{IpFamily::v4, RT_TABLE_MAIN}, {IpFamily::v6, RT_TABLE_MAIN}};
    for (const PolicyRule& rule : NK_TRY(list_policy_rules(host))) {
        tables.insert({rule.family, rule.table});
    }
    Routes routes;
    NK_TRY(
        for_each_route(host, RT_TABLE_UNSPEC, [&](const nlmsghdr& message) { read_route(message, tables, routes); }));
    for (Ways* ways : {&routes.any, &routes.by_default, &routes.advertised}) {
        for (const std::uint32_t nexthop : ways->nexthops) {
            NK_TRY(resolve_nexthop(host, nexthop, ways->devices));
        }
    }
    return routes;
}

// In the kernel's order, but what is on its way out (RFC 4862, deprecated) comes last.
std::vector<IpAddr> in_order_of_preference(std::vector<HostAddress> addresses) {
    std::ranges::stable_partition(addresses, [](const HostAddress& address) { return !address.deprecated; });
    std::vector<IpAddr> ordered;
    ordered.reserve(addresses.size());
    for (const HostAddress& address : addresses) {
        ordered.push_back(address.address);
    }
    return ordered;
}

// The kernel has no header of the link before these devices' packets, coming or going (of what it says has none, gre
// and sit have one as they come in: drivers in net/ipv4, net/ipv6).
bool has_no_link_header(const Device& device) {
    return device.hardware_type == ARPHRD_NONE || device.hardware_type == ARPHRD_TUNNEL ||
           device.hardware_type == ARPHRD_TUNNEL6;
}

using DevicesByIndex = std::map<std::uint32_t, Device>;

// What it receives is its master's, unless that is a VRF, which keeps routing tables apart and nothing more.
const Device* master_of(const Device& device, const DevicesByIndex& devices) {
    const auto master = devices.find(device.master);
    return master == devices.end() || master->second.kind == "vrf" ? nullptr : &master->second;
}

// Bridges that have a port which others than containers and virtual machines of this host are behind: a card, a tunnel.
std::set<std::uint32_t> bridges_to_elsewhere(const DevicesByIndex& devices) {
    std::set<std::uint32_t> bridges;
    for (const auto& [ifindex, device] : devices) {
        if (device.master != 0 && !device.is_of_pair() && device.kind != "tun") {
            bridges.insert(device.master);
        }
    }
    return bridges;
}

// One in a VRF is not told from others: flows lead to the VRF's device, and its answers come by the bridge.
bool is_inner_bridge(const Device& device, const std::set<std::uint32_t>& leads_elsewhere) {
    return device.kind == "bridge" && device.master == 0 && !leads_elsewhere.contains(device.ifindex);
}

// Why packets that are sent there reach nobody, or nobody's packets come from there; else empty.
std::string why_no_uplink(const Device& device, const DevicesByIndex& devices) {
    if (device.hardware_type == ARPHRD_LOOPBACK || device.kind == "dummy" || device.kind == "ifb") {
        return formatted("{} leads to nobody: containers reach nothing by it", device.name);
    }
    if (const Device* master = master_of(device, devices)) {
        return formatted("{} is a part of {}: what comes in by it is that device's, which may be an uplink",
                         device.name, master->name);
    }
    return {};
}

std::string why_unusable(const Device& device) {
    if (device.hardware_type != ARPHRD_ETHER && !has_no_link_header(device)) {
        return formatted(
            "{} has packets of a kind that netkitd does not know (hardware type {}, linux/if_arp.h; Ethernet, "
            "wireguard, tun, ipip it does): containers reach nothing by it",
            device.name, device.hardware_type);
    }
    return {};
}

Result<std::vector<IpAddr>> sorted_addresses(Netlink& host, int narrowest_scope) {
    std::vector<IpAddr> result;
    for (const auto& [ifindex, addresses] : NK_TRY(list_addresses(host, narrowest_scope))) {
        std::ranges::transform(addresses, std::back_inserter(result), &HostAddress::address);
    }
    std::ranges::sort(result);
    return result;
}

}  // namespace

Result<std::vector<Uplink>> discover_uplinks(Netlink& host, const std::vector<std::string>& configured,
                                             const std::set<std::uint32_t>& known) {
    const Routes routes = NK_TRY(read_routes(host));
    AddressMap addresses = NK_TRY(list_addresses(host, RT_SCOPE_UNIVERSE));
    DevicesByIndex devices;
    for (Device& device : NK_TRY(list_devices(host))) {
        devices.emplace(device.ifindex, std::move(device));
    }
    const auto leads_somewhere = [&](const Device& device) {
        return (addresses.contains(device.ifindex) || routes.any.devices.contains(device.ifindex) ||
                known.contains(device.ifindex)) &&
               why_no_uplink(device, devices).empty();
    };
    const std::set<std::uint32_t> leads_elsewhere = bridges_to_elsewhere(devices);
    const auto is_inner = [&](const Device& device) {
        return is_inner_bridge(device, leads_elsewhere) && !routes.by_default.devices.contains(device.ifindex);
    };
    std::vector<Uplink> uplinks;
    for (const auto& [ifindex, device] : devices) {
        const bool wanted =
            configured.empty() ? leads_somewhere(device) : std::ranges::contains(configured, device.name);
        if (wanted && !device.is_host_end() && !device.is_of_host_device()) {
            const std::string obstacle = why_no_uplink(device, devices);
            uplinks.push_back({.ifindex = ifindex,
                               .name = device.name,
                               .mtu = device.mtu,
                               .addresses = in_order_of_preference(addresses[ifindex]),
                               .is_l3 = has_no_link_header(device),
                               .is_way_out = routes.by_default.devices.contains(ifindex) ||
                                             (routes.advertised.devices.contains(ifindex) && !is_inner(device)),
                               .is_inner_bridge = is_inner(device),
                               .unusable = obstacle.empty() ? why_unusable(device) : obstacle});
        }
    }
    return uplinks;
}

std::vector<Uplink> ways_out(const std::vector<Uplink>& uplinks) {
    std::vector<Uplink> result;
    std::ranges::copy_if(uplinks, std::back_inserter(result), &Uplink::usable);
    if (std::ranges::any_of(result, &Uplink::is_way_out)) {
        std::erase_if(result, [](const Uplink& uplink) { return !uplink.is_way_out; });
    }
    return result;
}

Result<std::vector<std::uint32_t>> forwarding_mtus(Netlink& host, const std::vector<Uplink>& uplinks) {
    std::set<std::uint32_t> mtus;
    NK_TRY(for_each_route(host, RT_TABLE_MAIN, [&](const nlmsghdr& message) { mtus.insert(locked_mtu(message)); }));
    for (const Uplink& uplink : uplinks) {
        const auto text = NK_TRY(read_sysctl_if_there(formatted("ipv6/conf/{}/mtu", uplink.name)));
        const auto mtu = parse_number<std::uint32_t>(text.value_or(""));
        if (mtu && *mtu < uplink.mtu) {
            mtus.insert(*mtu);
        }
    }
    mtus.erase(0);
    return std::vector(mtus.begin(), mtus.end());
}

Result<std::vector<IpAddr>> own_addresses(Netlink& host) {
    return sorted_addresses(host, RT_SCOPE_HOST);
}

Result<std::vector<IpAddr>> addresses_for_others(Netlink& host) {
    return sorted_addresses(host, RT_SCOPE_UNIVERSE);
}

}  // namespace netkitd::link
