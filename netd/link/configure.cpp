#include "link/configure.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include "netlink/attributes.h"
#include "netlink/request.h"

namespace netkitd::link {
namespace {

// The worst metric that is documented for such a route (Documentation/networking/vrf.rst): any route of the same prefix
// that somebody else made is preferred.
constexpr std::uint32_t kUnreachableMetric = 4278198272;
constexpr std::uint32_t kNetworkMetric = kUnreachableMetric - 1;
constexpr std::uint16_t kCreateOrReplace = NLM_F_CREATE | NLM_F_REPLACE;
constexpr std::uint16_t kCreate = NLM_F_CREATE | NLM_F_EXCL;

NetlinkRequest set_up(std::uint32_t ifindex) {
    NetlinkRequest request(RTM_SETLINK, 0, formatted("set device {} up", ifindex));
    request.put_struct(device_message(ifindex, IFF_UP));
    return request;
}

ifaddrmsg address_message(std::uint32_t ifindex, const IpAddr& address, std::uint8_t scope) {
    ifaddrmsg message{};
    message.ifa_family = static_cast<std::uint8_t>(address.address_family());
    message.ifa_prefixlen = IpPrefix::single(address).length();
    message.ifa_scope = scope;
    message.ifa_index = ifindex;
    return message;
}

NetlinkRequest add_address(std::uint32_t ifindex, const IpAddr& address, std::uint8_t scope,
                           std::uint16_t flags = kCreateOrReplace) {
    NetlinkRequest request(RTM_NEWADDR, flags, formatted("add address {} to device {}", address.to_string(), ifindex));
    request.put_struct(address_message(ifindex, address, scope)).put_address(IFA_LOCAL, address);
    if (!address.is_v4()) {
        // Nobody else can have the address; duplicate detection would only delay it.
        request.put_u32(IFA_FLAGS, IFA_F_NODAD);
    }
    return request;
}

rtmsg route_message(const IpPrefix& prefix, std::uint8_t scope) {
    rtmsg message{};
    message.rtm_family = static_cast<std::uint8_t>(prefix.address().address_family());
    message.rtm_dst_len = prefix.length();
    message.rtm_table = RT_TABLE_MAIN;
    message.rtm_protocol = kRouteProtocol;
    message.rtm_scope = scope;
    message.rtm_type = RTN_UNICAST;
    return message;
}

// To one address that is on the link itself.
NetlinkRequest add_link_route(std::uint32_t ifindex, const IpAddr& address) {
    const IpPrefix prefix = IpPrefix::single(address);
    NetlinkRequest request(RTM_NEWROUTE, kCreateOrReplace,
                           formatted("add route {} dev {}", prefix.to_string(), ifindex));
    request.put_struct(route_message(prefix, RT_SCOPE_LINK)).put_address(RTA_DST, address).put_u32(RTA_OIF, ifindex);
    return request;
}

NetlinkRequest add_default_route(std::uint32_t ifindex, const IpAddr& gateway) {
    const IpPrefix everything(gateway, 0);
    NetlinkRequest request(RTM_NEWROUTE, kCreateOrReplace,
                           formatted("add default route via {} dev {}", gateway.to_string(), ifindex));
    request.put_struct(route_message(everything, RT_SCOPE_UNIVERSE))
        .put_address(RTA_GATEWAY, gateway)
        .put_u32(RTA_OIF, ifindex);
    return request;
}

void add_gateway(std::vector<NetlinkRequest>& batch, const ContainerEnd& end, const IpAddr& gateway) {
    batch.push_back(add_link_route(end.ifindex, gateway));
    batch.push_back(add_default_route(end.ifindex, gateway));
}

// All containers are behind one next hop, whom nobody has to be asked about: the host keeps one neighbour for them all,
// however many addresses somebody tries. Link-local, and on that device only (RFC 3927; RFC 4291, 2.5.6).
IpAddr next_hop(IpFamily family) {
    return *IpAddr::parse(family == IpFamily::v4 ? "169.254.1.1" : "fe80::1");
}

NetlinkRequest route_by_host_device(std::uint16_t type, std::uint16_t flags, std::uint32_t host_device,
                                    const IpPrefix& prefix, std::string_view verb) {
    NetlinkRequest request(type, flags, formatted("{} route {} dev {}", verb, prefix.to_string(), kHostDeviceName));
    rtmsg route = route_message(prefix, RT_SCOPE_UNIVERSE);
    route.rtm_flags = RTNH_F_ONLINK;
    request.put_struct(route)
        .put_address(RTA_DST, prefix.address())
        .put_address(RTA_GATEWAY, next_hop(prefix.address().family()))
        .put_u32(RTA_OIF, host_device);
    return request;
}

NetlinkRequest network_route(std::uint16_t flags, std::uint32_t host_device, const IpPrefix& prefix,
                             const std::optional<IpAddr>& gateway) {
    NetlinkRequest request = route_by_host_device(RTM_NEWROUTE, flags, host_device, prefix, "add");
    request.put_u32(RTA_PRIORITY, kNetworkMetric);
    if (gateway) {
        request.put_address(RTA_PREFSRC, *gateway);
    }
    return request;
}

NetlinkRequest gateway_address(std::uint32_t ifindex, const IpAddr& gateway) {
    // For packets from and to containers only, which ask for it: the host must not choose it as the source of its own
    // packets to elsewhere. For IPv4 scope host says that, for IPv6 a preferred lifetime of 0 (RFC 6724, rule 3).
    NetlinkRequest request = add_address(ifindex, gateway, RT_SCOPE_HOST, kCreate);
    if (!gateway.is_v4()) {
        constexpr std::uint32_t kForever = 0xffffffff;  // INFINITY_LIFE_TIME in include/net/addrconf.h
        const ifa_cacheinfo lifetimes{.ifa_prefered = 0, .ifa_valid = kForever, .cstamp = 0, .tstamp = 0};
        request.put_bytes(IFA_CACHEINFO, std::as_bytes(std::span(&lifetimes, 1)));
    }
    return request;
}

NetlinkRequest unreachable_route(std::uint16_t type, std::uint16_t flags, const IpPrefix& prefix,
                                 std::string_view verb) {
    NetlinkRequest request(type, flags, formatted("{} unreachable route {}", verb, prefix.to_string()));
    rtmsg route = route_message(prefix, RT_SCOPE_UNIVERSE);
    route.rtm_type = RTN_UNREACHABLE;
    request.put_struct(route).put_address(RTA_DST, prefix.address()).put_u32(RTA_PRIORITY, kUnreachableMetric);
    return request;
}

// What is there already is as it shall be: nobody else makes it. Whether it was not.
Result<bool> create(Netlink& netlink, NetlinkRequest request) {
    const Result<void> created = netlink.transact(request);
    if (!created && created.error().system_error() != EEXIST) {
        return std::unexpected(created.error());
    }
    return created.has_value();
}

// A removal of what is already gone is done. The kernel says ESRCH for routes, EADDRNOTAVAIL for addresses, and
// EOPNOTSUPP when it has no IPv6 at all.
Result<void> remove(Netlink& netlink, NetlinkRequest request) {
    Result<void> removed = netlink.transact(request);
    const int error = removed ? 0 : removed.error().system_error();
    return error == ESRCH || error == EADDRNOTAVAIL || error == EOPNOTSUPP ? Result<void>() : removed;
}

std::optional<HostRoute> read_host_route(const nlmsghdr& message) {
    const auto route = fixed_part<rtmsg>(message);
    if (message.nlmsg_type != RTM_NEWROUTE || !route || route->rtm_protocol != kRouteProtocol ||
        route->rtm_type != RTN_UNICAST) {
        return std::nullopt;
    }
    const NetlinkAttributes attributes(message, sizeof(rtmsg));
    const auto container = attributes.address(RTA_DST);
    const auto device = attributes.u32(RTA_OIF);
    if (!container || !device || !IpPrefix(*container, route->rtm_dst_len).is_single() ||
        attributes.u32(RTA_TABLE).value_or(route->rtm_table) != RT_TABLE_MAIN) {
        return std::nullopt;
    }
    return HostRoute{
        .container = *container, .ifindex = *device, .mtu = attributes.nested(RTA_METRICS).u32(RTAX_MTU).value_or(0)};
}

// ENOENT: the table does not exist before its first route. EOPNOTSUPP: a kernel without that family.
Result<void> unless_no_table(Result<void> dumped) {
    const int error = dumped ? 0 : dumped.error().system_error();
    return error == ENOENT || error == EOPNOTSUPP ? Result<void>() : dumped;
}

}  // namespace

Result<void> configure_container_end(Netlink& container, const ContainerEnd& end) {
    std::vector<NetlinkRequest> batch;
    batch.push_back(set_up(kLoopbackIfindex));
    for (const auto& address : {end.ipv4, end.ipv6}) {
        if (address) {
            batch.push_back(add_address(end.ifindex, *address, RT_SCOPE_UNIVERSE));
        }
    }
    batch.push_back(set_up(end.ifindex));
    for (const auto& gateway : {end.gateway4, end.gateway6}) {
        if (gateway) {
            add_gateway(batch, end, *gateway);
        }
    }
    return container.transact(batch);
}

Result<void> take_loopback_down(Netlink& container) {
    // The kernel gave it that address when it came up, and does again (inetdev_event() in net/ipv4/devinet.c); with it
    // go the local routes, which would stay.
    NetlinkRequest address(RTM_DELADDR, 0, "remove 127.0.0.1 from lo");
    ifaddrmsg loopback = address_message(kLoopbackIfindex, IpAddr::v4_host_order(INADDR_LOOPBACK), RT_SCOPE_HOST);
    loopback.ifa_prefixlen = 8;
    address.put_struct(loopback).put_address(IFA_LOCAL, IpAddr::v4_host_order(INADDR_LOOPBACK));
    NK_TRY(remove(container, std::move(address)));
    NetlinkRequest request(RTM_NEWLINK, 0, "take lo down");
    ifinfomsg message{};
    message.ifi_index = static_cast<int>(kLoopbackIfindex);
    message.ifi_change = IFF_UP;
    request.put_struct(message);
    return container.transact(request);
}

Result<void> set_device_up(Netlink& host, std::uint32_t ifindex) {
    NetlinkRequest request = set_up(ifindex);
    return host.transact(request);
}

Result<void> add_host_route(Netlink& host, const HostRoute& route, const std::optional<IpAddr>& gateway) {
    NetlinkRequest request =
        route_by_host_device(RTM_NEWROUTE, kCreateOrReplace, route.ifindex, IpPrefix::single(route.container), "add");
    if (gateway) {
        request.put_address(RTA_PREFSRC, *gateway);
    }
    const auto metrics = request.start_nest(RTA_METRICS);
    request.put_u32(RTAX_MTU, route.mtu);
    request.end_nest(metrics);
    return host.transact(request);
}

Result<void> remove_host_routes(Netlink& host, const IpAddr& container) {
    const IpPrefix prefix = IpPrefix::single(container);
    NetlinkRequest request(RTM_DELROUTE, 0, formatted("remove route {}", prefix.to_string()));
    request.put_struct(route_message(prefix, RT_SCOPE_NOWHERE)).put_address(RTA_DST, container);
    Result<void> removed = host.transact(request);
    while (removed) {
        removed = host.transact(request);
    }
    return removed.error().system_error() == ESRCH || removed.error().system_error() == EOPNOTSUPP ? Result<void>()
                                                                                                   : removed;
}

Result<std::set<HostRoute>> list_host_routes(Netlink& host) {
    std::set<HostRoute> routes;
    for (const int family : {AF_INET, AF_INET6}) {
        NetlinkRequest request(RTM_GETROUTE, NLM_F_DUMP, "list the routes to containers");
        rtmsg filter{};
        filter.rtm_family = static_cast<std::uint8_t>(family);
        request.put_struct(filter).put_u32(RTA_TABLE, RT_TABLE_MAIN);
        NK_TRY(unless_no_table(host.query(request, [&](const nlmsghdr& message) {
            if (const auto route = read_host_route(message)) {
                routes.insert(*route);
            }
        })));
    }
    return routes;
}

Result<void> ensure_network(Netlink& host, std::uint32_t host_device, const IpPrefix& prefix,
                            const std::optional<IpAddr>& gateway) {
    // A route that was there without the gateway comes to have its address.
    const bool is_new = gateway && NK_TRY(create(host, gateway_address(host_device, *gateway)));
    NK_TRY(create(host, unreachable_route(RTM_NEWROUTE, kCreate, prefix, "add")));
    NK_TRY(create(host, network_route(is_new ? kCreateOrReplace : kCreate, host_device, prefix, gateway)));
    return {};
}

Result<void> remove_network(Netlink& host, const IpPrefix& prefix, const std::optional<IpAddr>& gateway) {
    Result<void> removed = remove(host, unreachable_route(RTM_DELROUTE, 0, prefix, "remove"));
    const auto device = NK_TRY(find_device(host, std::string(kHostDeviceName)));
    if (device) {
        keep_first(removed, remove(host, route_by_host_device(RTM_DELROUTE, 0, device->ifindex, prefix, "remove")));
    }
    for (const std::uint32_t ifindex : {kLoopbackIfindex, device ? device->ifindex : kLoopbackIfindex}) {
        keep_first(removed, gateway ? remove_gateway(host, ifindex, *gateway) : Result<void>());
    }
    return removed;
}

Result<void> remove_gateway(Netlink& host, std::uint32_t ifindex, const IpAddr& gateway) {
    NetlinkRequest address(RTM_DELADDR, 0, formatted("remove address {} from device {}", gateway.to_string(), ifindex));
    address.put_struct(address_message(ifindex, gateway, RT_SCOPE_HOST)).put_address(IFA_LOCAL, gateway);
    return remove(host, std::move(address));
}

}  // namespace netkitd::link
