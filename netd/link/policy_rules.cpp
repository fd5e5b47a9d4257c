#include "link/policy_rules.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "netlink/attributes.h"
#include "netlink/request.h"
#include "netlink/route_protocol.h"

namespace netkitd::link {
namespace {

// Of VRFs: it is about what comes by one of their devices, or goes out by it.
bool is_about_vrfs(const NetlinkAttributes& rule) {
    return rule.u8(FRA_L3MDEV).value_or(0) != 0;
}

bool decides_or_leads_elsewhere(const fib_rule_hdr& rule, const NetlinkAttributes& attributes, std::uint32_t table) {
    switch (rule.action) {
        case FR_ACT_TO_TBL:
            return !is_about_vrfs(attributes) && table != RT_TABLE_LOCAL && table != RT_TABLE_MAIN;
        case FR_ACT_GOTO:
        case FR_ACT_BLACKHOLE:
        case FR_ACT_UNREACHABLE:
        case FR_ACT_PROHIBIT:
            return true;
        default:
            return false;
    }
}

// Each is -1 where nothing is (fib_nl_fill_rule() in net/core/fib_rules.c).
bool suppresses(const NetlinkAttributes& rule) {
    constexpr std::uint32_t kNothing = 0xffffffff;
    return rule.u32(FRA_SUPPRESS_PREFIXLEN).value_or(kNothing) != kNothing ||
           rule.u32(FRA_SUPPRESS_IFGROUP).value_or(kNothing) != kNothing;
}

std::optional<PolicyRule> read_rule(const nlmsghdr& message) {
    const auto rule = fixed_part<fib_rule_hdr>(message);
    if (message.nlmsg_type != RTM_NEWRULE || !rule || (rule->family != AF_INET && rule->family != AF_INET6)) {
        return std::nullopt;
    }
    const NetlinkAttributes attributes(message, sizeof(fib_rule_hdr));
    const auto destination = attributes.address(FRA_DST);
    const std::uint32_t preference = attributes.u32(FRA_PRIORITY).value_or(0);
    const std::uint32_t table = attributes.u32(FRA_TABLE).value_or(rule->table);
    return PolicyRule{.family = rule->family == AF_INET ? IpFamily::v4 : IpFamily::v6,
                      .preference = preference,
                      .table = rule->action == FR_ACT_TO_TBL ? table : 0,
                      .go_to = attributes.u32(FRA_GOTO).value_or(0),
                      .to = destination && (rule->flags & FIB_RULE_INVERT) == 0
                                ? std::optional(IpPrefix(*destination, rule->dst_len))
                                : std::nullopt,
                      .is_ours = attributes.u8(FRA_PROTOCOL).value_or(0) == kRouteProtocol,
                      .leads_past_main = decides_or_leads_elsewhere(*rule, attributes, table),
                      .suppresses = suppresses(attributes)};
}

// What comes after the main table has been asked does not lead past it; the last rule to it counts, as others may be
// about some packets only.
void only_before_main(std::vector<PolicyRule>& rules) {
    std::map<IpFamily, std::uint32_t> main;
    for (const PolicyRule& rule : rules) {
        if (rule.table == RT_TABLE_MAIN && !rule.is_ours) {
            main[rule.family] = std::max(main[rule.family], rule.preference);
        }
    }
    for (PolicyRule& rule : rules) {
        rule.leads_past_main = rule.leads_past_main && (main[rule.family] == 0 || rule.preference < main[rule.family]);
    }
}

NetlinkRequest rule_request(std::uint16_t type, std::uint16_t flags, const OwnRule& rule, std::string_view verb) {
    NetlinkRequest request(type, flags, formatted("{} the rule {}", verb, rule.text()));
    fib_rule_hdr header{};
    header.family = rule.prefix.address().is_v4() ? AF_INET : AF_INET6;
    header.dst_len = rule.prefix.length();
    header.table = rule.go_to == 0 ? RT_TABLE_MAIN : RT_TABLE_UNSPEC;
    header.action = rule.go_to == 0 ? FR_ACT_TO_TBL : FR_ACT_GOTO;
    request.put_struct(header)
        .put_u32(FRA_PRIORITY, rule.preference)
        .put_u8(FRA_PROTOCOL, kRouteProtocol)
        .put_address(FRA_DST, rule.prefix.address());
    if (rule.go_to != 0) {
        request.put_u32(FRA_GOTO, rule.go_to);
    }
    return request;
}

Result<void> unless(Result<void> done, int expected) {
    return !done && done.error().system_error() == expected ? Result<void>() : done;
}

}  // namespace

Result<std::vector<PolicyRule>> list_policy_rules(Netlink& host) {
    std::vector<PolicyRule> rules;
    for (const int family : {AF_INET, AF_INET6}) {
        NetlinkRequest request(RTM_GETRULE, NLM_F_DUMP, "list the policy rules");
        fib_rule_hdr filter{};
        filter.family = static_cast<std::uint8_t>(family);
        request.put_struct(filter);
        // EAFNOSUPPORT: a kernel without that family, or without rules of it (fib_nl_dumprule()).
        NK_TRY(unless(host.query(request,
                                 [&](const nlmsghdr& message) {
                                     if (const auto rule = read_rule(message)) {
                                         rules.push_back(*rule);
                                     }
                                 }),
                      EAFNOSUPPORT));
    }
    only_before_main(rules);
    return rules;
}

std::string OwnRule::text() const {
    return formatted("{}: to {} {}", preference, prefix.to_string(),
                     go_to == 0 ? "lookup main" : formatted("goto {}", go_to));
}

Result<void> add_rule(Netlink& host, const OwnRule& rule) {
    NetlinkRequest request = rule_request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule, "add");
    return unless(host.transact(request), EEXIST);
}

Result<void> remove_rule(Netlink& host, const OwnRule& rule) {
    NetlinkRequest request = rule_request(RTM_DELRULE, 0, rule, "remove");
    return unless(host.transact(request), ENOENT);
}

}  // namespace netkitd::link
