#include "link/firewall.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <cerrno>
#include <optional>

#include "base/format.h"
#include "netlink/attributes.h"
#include "netlink/request.h"
#include "netlink/socket.h"

namespace netkitd::link {
namespace {

// As `nft` calls them; others do not see what is forwarded by IP.
std::string_view family_name(std::uint8_t family) {
    switch (family) {
        case NFPROTO_INET:
            return "inet";
        case NFPROTO_IPV4:
            return "ip";
        case NFPROTO_IPV6:
            return "ip6";
        default:
            return "";
    }
}

// Numbers of nftables are in network order.
std::optional<std::uint32_t> number(const NetlinkAttributes& attributes, std::uint16_t type) {
    return attributes.u32(type).transform([](std::uint32_t value) { return ::ntohl(value); });
}

std::optional<ForwardChain> read_chain(const nlmsghdr& message) {
    const auto head = fixed_part<nfgenmsg>(message);
    if (!head || family_name(head->nfgen_family).empty()) {
        return std::nullopt;
    }
    const NetlinkAttributes chain(message, sizeof(nfgenmsg));
    if (number(chain.nested(NFTA_CHAIN_HOOK), NFTA_HOOK_HOOKNUM) != NF_INET_FORWARD) {
        return std::nullopt;
    }
    return ForwardChain{
        .name = formatted("{} {} {}", family_name(head->nfgen_family), chain.string(NFTA_CHAIN_TABLE).value_or(""),
                          chain.string(NFTA_CHAIN_NAME).value_or("")),
        .drops = number(chain, NFTA_CHAIN_POLICY) == NF_DROP,
        .has_rules = number(chain, NFTA_CHAIN_USE).value_or(0) > 0};
}

}  // namespace

Result<std::vector<ForwardChain>> forward_chains() {
    auto netfilter = Netlink::open(NETLINK_NETFILTER);
    if (!netfilter) {
        return netfilter.error().system_error() == EPROTONOSUPPORT ? Result<std::vector<ForwardChain>>({})
                                                                   : std::unexpected(std::move(netfilter).error());
    }
    NetlinkRequest request((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETCHAIN, NLM_F_DUMP, "list the firewall's chains");
    request.put_struct(nfgenmsg{.nfgen_family = NFPROTO_UNSPEC, .version = NFNETLINK_V0, .res_id = 0});
    std::vector<ForwardChain> chains;
    const Result<void> listed = netfilter->query(request, [&](const nlmsghdr& message) {
        if (auto chain = read_chain(message)) {
            chains.push_back(std::move(*chain));
        }
    });
    // EINVAL, EOPNOTSUPP: nfnetlink without nftables.
    if (!listed && listed.error().system_error() != EINVAL && listed.error().system_error() != EOPNOTSUPP) {
        return std::unexpected(listed.error());
    }
    return chains;
}

}  // namespace netkitd::link
