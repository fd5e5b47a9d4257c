#include "link/firewall.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <functional>
#include <map>
#include <optional>

#include "base/format.h"
#include "link/device.h"
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

std::optional<FilterChain::Hook> read_hook(const NetlinkAttributes& chain) {
    switch (number(chain.nested(NFTA_CHAIN_HOOK), NFTA_HOOK_HOOKNUM).value_or(NF_INET_NUMHOOKS)) {
        case NF_INET_LOCAL_IN:
            return FilterChain::Hook::input;
        case NF_INET_FORWARD:
            return FilterChain::Hook::forward;
        default:
            return std::nullopt;
    }
}

std::optional<FilterChain> read_chain(const nlmsghdr& message) {
    const auto head = fixed_part<nfgenmsg>(message);
    if (!head || family_name(head->nfgen_family).empty()) {
        return std::nullopt;
    }
    const NetlinkAttributes chain(message, sizeof(nfgenmsg));
    const auto hook = read_hook(chain);
    if (!hook) {
        return std::nullopt;
    }
    return FilterChain{
        .name = formatted("{} {} {}", family_name(head->nfgen_family), chain.string(NFTA_CHAIN_TABLE).value_or(""),
                          chain.string(NFTA_CHAIN_NAME).value_or("")),
        .hook = *hook,
        .drops = number(chain, NFTA_CHAIN_POLICY) == NF_DROP,
        .has_rules = number(chain, NFTA_CHAIN_USE).value_or(0) > 0};
}

// What a rule does to the source's port.
enum class GivesPort { none, any, named };

// A target of iptables' (its revision and data: include/uapi/linux/netfilter/nf_nat.h).
GivesPort port_of_target(const NetlinkAttributes& target, std::uint8_t family) {
    const std::string name = target.string(NFTA_TARGET_NAME).value_or("");
    if (name != "MASQUERADE" && name != "SNAT") {
        return GivesPort::none;
    }
    const auto info = target.bytes(NFTA_TARGET_INFO).value_or(std::span<const std::byte>());
    const bool is_old = family == NFPROTO_IPV4 && number(target, NFTA_TARGET_REV).value_or(0) == 0;
    const std::size_t place = is_old
                                  ? offsetof(nf_nat_ipv4_multi_range_compat, range) + offsetof(nf_nat_ipv4_range, flags)
                                  : offsetof(nf_nat_range, flags);
    std::uint32_t flags = 0;
    if (info.size() >= place + sizeof(flags)) {
        std::memcpy(&flags, info.data() + place, sizeof(flags));
    }
    return (flags & NF_NAT_RANGE_PROTO_SPECIFIED) == 0 ? GivesPort::any : GivesPort::named;
}

GivesPort port_of_expression(const NetlinkAttributes& expression, std::uint8_t family) {
    const std::string name = expression.string(NFTA_EXPR_NAME).value_or("");
    const NetlinkAttributes data = expression.nested(NFTA_EXPR_DATA);
    if (name == "target") {
        return port_of_target(data, family);
    }
    const bool is_snat = name == "nat" && number(data, NFTA_NAT_TYPE) == NFT_NAT_SNAT;
    if (name != "masq" && !is_snat) {
        return GivesPort::none;
    }
    const std::uint16_t first_port =
        is_snat ? std::uint16_t{NFTA_NAT_REG_PROTO_MIN} : std::uint16_t{NFTA_MASQ_REG_PROTO_MIN};
    const bool is_named = data.u32(first_port).has_value();
    return is_named ? GivesPort::named : GivesPort::any;
}

struct Rule {
    std::string chain;
    GivesPort port{};
    bool names_host_device = false;
};

// Whatever it does with the name, nft's own rules and those of iptables: it stands there as it is.
bool contains_name(const nlmsghdr& message, std::string_view name) {
    const std::string_view bytes(reinterpret_cast<const char*>(&message), message.nlmsg_len);
    return bytes.contains(name);
}

std::optional<Rule> read_rule(const nlmsghdr& message) {
    const auto head = fixed_part<nfgenmsg>(message);
    if (!head || family_name(head->nfgen_family).empty()) {
        return std::nullopt;
    }
    const NetlinkAttributes rule(message, sizeof(nfgenmsg));
    GivesPort port = GivesPort::none;
    for (const NetlinkAttributes& expression : rule.list(NFTA_RULE_EXPRESSIONS)) {
        port = std::max(port, port_of_expression(expression, head->nfgen_family));
    }
    return Rule{
        .chain = formatted("{} {} {}", family_name(head->nfgen_family), rule.string(NFTA_RULE_TABLE).value_or(""),
                           rule.string(NFTA_RULE_CHAIN).value_or("")),
        .port = port,
        .names_host_device = contains_name(message, kHostDeviceName)};
}

// Nothing where the kernel has no nftables.
Result<void> dump(std::uint16_t type, const std::string& what, const std::function<void(const nlmsghdr&)>& visit) {
    auto netfilter = Netlink::open(NETLINK_NETFILTER);
    if (!netfilter) {
        return netfilter.error().system_error() == EPROTONOSUPPORT ? Result<void>()
                                                                   : std::unexpected(std::move(netfilter).error());
    }
    NetlinkRequest request(static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | type), NLM_F_DUMP, what);
    request.put_struct(nfgenmsg{.nfgen_family = NFPROTO_UNSPEC, .version = NFNETLINK_V0, .res_id = 0});
    Result<void> listed = netfilter->query(request, visit);
    // EINVAL, EOPNOTSUPP: nfnetlink without nftables.
    if (!listed && (listed.error().system_error() == EINVAL || listed.error().system_error() == EOPNOTSUPP)) {
        return {};
    }
    return listed;
}

}  // namespace

Result<std::vector<FilterChain>> filter_chains() {
    std::vector<FilterChain> chains;
    NK_TRY(dump(NFT_MSG_GETCHAIN, "list the firewall's chains", [&](const nlmsghdr& message) {
        if (auto chain = read_chain(message)) {
            chains.push_back(std::move(*chain));
        }
    }));
    NK_TRY(dump(NFT_MSG_GETRULE, "list the firewall's rules", [&](const nlmsghdr& message) {
        const auto rule = read_rule(message);
        const auto chain =
            rule && rule->names_host_device ? std::ranges::find(chains, rule->chain, &FilterChain::name) : chains.end();
        if (chain != chains.end()) {
            chain->names_host_device = true;
        }
    }));
    return chains;
}

Result<std::vector<std::string>> chains_that_give_any_port() {
    // Where some rule names ports, the others are for what has none, such as ICMP.
    std::map<std::string, GivesPort> chains;
    NK_TRY(dump(NFT_MSG_GETRULE, "list the firewall's rules", [&](const nlmsghdr& message) {
        // What leaves by netkitd0 goes to containers, and comes back to no uplink.
        if (const auto rule = read_rule(message); rule && !rule->names_host_device) {
            GivesPort& port = chains[rule->chain];
            port = std::max(port, rule->port);
        }
    }));
    std::vector<std::string> give_any;
    for (const auto& [chain, port] : chains) {
        if (port == GivesPort::any) {
            give_any.push_back(chain);
        }
    }
    return give_any;
}

}  // namespace netkitd::link
