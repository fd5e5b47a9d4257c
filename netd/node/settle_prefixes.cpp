#include "node/settle_prefixes.h"

#include <algorithm>
#include <format>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <span>

#include "base/join.h"
#include "config/default_prefixes.h"
#include "link/host_tables.h"

namespace netkitd {
namespace {

using IsInTheWay = std::function<bool(const IpPrefix& prefix, const link::HostPrefix& host)>;

// Whether a network with this prefix would hide `host`.
bool hides_any(const IpPrefix& prefix, const link::HostPrefix& host) {
    return prefix.overlaps(host.prefix) && (host.connected || host.prefix.length() >= prefix.length());
}

// And that matters.
bool hides(const IpPrefix& prefix, const link::HostPrefix& host) {
    return !host.advertised && hides_any(prefix, host);
}

// For a prefix that nobody asked for. Unique local addresses of others' are of another /48 (RFC 4193, section 3.2.3),
// so of IPv6 a wide route says nothing.
bool is_not_free(const IpPrefix& prefix, const link::HostPrefix& host) {
    return hides(prefix, host) ||
           (prefix.address().is_v4() && host.prefix.length() >= link::kShortestPart && prefix.overlaps(host.prefix));
}

const link::HostPrefix* find_in_the_way(const IpPrefix& prefix, const std::vector<link::HostPrefix>& host,
                                        const IsInTheWay& is_in_the_way) {
    const auto found =
        std::ranges::find_if(host, [&](const link::HostPrefix& candidate) { return is_in_the_way(prefix, candidate); });
    return found == host.end() ? nullptr : &*found;
}

bool has_containers(const std::vector<EndpointRecord>& endpoints, const std::string& network, const IpPrefix& prefix) {
    return std::ranges::any_of(endpoints, [&](const EndpointRecord& record) {
        return record.network == network &&
               std::ranges::any_of(record.addresses(), [&](const IpAddr& address) { return prefix.contains(address); });
    });
}

bool is_of_another_network(const Config& config, const NetworkConfig& network, const IpPrefix& prefix) {
    return std::ranges::any_of(config.networks, [&](const NetworkConfig& other) {
        return other.name != network.name &&
               std::ranges::any_of(other.prefixes(), [&](const IpPrefix& theirs) { return theirs.overlaps(prefix); });
    });
}

Result<IpPrefix> choose(const Config& config, const NetworkConfig& network,
                        std::span<const std::string_view> candidates, const std::vector<link::HostPrefix>& host,
                        const std::vector<EndpointRecord>& endpoints) {
    std::vector<IpPrefix> prefixes;
    for (const std::string_view text : candidates) {
        prefixes.push_back(NK_TRY(IpPrefix::parse(text)));
    }
    for (const IpPrefix& prefix : prefixes) {
        if (has_containers(endpoints, network.name, prefix)) {
            return prefix;
        }
    }
    for (const IpPrefix& prefix : prefixes) {
        if (find_in_the_way(prefix, host, is_not_free) == nullptr && !is_of_another_network(config, network, prefix)) {
            return prefix;
        }
    }
    return fail(
        ErrorKind::refused,
        "network {}: this host has a use for all of {} ({} is in the way of the first): give the network a prefix "
        "of its own, \"networks\": {{\"{}\": {{\"{}\": …}}}}",
        network.name, join(candidates),
        find_in_the_way(prefixes.front(), host, is_not_free) == nullptr
            ? "another network"
            : find_in_the_way(prefixes.front(), host, is_not_free)->text,
        network.name, prefixes.front().address().is_v4() ? "ipv4" : "ipv6");
}

Result<void> check(const NetworkConfig& network, const IpPrefix& prefix, const std::vector<link::HostPrefix>& host,
                   const std::vector<EndpointRecord>& endpoints) {
    const link::HostPrefix* const hidden = find_in_the_way(prefix, host, hides);
    if (hidden == nullptr || has_containers(endpoints, network.name, prefix)) {
        return {};
    }
    return fail(ErrorKind::refused,
                "networks.{}.{}: {} overlaps {} of this host, which would be cut off from there; give the network "
                "another prefix",
                network.name, prefix.address().is_v4() ? "ipv4" : "ipv6", prefix.to_string(), hidden->text);
}

}  // namespace

Result<Config> settle_prefixes(Config config, const std::vector<link::HostPrefix>& host,
                               const std::vector<EndpointRecord>& endpoints) {
    for (NetworkConfig& network : config.networks) {
        if (network.any_ipv4) {
            network.ipv4 = NK_TRY(choose(config, network, kDefaultPrefixes4, host, endpoints));
        } else {
            NK_TRY(check(network, network.ipv4, host, endpoints));
        }
        if (network.any_ipv6) {
            network.ipv6 = NK_TRY(choose(config, network, kDefaultPrefixes6, host, endpoints));
        } else if (network.ipv6) {
            NK_TRY(check(network, *network.ipv6, host, endpoints));
        }
    }
    return config;
}

std::vector<Overlap> find_overlaps(const Config& config, const std::vector<link::HostPrefix>& host) {
    std::vector<Overlap> overlaps;
    for (const NetworkConfig& network : config.networks) {
        for (const IpPrefix& prefix : network.prefixes()) {
            const link::HostPrefix* const claim = find_in_the_way(prefix, host, hides);
            if (const auto* const hidden = claim != nullptr ? claim : find_in_the_way(prefix, host, hides_any)) {
                overlaps.push_back({.network = network.name, .prefix = prefix, .host = *hidden});
            }
        }
    }
    return overlaps;
}

std::vector<IpAddr> gateways_on_links(const Config& config, const std::vector<link::HostPrefix>& host) {
    std::vector<IpAddr> result;
    for (const IpPrefix& prefix : config.prefixes()) {
        const IpAddr gateway = gateway_of(prefix);
        const auto holds = [&](const link::HostPrefix& candidate) {
            return candidate.connected && candidate.prefix.contains(gateway);
        };
        if (std::ranges::any_of(host, holds)) {
            result.push_back(gateway);
        }
    }
    return result;
}

namespace {

// There may be tens of thousands.
bool lies_within(const std::set<IpPrefix>& prefixes, const IpPrefix& prefix) {
    for (std::uint8_t length = 0; length < prefix.length(); ++length) {
        if (prefixes.contains(IpPrefix(prefix.address(), length))) {
            return true;
        }
    }
    return false;
}

}  // namespace

std::vector<IpPrefix> within_networks(const Config& config, const std::vector<link::HostPrefix>& host) {
    const std::vector<IpPrefix> networks = config.prefixes();
    std::vector<link::HostPrefix> candidates;
    const auto is_claim = [](const link::HostPrefix& candidate) {
        return !candidate.advertised || candidate.connected;  // an address of the host's
    };
    // Of as long a prefix in another table, the main one's comes first (policy_rules.h).
    const auto is_within = [&](const link::HostPrefix& candidate) {
        return is_claim(candidate) && std::ranges::any_of(networks, [&](const IpPrefix& network) {
                   return network.holds(candidate.prefix) &&
                          (network != candidate.prefix || candidate.table == RT_TABLE_MAIN);
               });
    };
    std::ranges::copy_if(host, std::back_inserter(candidates), is_within);
    std::ranges::stable_sort(candidates, {}, [](const link::HostPrefix& candidate) {
        const bool is_address = candidate.connected && candidate.prefix.is_single();
        return is_address ? 0 : candidate.prefix.length();
    });
    std::vector<IpPrefix> within;
    std::set<IpPrefix> kept;
    for (const link::HostPrefix& candidate : candidates) {
        const IpPrefix& prefix = candidate.prefix;
        if (!kept.contains(prefix) && (prefix.is_single() || !lies_within(kept, prefix))) {
            kept.insert(prefix);
            within.push_back(prefix);
        }
    }
    return within;
}

std::vector<IpPrefix> parts_of_table(const Config& config, const std::vector<link::HostPrefix>& host,
                                     std::uint32_t table) {
    const std::vector<IpPrefix> networks = config.prefixes();
    std::vector<link::HostPrefix> of_table;
    std::ranges::copy_if(host, std::back_inserter(of_table), [&](const link::HostPrefix& candidate) {
        return candidate.table == table && !std::ranges::contains(networks, candidate.prefix);
    });
    return within_networks(config, of_table);
}

std::vector<IpPrefix> first_of_each_family(const std::vector<IpPrefix>& prefixes, std::size_t count) {
    std::vector<IpPrefix> first;
    std::map<IpFamily, std::size_t> taken;
    std::ranges::copy_if(prefixes, std::back_inserter(first),
                         [&](const IpPrefix& prefix) { return taken[prefix.address().family()]++ < count; });
    return first;
}

std::vector<IpAddr> gateways(const Config& config, const std::vector<NetworkRecord>& made) {
    std::vector<IpAddr> result;
    for (const IpPrefix& prefix : config.prefixes()) {
        result.push_back(gateway_of(prefix));
    }
    for (const auto candidates : {std::span(kDefaultPrefixes4), std::span(kDefaultPrefixes6)}) {
        for (const std::string_view text : candidates) {
            result.push_back(gateway_of(*IpPrefix::parse(text)));
        }
    }
    for (const NetworkRecord& network : made) {
        result.push_back(network.gateway);
    }
    return result;
}

}  // namespace netkitd
