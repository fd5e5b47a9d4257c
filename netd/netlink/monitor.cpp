#include "netlink/monitor.h"

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

#include "netlink/attributes.h"
#include "netlink/route_protocol.h"

namespace netkitd::link {
namespace {

// So that a flood of events cannot keep read() from returning: epoll reports the rest again at once.
constexpr int kDatagramsPerRead = 256;

// A new device is not up either, and announced as changed in every respect (rtnl_configure_link in
// net/core/rtnetlink.c).
bool went_down(const ifinfomsg& info) {
    constexpr std::uint32_t kEverything = ~0U;
    return (info.ifi_flags & IFF_UP) == 0 && (info.ifi_change & IFF_UP) != 0 && info.ifi_change != kEverything;
}

std::optional<LinkEvent> read_link(const nlmsghdr& message) {
    const auto info = fixed_part<ifinfomsg>(message);
    // Other families tell of a device's role (AF_BRIDGE: RTM_DELLINK when it leaves a bridge), not of the device.
    if (!info || info->ifi_family != AF_UNSPEC) {
        return std::nullopt;
    }
    if (message.nlmsg_type == RTM_DELLINK) {
        return LinkEvent{.kind = LinkEvent::Kind::device_removed,
                         .ifindex = static_cast<std::uint32_t>(info->ifi_index)};
    }
    const auto kind = went_down(*info) ? LinkEvent::Kind::device_down : LinkEvent::Kind::device_changed;
    return LinkEvent{.kind = kind, .ifindex = static_cast<std::uint32_t>(info->ifi_index)};
}

std::optional<LinkEvent> read_route(const nlmsghdr& message) {
    const auto route = fixed_part<rtmsg>(message);
    if (!route) {
        return std::nullopt;
    }
    const NetlinkAttributes attributes(message, sizeof(rtmsg));
    // What an address brings is heard of with the address.
    if (attributes.u32(RTA_TABLE).value_or(route->rtm_table) == RT_TABLE_LOCAL) {
        return std::nullopt;
    }
    if (route->rtm_protocol != kRouteProtocol) {
        return LinkEvent{.kind = LinkEvent::Kind::route};
    }
    // Each attach adds routes of ours: they say nothing about the node's network.
    if (message.nlmsg_type == RTM_NEWROUTE) {
        return std::nullopt;
    }
    return LinkEvent{.kind = LinkEvent::Kind::own_route_removed, .ifindex = attributes.u32(RTA_OIF).value_or(0)};
}

std::optional<LinkEvent> read_rule(const nlmsghdr& message) {
    if (NetlinkAttributes(message, sizeof(fib_rule_hdr)).u8(FRA_PROTOCOL).value_or(0) != kRouteProtocol) {
        return LinkEvent{.kind = LinkEvent::Kind::route};
    }
    return message.nlmsg_type == RTM_NEWRULE ? std::nullopt
                                             : std::optional(LinkEvent{.kind = LinkEvent::Kind::own_route_removed});
}

// Whether force_forwarding may have been turned off. The kernel announces its change, but (seen on 6.18) does not say
// what it is now: the message names the device and nothing else.
bool tells_of_force_forwarding(const NetlinkAttributes& attributes) {
    constexpr std::uint16_t kForceForwarding = 9;  // NETCONFA_FORCE_FORWARDING, linux/netconf.h, since Linux 6.17
    if (const auto value = attributes.u32(kForceForwarding)) {
        return *value == 0;
    }
    constexpr std::array<std::uint16_t, 4> kOthers{NETCONFA_FORWARDING, NETCONFA_MC_FORWARDING, NETCONFA_PROXY_NEIGH,
                                                   NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN};
    return std::ranges::none_of(kOthers, [&](std::uint16_t other) { return attributes.u32(other).has_value(); });
}

// `all` and `default` come with negative indexes; a change of `all` is followed by one for each device (devinet.c,
// addrconf.c). That of IPv6 means something by itself too: it is a switch of its own.
std::optional<LinkEvent> read_netconf(const nlmsghdr& message) {
    const auto family = fixed_part<netconfmsg>(message);
    const NetlinkAttributes attributes(message, sizeof(netconfmsg));
    const auto ifindex = attributes.u32(NETCONFA_IFINDEX);
    const auto forwarding = attributes.u32(NETCONFA_FORWARDING);
    if (!family || !ifindex) {
        return std::nullopt;
    }
    const bool v6 = family->ncm_family == AF_INET6;
    if (forwarding != 0U && !(v6 && tells_of_force_forwarding(attributes))) {
        return std::nullopt;
    }
    const auto index = static_cast<std::int32_t>(*ifindex);
    if (index == NETCONFA_IFINDEX_ALL && v6 && forwarding) {
        return LinkEvent{.kind = LinkEvent::Kind::forwarding_off_everywhere};
    }
    return index > 0 ? std::optional(LinkEvent{.kind = LinkEvent::Kind::forwarding_off, .ifindex = *ifindex})
                     : std::nullopt;
}

std::optional<LinkEvent> read_event(const nlmsghdr& message) {
    switch (message.nlmsg_type) {
        case RTM_NEWLINK:
        case RTM_DELLINK:
            return read_link(message);
        case RTM_NEWADDR:
        case RTM_DELADDR:
            if (const auto info = fixed_part<ifaddrmsg>(message)) {
                const auto kind =
                    message.nlmsg_type == RTM_DELADDR ? LinkEvent::Kind::address_removed : LinkEvent::Kind::address;
                return LinkEvent{.kind = kind, .ifindex = info->ifa_index};
            }
            return std::nullopt;
        case RTM_NEWROUTE:
        case RTM_DELROUTE:
            return read_route(message);
        case RTM_NEWRULE:
        case RTM_DELRULE:
            return read_rule(message);
        case RTM_NEWNETCONF:
            return read_netconf(message);
        default:
            return std::nullopt;
    }
}

// A routing daemon's ten thousand changes are one `route` event, not ten thousand.
void append(std::vector<LinkEvent>& events, const LinkEvent& event) {
    if (events.empty() || events.back().kind != event.kind || events.back().ifindex != event.ifindex) {
        events.push_back(event);
    }
}

}  // namespace

Monitor::Monitor(mnl_socket* socket) : socket_(socket) {}

void Monitor::Closer::operator()(mnl_socket* socket) const {
    mnl_socket_close(socket);
}

Result<Monitor> Monitor::open() {
    mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (socket == nullptr) {
        return fail_errno(errno, "open a netlink socket for events");
    }
    Monitor monitor(socket);
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        return fail_errno(errno, "bind a netlink socket for events");
    }
    for (int group : {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
                      RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE}) {
        if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0) {
            return fail_errno(errno, "subscribe to rtnetlink group {}", group);
        }
    }
    return monitor;
}

int Monitor::fd() const {
    return mnl_socket_get_fd(socket_.get());
}

Result<std::vector<LinkEvent>> Monitor::read() {
    alignas(nlmsghdr) std::array<std::byte, MNL_SOCKET_DUMP_SIZE> buffer{};
    std::vector<LinkEvent> events;
    for (int datagram = 0; datagram < kDatagramsPerRead; ++datagram) {
        const ssize_t size = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size < 0 && errno == EAGAIN) {
            break;
        }
        // ENOBUFS: the kernel's queue was full. ENOSPC (libmnl): an event larger than the buffer was cut.
        if (size < 0 && (errno == ENOBUFS || errno == ENOSPC)) {
            append(events, {.kind = LinkEvent::Kind::overrun});
            continue;
        }
        if (size < 0) {
            return fail_errno(errno, "read network events");
        }
        int rest = static_cast<int>(size);
        const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
        for (; mnl_nlmsg_ok(message, rest); message = mnl_nlmsg_next(message, &rest)) {
            if (const auto event = read_event(*message)) {
                append(events, *event);
            }
        }
    }
    return events;
}

}  // namespace netkitd::link
