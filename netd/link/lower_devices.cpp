#include "link/lower_devices.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "link/netlink_attributes.h"
#include "link/netlink_request.h"

namespace netkitd::link {
namespace {

using Pair = std::pair<std::uint32_t, std::uint32_t>;  // the upper device and the lower one

void read_stack(const nlmsghdr& message, std::vector<Pair>& pairs) {
    const auto info = fixed_part<ifinfomsg>(message);
    if (message.nlmsg_type != RTM_NEWLINK || !info) {
        return;
    }
    const auto ifindex = static_cast<std::uint32_t>(info->ifi_index);
    const NetlinkAttributes attributes(message, sizeof(ifinfomsg));
    if (const auto master = attributes.u32(IFLA_MASTER)) {
        pairs.emplace_back(*master, ifindex);
    }
    // Of a pair it is the other end, which is not below.
    const std::string kind = attributes.nested(IFLA_LINKINFO).string(IFLA_INFO_KIND).value_or("");
    const auto lower = attributes.u32(IFLA_LINK);
    if (lower && !attributes.u32(IFLA_LINK_NETNSID) && kind != "veth" && kind != "netkit") {
        pairs.emplace_back(ifindex, *lower);
    }
}

}  // namespace

Result<std::set<std::uint32_t>> with_lower_devices(Netlink& netlink, std::set<std::uint32_t> ifindexes) {
    NetlinkRequest request(RTM_GETLINK, NLM_F_DUMP, "list what devices stand on");
    request.put_struct(ifinfomsg{}).put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    std::vector<Pair> pairs;
    NK_TRY(netlink.query(request, [&](const nlmsghdr& message) { read_stack(message, pairs); }));
    const auto leads_on = [&](const Pair& pair) {
        return ifindexes.contains(pair.first) && !ifindexes.contains(pair.second);
    };
    for (auto next = pairs.begin(); (next = std::ranges::find_if(pairs, leads_on)) != pairs.end();) {
        ifindexes.insert(next->second);
    }
    return ifindexes;
}

}  // namespace netkitd::link
