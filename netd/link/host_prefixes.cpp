#include "link/host_prefixes.h"

#include <linux/rtnetlink.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "base/format.h"
#include "link/device.h"
#include "link/host_tables.h"
#include "netlink/attributes.h"
#include "netlink/route_protocol.h"

namespace netkitd::link {
namespace {

using Devices = std::map<std::uint32_t, Device>;

// `at`: "by", or "on".
std::string at_device(std::string_view at, const Devices& devices, const std::optional<std::uint32_t>& ifindex) {
    const auto device = ifindex ? devices.find(*ifindex) : devices.end();
    return device == devices.end() ? "" : formatted(" {} {}", at, device->second.name);
}

// The first version had them on lo. netkitd0 may have another name by now.
bool may_have_gateways(std::uint32_t ifindex, const Devices& devices) {
    const auto device = devices.find(ifindex);
    return ifindex == kLoopbackIfindex || (device != devices.end() && device->second.group == kDeviceGroup);
}

bool has_next_hop(const NetlinkAttributes& route) {
    return route.bytes(RTA_GATEWAY) || route.bytes(RTA_VIA) || route.bytes(RTA_MULTIPATH) || route.bytes(RTA_NH_ID);
}

// What is delivered, sent on, or refused; what the local table says of addresses is known from these.
bool is_about_a_destination(const rtmsg& route) {
    return route.rtm_type == RTN_UNICAST || route.rtm_type == RTN_BLACKHOLE || route.rtm_type == RTN_UNREACHABLE ||
           route.rtm_type == RTN_PROHIBIT;
}

struct Route {
    IpPrefix prefix;
    std::uint32_t table = 0;
    std::optional<std::uint32_t> ifindex;
    std::uint8_t type = 0;      // RTN_*
    std::uint8_t protocol = 0;  // RTPROT_*
    bool has_next_hop = false;
};

std::optional<Route> read_route(const nlmsghdr& message, const Devices& devices) {
    const auto route = fixed_part<rtmsg>(message);
    if (message.nlmsg_type != RTM_NEWROUTE || !route || route->rtm_dst_len == 0 || !is_about_a_destination(*route) ||
        route->rtm_protocol == kRouteProtocol || (route->rtm_flags & RTM_F_CLONED) != 0) {
        return std::nullopt;
    }
    const NetlinkAttributes attributes(message, sizeof(rtmsg));
    const auto destination = attributes.address(RTA_DST);
    if (!destination) {
        return std::nullopt;
    }
    const IpPrefix prefix(*destination, route->rtm_dst_len);
    // The kernel's own, to an IPv6 address of lo or of netkitd0.
    if (const auto device = attributes.u32(RTA_OIF);
        is_link_local(prefix) || (device && prefix.is_single() && may_have_gateways(*device, devices))) {
        return std::nullopt;
    }
    return Route{.prefix = prefix,
                 .table = attributes.u32(RTA_TABLE).value_or(route->rtm_table),
                 .ifindex = attributes.u32(RTA_OIF),
                 .type = route->rtm_type,
                 .protocol = route->rtm_protocol,
                 .has_next_hop = has_next_hop(attributes)};
}

Result<std::vector<Route>> list_routes(Netlink& host, const Devices& devices) {
    std::vector<Route> routes;
    NK_TRY(for_each_route(host, RT_TABLE_UNSPEC, [&](const nlmsghdr& message) {
        if (auto route = read_route(message, devices)) {
            routes.push_back(*route);
        }
    }));
    return routes;
}

// A network manager may make its own addresses of what a router advertises, and then they have no end if the router
// says none. It says so of the route of their prefix, which it makes instead of the kernel (IFA_F_NOPREFIXROUTE,
// linux/if_addr.h); of one that an administrator gave it, it does not.
bool is_of_advertised_route(const HostAddress& address, std::uint32_t ifindex, const std::vector<Route>& routes) {
    bool advertised = false;
    for (const Route& route : routes) {
        if (route.prefix == address.link && route.ifindex == ifindex && !route.has_next_hop) {
            if (route.protocol != RTPROT_RA) {
                return false;
            }
            advertised = true;
        }
    }
    return advertised && !address.address.is_v4() && address.no_prefix_route;
}

Result<AddressMap> list_own_addresses(Netlink& host, const std::vector<Route>& routes) {
    AddressMap addresses = NK_TRY(list_claimed_addresses(host));
    for (auto& [ifindex, of_device] : addresses) {
        for (HostAddress& address : of_device) {
            address.advertised = address.advertised || is_of_advertised_route(address, ifindex, routes);
        }
    }
    return addresses;
}

// Of a link's prefix the kernel says the same whoever told it; one that was configured came with an address of the
// host's that has just this prefix. (A router may advertise any wider one around that.)
bool is_advertised(const Route& route, const AddressMap& addresses) {
    if (route.prefix.address().is_v4()) {
        return false;
    }
    if (route.protocol == RTPROT_RA) {
        return true;
    }
    const auto own = addresses.find(route.ifindex.value_or(0));
    return route.protocol == RTPROT_KERNEL && !route.has_next_hop &&
           (own == addresses.end() || std::ranges::none_of(own->second, [&](const HostAddress& address) {
                return !address.advertised && address.link == route.prefix;
            }));
}

HostPrefix host_prefix(const Route& route, const Devices& devices, const AddressMap& addresses) {
    const bool advertised = is_advertised(route, addresses);
    return {.prefix = route.prefix,
            .connected = route.type == RTN_UNICAST && !route.has_next_hop && route.prefix.length() >= kShortestPart &&
                         !advertised,
            .advertised = advertised,
            .table = route.table,
            .text = formatted("the route {}{}", route.prefix.to_string(), at_device("by", devices, route.ifindex))};
}

}  // namespace

Result<std::vector<HostPrefix>> list_host_prefixes(Netlink& host, std::span<const IpAddr> gateways) {
    Devices devices;
    for (Device& device : NK_TRY(list_devices(host))) {
        devices.emplace(device.ifindex, std::move(device));
    }
    std::vector<HostPrefix> prefixes;
    const std::vector<Route> routes = NK_TRY(list_routes(host, devices));
    const AddressMap addresses = NK_TRY(list_own_addresses(host, routes));
    for (const auto& [ifindex, of_device] : addresses) {
        for (const HostAddress& own : of_device) {
            const IpPrefix prefix = IpPrefix::single(own.address);
            const bool is_gateway = may_have_gateways(ifindex, devices) && std::ranges::contains(gateways, own.address);
            if (!is_gateway && !is_link_local(prefix)) {
                prefixes.push_back({.prefix = prefix,
                                    .connected = true,
                                    .advertised = own.advertised,
                                    .text = formatted("the address {}{}", own.address.to_string(),
                                                      at_device("on", devices, ifindex))});
            }
        }
    }
    std::ranges::transform(routes, std::back_inserter(prefixes),
                           [&](const Route& route) { return host_prefix(route, devices, addresses); });
    std::ranges::sort(prefixes);
    const auto doubles = std::ranges::unique(prefixes);
    prefixes.erase(doubles.begin(), doubles.end());
    // An address says more than the route that the kernel made for it.
    std::ranges::stable_partition(prefixes, &IpPrefix::is_single, &HostPrefix::prefix);
    return prefixes;
}

}  // namespace netkitd::link
