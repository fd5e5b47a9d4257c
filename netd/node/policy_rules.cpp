#include "node/policy_rules.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/log.h"

namespace netkitd {
namespace {

bool hides(const link::PolicyRule& rule, const IpPrefix& prefix) {
    return !rule.is_ours && rule.leads_past_main && rule.family == prefix.address().family() &&
           (!rule.to || rule.to->overlaps(prefix));
}

std::optional<std::uint32_t> first_that_hides(const std::vector<link::PolicyRule>& rules, const IpPrefix& prefix) {
    std::optional<std::uint32_t> first;
    for (const link::PolicyRule& rule : rules) {
        if (hides(rule, prefix) && rule.preference < first.value_or(rule.preference + 1)) {
            first = rule.preference;
        }
    }
    return first;
}

std::set<link::MainTableRule> wanted_rules(const std::vector<link::PolicyRule>& rules, const Config& config,
                                           bool ipv6) {
    std::set<link::MainTableRule> wanted;
    for (const IpPrefix& prefix : config.prefixes()) {
        const auto first = first_that_hides(rules, prefix);
        if (first && (ipv6 || prefix.address().is_v4())) {
            wanted.insert({.prefix = prefix, .preference = *first == 0 ? 0 : *first - 1});
        }
    }
    return wanted;
}

std::set<link::MainTableRule> own_rules(const std::vector<link::PolicyRule>& rules) {
    std::set<link::MainTableRule> own;
    for (const link::PolicyRule& rule : rules) {
        if (rule.is_ours && rule.to) {
            own.insert({.prefix = *rule.to, .preference = rule.preference});
        }
    }
    return own;
}

Result<void> make(link::Netlink& host, const std::set<link::MainTableRule>& there,
                  const std::set<link::MainTableRule>& wanted) {
    for (const link::MainTableRule& rule : wanted) {
        if (!there.contains(rule)) {
            NK_TRY(link::add_rule(host, rule));
            log(LogLevel::info, "policy rule {} to {} lookup main: rules of this host lead past it", rule.preference,
                rule.prefix.to_string());
        }
    }
    for (const link::MainTableRule& rule : there) {
        if (!wanted.contains(rule)) {
            NK_TRY(link::remove_rule(host, rule));
            log(LogLevel::info, "policy rule {} to {} lookup main is removed", rule.preference,
                rule.prefix.to_string());
        }
    }
    return {};
}

}  // namespace

Result<void> sync_policy_rules(link::Netlink& host, const std::vector<link::PolicyRule>& rules, const Config& config,
                               bool ipv6) {
    return make(host, own_rules(rules), wanted_rules(rules, config, ipv6));
}

Result<void> remove_policy_rules(link::Netlink& host) {
    return make(host, own_rules(NK_TRY(link::list_policy_rules(host))), {});
}

}  // namespace netkitd
