// Two things are done by a work queue, which has to wait for the rtnl lock like everybody else:
//
//   the carrier   The end of a pair that is set up first gets its carrier with the other end's. Until link watch has
//                 run it has no queueing discipline but one that drops all (net/core/link_watch.c, linkwatch_do_dev).
//                 Its operational state tells; since Linux 6.8, to ask for it runs the work (rtnl_getlink).
//   the address   An IPv6 address, also one with NODAD, is given its route in the local table by addrconf_dad_work()
//                 (net/ipv6/addrconf.c): until then packets to it are not its own.
#include "link/readiness.h"

#include <linux/if.h>
#include <linux/rtnetlink.h>

#include <thread>

#include "netlink/attributes.h"
#include "netlink/request.h"

namespace netkitd::link {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPause{1};

Result<bool> transmits(Netlink& netlink, std::uint32_t ifindex) {
    NetlinkRequest request(RTM_GETLINK, 0, formatted("ask for the state of device {}", ifindex));
    request.put_struct(device_message(ifindex));
    bool up = false;
    NK_TRY(netlink.query(request, [&](const nlmsghdr& message) {
        up = NetlinkAttributes(message, sizeof(ifinfomsg)).u8(IFLA_OPERSTATE) == IF_OPER_UP;
    }));
    return up;
}

Result<bool> is_local(Netlink& netlink, const IpAddr& address) {
    NetlinkRequest request(RTM_GETROUTE, 0, formatted("look up the route to {}", address.to_string()));
    rtmsg question{};
    question.rtm_family = static_cast<std::uint8_t>(address.address_family());
    question.rtm_dst_len = IpPrefix::single(address).length();
    request.put_struct(question).put_address(RTA_DST, address);
    bool local = false;
    const Result<void> asked = netlink.query(request, [&](const nlmsghdr& message) {
        const auto route = fixed_part<rtmsg>(message);
        local = route && route->rtm_type == RTN_LOCAL;
    });
    if (!asked && asked.error().system_error() != ENETUNREACH && asked.error().system_error() != EHOSTUNREACH) {
        return std::unexpected(asked.error());
    }
    return local;
}

}  // namespace

Result<void> await_readiness(Netlink& netlink, std::uint32_t ifindex, const std::optional<IpAddr>& ipv6,
                             milliseconds patience) {
    const auto end = Clock::now() + patience;
    for (;;) {
        const bool carrier = NK_TRY(transmits(netlink, ifindex));
        const bool address = !ipv6 || NK_TRY(is_local(netlink, *ipv6));
        if (carrier && address) {
            return {};
        }
        if (Clock::now() >= end) {
            return fail(ErrorKind::internal,
                        "device {} is not ready after {} ms: {}: this host is busy with other network devices, or "
                        "something holds the kernel's rtnl lock; start the container again",
                        ifindex, patience.count(),
                        carrier ? "its IPv6 address is not in the local table" : "it has no carrier");
        }
        std::this_thread::sleep_for(kPause);
    }
}

}  // namespace netkitd::link
