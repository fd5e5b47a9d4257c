#include "link/host_tables.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include <cerrno>

#include "netlink/attributes.h"
#include "netlink/request.h"

namespace netkitd::link {
namespace {

// The kernel's and network managers' have an end; so have those of DHCPv6, which are single ones (RFC 8415).
bool is_advertised(const IpAddr& address, std::uint8_t length, std::uint32_t flags) {
    constexpr std::uint8_t kSingle = 128;
    return !address.is_v4() && length < kSingle && (flags & IFA_F_PERMANENT) == 0;
}

// `not_yet`: flags that an address must not have.
void read_address(const nlmsghdr& message, int narrowest_scope, std::uint32_t not_yet, AddressMap& addresses) {
    const auto info = fixed_part<ifaddrmsg>(message);
    if (message.nlmsg_type != RTM_NEWADDR || !info || info->ifa_scope > narrowest_scope) {
        return;
    }
    const NetlinkAttributes attributes(message, sizeof(ifaddrmsg));
    const std::uint32_t flags = attributes.u32(IFA_FLAGS).value_or(info->ifa_flags);
    // On a point-to-point link IFA_ADDRESS is the other side's.
    const auto local = attributes.address(IFA_LOCAL);
    const auto of_link = attributes.address(IFA_ADDRESS);
    const auto address = local ? local : of_link;
    if (address && (flags & not_yet) == 0) {
        addresses[info->ifa_index].push_back({.address = *address,
                                              .link = IpPrefix(of_link.value_or(*address), info->ifa_prefixlen),
                                              .no_prefix_route = (flags & IFA_F_NOPREFIXROUTE) != 0,
                                              .deprecated = (flags & IFA_F_DEPRECATED) != 0,
                                              .advertised = is_advertised(*address, info->ifa_prefixlen, flags)});
    }
}

Result<AddressMap> query_addresses(Netlink& host, int narrowest_scope, std::uint32_t not_yet) {
    NetlinkRequest request(RTM_GETADDR, NLM_F_DUMP, "list addresses");
    request.put_struct(ifaddrmsg{});
    AddressMap addresses;
    NK_TRY(host.query(request,
                      [&](const nlmsghdr& message) { read_address(message, narrowest_scope, not_yet, addresses); }));
    return addresses;
}

}  // namespace

Result<void> for_each_route(Netlink& host, std::uint32_t table, const std::function<void(const nlmsghdr&)>& handle) {
    for (const int family : {AF_INET, AF_INET6}) {
        NetlinkRequest request(RTM_GETROUTE, NLM_F_DUMP, "list the routes");
        rtmsg filter{};
        filter.rtm_family = static_cast<std::uint8_t>(family);
        request.put_struct(filter).put_u32(RTA_TABLE, table);
        const Result<void> read = host.query(request, handle);
        // ENOENT: no such table yet, as nothing was ever put there. EOPNOTSUPP: a kernel without that family.
        if (!read && read.error().system_error() != ENOENT && read.error().system_error() != EOPNOTSUPP) {
            return read;
        }
    }
    return {};
}

bool is_link_local(const IpPrefix& prefix) {
    return IpPrefix::parse("fe80::/10")->overlaps(prefix) || IpPrefix::parse("ff00::/8")->overlaps(prefix);
}

Result<AddressMap> list_addresses(Netlink& host, int narrowest_scope) {
    // The monitor tells when that is over.
    return query_addresses(host, narrowest_scope, IFA_F_TENTATIVE | IFA_F_DADFAILED);
}

Result<AddressMap> list_claimed_addresses(Netlink& host) {
    return query_addresses(host, RT_SCOPE_HOST, IFA_F_DADFAILED);
}

}  // namespace netkitd::link
