#include "node/policy_rules.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/log.h"
#include "node/settle_prefixes.h"

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

// The kernel asks rules one by one.
constexpr std::size_t kMaxParts = 64;  // of a family

// What the host has of the networks' prefixes in tables that rules lead to past the main one.
std::vector<IpPrefix> parts(const std::vector<link::PolicyRule>& rules, const Config& config,
                            const std::vector<link::HostPrefix>& prefixes) {
    std::set<std::pair<IpFamily, std::uint32_t>> tables;
    for (const link::PolicyRule& rule : rules) {
        if (!rule.is_ours && rule.leads_past_main && rule.table != 0) {
            tables.emplace(rule.family, rule.table);
        }
    }
    std::vector<IpPrefix> result;
    std::map<IpFamily, std::size_t> count;
    for (const auto& [family, table] : tables) {
        for (const IpPrefix& prefix : parts_of_table(config, prefixes, table)) {
            if (prefix.address().family() == family && count[family]++ < kMaxParts) {
                result.push_back(prefix);
            }
        }
    }
    return result;
}

std::set<link::OwnRule> wanted_rules(const std::vector<link::PolicyRule>& rules, const Config& config,
                                     const std::vector<IpPrefix>& parts, bool ipv6) {
    std::set<link::OwnRule> wanted;
    for (const IpPrefix& prefix : config.prefixes()) {
        const auto first = first_that_hides(rules, prefix);
        if (!first || !(ipv6 || prefix.address().is_v4())) {
            continue;
        }
        wanted.insert({.preference = *first == 0 ? 0 : *first - 1, .prefix = prefix});
        // All of the host's rules decide about these, as they would without ours.
        for (const IpPrefix& part : parts) {
            if (*first > 1 && prefix.holds(part)) {
                wanted.insert({.preference = *first - 2, .prefix = part, .go_to = *first});
            }
        }
    }
    return wanted;
}

std::set<link::OwnRule> own_rules(const std::vector<link::PolicyRule>& rules) {
    std::set<link::OwnRule> own;
    for (const link::PolicyRule& rule : rules) {
        if (rule.is_ours && rule.to) {
            own.insert({.preference = rule.preference, .prefix = *rule.to, .go_to = rule.go_to});
        }
    }
    return own;
}

Result<void> make(link::Netlink& host, const std::set<link::OwnRule>& there, const std::set<link::OwnRule>& wanted) {
    for (const link::OwnRule& rule : wanted) {
        if (!there.contains(rule)) {
            NK_TRY(link::add_rule(host, rule));
            log(LogLevel::info, "policy rule {}: rules of this host lead past the main table", rule.text());
        }
    }
    for (const link::OwnRule& rule : there) {
        if (!wanted.contains(rule)) {
            NK_TRY(link::remove_rule(host, rule));
            log(LogLevel::info, "policy rule {} is removed", rule.text());
        }
    }
    return {};
}

}  // namespace

Result<void> sync_policy_rules(link::Netlink& host, const std::vector<link::PolicyRule>& rules, const Config& config,
                               const std::vector<link::HostPrefix>& prefixes, bool ipv6) {
    return make(host, own_rules(rules), wanted_rules(rules, config, parts(rules, config, prefixes), ipv6));
}

Result<void> remove_policy_rules(link::Netlink& host) {
    return make(host, own_rules(NK_TRY(link::list_policy_rules(host))), {});
}

}  // namespace netkitd
