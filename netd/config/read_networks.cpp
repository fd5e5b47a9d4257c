#include "config/read_networks.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "abi.h"
#include "base/quote.h"
#include "config/default_prefixes.h"
#include "config/mtu.h"
#include "config/names.h"
#include "config/read_masquerade.h"
#include "config/unusable_prefixes.h"

namespace netkitd {
namespace {

constexpr std::string_view kDefaultNetwork = "default";
// The widest private block is a /8 (RFC 1918, section 3). A /29 has five addresses beside the gateway; anything
// narrower is a typo more likely than a network.
constexpr std::uint8_t kShortestPrefix4 = 8;
constexpr std::uint8_t kLongestPrefix4 = 29;
// The widest that one site has (RFC 4193, section 3.1: a 40-bit global id), and as few addresses as a /29.
constexpr std::uint8_t kShortestPrefix6 = 48;
constexpr std::uint8_t kLongestPrefix6 = 125;

Result<IpPrefix> parse_network_prefix(std::string_view text, IpFamily family) {
    const bool v4 = family == IpFamily::v4;
    const auto prefix = IpPrefix::parse(text);
    if (!prefix) {
        return fail(ErrorKind::invalid, "{}", prefix.error().message());
    }
    const std::uint8_t shortest = v4 ? kShortestPrefix4 : kShortestPrefix6;
    const std::uint8_t longest = v4 ? kLongestPrefix4 : kLongestPrefix6;
    if (prefix->address().family() != family || prefix->length() < shortest || prefix->length() > longest) {
        return fail(ErrorKind::invalid, "{} is not an {} prefix between /{} and /{}", quote(text), v4 ? "IPv4" : "IPv6",
                    shortest, longest);
    }
    for (const auto& [unusable, name] : kUnusablePrefixes) {
        if (prefix->overlaps(NK_TRY(IpPrefix::parse(unusable)))) {
            return fail(ErrorKind::invalid, "{} overlaps {} ({}); take a private prefix, as in {}", prefix->to_string(),
                        unusable, name, v4 ? "RFC 1918" : "RFC 4193");
        }
    }
    return *prefix;
}

// `"ipv6": false` is how the network that has a prefix by default comes to have none.
Result<std::optional<IpPrefix>> read_ipv6(const ConfigObject& object, const std::string& name) {
    const ConfigJson* const value = object.find("ipv6");
    if (value != nullptr && value->is_boolean() && !value->get<bool>()) {
        return std::nullopt;
    }
    std::optional<std::string> prefix = NK_TRY(object.string("ipv6"));
    if (!prefix && name == kDefaultNetwork) {
        prefix = kDefaultPrefixes6.front();
    }
    if (!prefix) {
        return std::nullopt;
    }
    return NK_TRY_CONTEXT(object.path_of("ipv6"), parse_network_prefix(*prefix, IpFamily::v6));
}

Result<std::vector<IpAddr>> read_dns(const ConfigObject& object) {
    if (object.find("dns") == nullptr) {
        return std::vector<IpAddr>();
    }
    return with_context(parse_name_servers(NK_TRY(object.strings("dns"))), object.path_of("dns"));
}

Result<NetworkConfig> read_network(const std::string& name, const ConfigJson& value, const std::string& path,
                                   bool masquerade) {
    NK_TRY_CONTEXT("networks", check_network_name(name));
    const ConfigObject object = NK_TRY(
        ConfigObject::of(value, path, {"ipv4", "ipv6", "mtu", "isolated", "accept_forwarded", "masquerade", "dns"}));
    std::optional<std::string> prefix = NK_TRY(object.string("ipv4"));
    if (!prefix && name == kDefaultNetwork) {
        prefix = kDefaultPrefixes4.front();
    }
    if (!prefix) {
        return fail(ErrorKind::invalid, "{}: missing; give the network a prefix, like \"10.78.0.0/16\"",
                    object.path_of("ipv4"));
    }
    NetworkConfig network{.name = name,
                          .ipv4 = NK_TRY_CONTEXT(object.path_of("ipv4"), parse_network_prefix(*prefix, IpFamily::v4)),
                          .ipv6 = NK_TRY(read_ipv6(object, name)),
                          .mtu = NK_TRY(object.number("mtu", kMinMtu, kMaxMtu)),
                          .isolated = NK_TRY(object.boolean("isolated")).value_or(false),
                          .accept_forwarded = NK_TRY(object.boolean("accept_forwarded")).value_or(false),
                          .any_ipv4 = object.find("ipv4") == nullptr,
                          .any_ipv6 = object.find("ipv6") == nullptr && name == kDefaultNetwork,
                          .masquerade4 = {.enabled = masquerade},
                          .masquerade6 = {.enabled = masquerade},
                          .dns = NK_TRY(read_dns(object))};
    NK_TRY(read_network_masquerade(object, network));
    return network;
}

// A container's address is not the host's, whichever network it is in.
Result<void> check_sources(const std::vector<NetworkConfig>& networks) {
    for (const NetworkConfig& network : networks) {
        for (const IpFamily family : {IpFamily::v4, IpFamily::v6}) {
            const auto& source = network.masquerade(family).source;
            for (const NetworkConfig& other : networks) {
                for (const IpPrefix& prefix : other.prefixes()) {
                    if (source && prefix.contains(*source)) {
                        return fail(ErrorKind::invalid,
                                    "networks.{}.masquerade.{}: {} is in {} of the network {}; take an address of one "
                                    "of this host's own devices",
                                    network.name, family == IpFamily::v4 ? "ipv4" : "ipv6", source->to_string(),
                                    prefix.to_string(), other.name);
                    }
                }
            }
        }
    }
    return {};
}

Result<void> check_overlap(std::string_view key, const NetworkConfig& first, const IpPrefix& first_prefix,
                           const NetworkConfig& second, const IpPrefix& second_prefix) {
    if (!first_prefix.overlaps(second_prefix)) {
        return {};
    }
    return fail(ErrorKind::invalid,
                "networks.{}.{}: {} overlaps {} of the network {}; give one of them another prefix{}", first.name, key,
                first_prefix.to_string(), second_prefix.to_string(), second.name,
                second.name == kDefaultNetwork ? " (`default` is there also when it is not configured)" : "");
}

Result<void> check_networks(const std::vector<NetworkConfig>& networks) {
    if (networks.size() > NK_MAX_NETWORKS) {
        return fail(ErrorKind::invalid, "networks: {} networks, `default` included; at most {} are possible",
                    networks.size(), NK_MAX_NETWORKS);
    }
    for (auto second = networks.begin(); second != networks.end(); ++second) {
        for (auto first = networks.begin(); first != second; ++first) {
            NK_TRY(check_overlap("ipv4", *first, first->ipv4, *second, second->ipv4));
            if (first->ipv6 && second->ipv6) {
                NK_TRY(check_overlap("ipv6", *first, *first->ipv6, *second, *second->ipv6));
            }
        }
    }
    return {};
}

}  // namespace

NetworkConfig default_network(bool masquerade) {
    return {.name = std::string(kDefaultNetwork),
            .ipv4 = *IpPrefix::parse(kDefaultPrefixes4.front()),
            .ipv6 = *IpPrefix::parse(kDefaultPrefixes6.front()),
            .any_ipv4 = true,
            .any_ipv6 = true,
            .masquerade4 = {.enabled = masquerade},
            .masquerade6 = {.enabled = masquerade}};
}

Result<std::vector<NetworkConfig>> read_networks(const ConfigObject& top, bool masquerade) {
    std::vector<NetworkConfig> networks;
    if (const ConfigJson* const value = top.find("networks"); value != nullptr) {
        if (!value->is_object()) {
            return fail(ErrorKind::invalid, "networks: must be an object of networks by name, not {}",
                        value->type_name());
        }
        for (const auto& item : value->items()) {
            networks.push_back(
                NK_TRY(read_network(item.key(), item.value(), formatted("networks.{}", item.key()), masquerade)));
        }
    }
    if (!std::ranges::contains(networks, kDefaultNetwork, &NetworkConfig::name)) {
        networks.push_back(default_network(masquerade));
    }
    NK_TRY(check_networks(networks));
    NK_TRY(check_sources(networks));
    return networks;
}

}  // namespace netkitd
