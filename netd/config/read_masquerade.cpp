#include "config/read_masquerade.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "abi.h"
#include "base/parse_number.h"
#include "base/quote.h"
#include "config/read_lifetimes.h"
#include "config/unusable_prefixes.h"

namespace netkitd {
namespace {

// Below are the well-known ports, which the host's services listen on (RFC 6335, section 6).
constexpr std::uint16_t kLowestMasqueradePort = 1024;
// As many flows at once as all containers together can have to one remote address and port. With fewer, a handful of
// busy containers exhausts the pool, and finding a free port in it becomes a search.
constexpr unsigned kFewestMasqueradePorts = 1024;

Result<IpAddr> parse_masquerade_source(std::string_view text, IpFamily family) {
    const char* const wanted = family == IpFamily::v4 ? "IPv4" : "IPv6";
    const auto address = IpAddr::parse(text);
    if (!address || address->family() != family) {
        return fail(ErrorKind::invalid, "{} is not an {} address", quote(text), wanted);
    }
    if (const std::string reason = why_unusable(IpPrefix::single(*address)); !reason.empty()) {
        return fail(ErrorKind::invalid, "{} is in {}; take an address of this host that others can reach",
                    address->to_string(), reason);
    }
    return *address;
}

// true: masqueraded; false: routed; an address of this host: masqueraded with that one.
Result<void> read_family_masquerade(const ConfigObject& object, std::string_view key, IpFamily family,
                                    Masquerade& result) {
    const ConfigJson* const value = object.find(key);
    if (value == nullptr) {
        return {};
    }
    if (value->is_boolean()) {
        result = {.enabled = value->get<bool>()};
        return {};
    }
    if (!value->is_string()) {
        return fail(ErrorKind::invalid, "{}: must be true, false, or an address of this host, not {}",
                    object.path_of(key), value->type_name());
    }
    result = {.enabled = true,
              .source = NK_TRY_CONTEXT(object.path_of(key),
                                       parse_masquerade_source(value->get_ref<const std::string&>(), family))};
    return {};
}

// "49152-65535"
std::optional<PortRange> parse_port_range(std::string_view text) {
    const auto dash = std::min(text.find('-'), text.size());
    const auto first = parse_number<std::uint16_t>(text.substr(0, dash));
    const auto last = parse_number<std::uint16_t>(text.substr(std::min(dash + 1, text.size())));
    return first && last ? std::optional(PortRange{.first = *first, .last = *last}) : std::nullopt;
}

Result<PortRange> check_port_range(std::string_view text) {
    const auto range = parse_port_range(text);
    if (!range || range->first > range->last) {
        return fail(ErrorKind::invalid, "{} is not a range of ports, like \"49152-65535\"", quote(text));
    }
    if (range->first < kLowestMasqueradePort) {
        return fail(ErrorKind::invalid, "{} begins below port {}; those belong to the host's services", quote(text),
                    kLowestMasqueradePort);
    }
    if (range->last - range->first + 1U < kFewestMasqueradePorts) {
        return fail(ErrorKind::invalid, "{} has fewer than {} ports, too few for all containers of a node", quote(text),
                    kFewestMasqueradePorts);
    }
    return *range;
}

Result<IpPrefix> parse_non_masquerade(const std::string& text) {
    const IpPrefix prefix = NK_TRY(IpPrefix::parse(text));
    if (prefix.length() == 0) {
        return fail(ErrorKind::invalid,
                    "{} is everything: turn masquerade off instead, by masquerade.enabled or for a network by "
                    "networks.NAME.masquerade",
                    prefix.to_string());
    }
    if (const std::string reason = why_unusable(prefix); !reason.empty()) {
        return fail(ErrorKind::invalid, "{} is in {}: no packet is ever routed there", prefix.to_string(), reason);
    }
    return prefix;
}

Result<std::vector<IpPrefix>> read_non_masquerade(const ConfigObject& object) {
    constexpr std::string_view kKey = "non_masquerade_cidrs";
    std::vector<IpPrefix> result;
    std::array<std::size_t, 2> count{};  // of each family
    for (const std::string& text : NK_TRY(object.strings(kKey))) {
        const std::string path = formatted("{}[{}]", object.path_of(kKey), result.size());
        const IpPrefix prefix = NK_TRY_CONTEXT(path, parse_non_masquerade(text));
        if (std::ranges::contains(result, prefix)) {
            return fail(ErrorKind::invalid, "{}: {} is there twice", path, prefix.to_string());
        }
        if (++count.at(prefix.address().is_v4() ? 0 : 1) > NK_MAX_NON_MASQUERADE) {
            return fail(ErrorKind::invalid, "{}: more than {} prefixes of one family", object.path_of(kKey),
                        NK_MAX_NON_MASQUERADE);
        }
        result.push_back(prefix);
    }
    return result;
}

}  // namespace

Result<void> read_masquerade(const ConfigObject& top, Config& config) {
    const ConfigJson* const value = top.find("masquerade");
    if (value == nullptr) {
        return {};
    }
    const ConfigObject object =
        NK_TRY(ConfigObject::of(*value, "masquerade", {"enabled", "non_masquerade_cidrs", "ports", "lifetimes"}));
    config.masquerade = NK_TRY(object.boolean("enabled")).value_or(config.masquerade);
    config.non_masquerade = NK_TRY(read_non_masquerade(object));
    config.lifetimes = NK_TRY(read_lifetimes(object));
    if (const auto ports = NK_TRY(object.string("ports"))) {
        config.masquerade_ports = NK_TRY_CONTEXT(object.path_of("ports"), check_port_range(*ports));
        config.any_masquerade_ports = false;
    }
    return {};
}

Result<void> read_network_masquerade(const ConfigObject& object, NetworkConfig& network) {
    const ConfigJson* const value = object.find("masquerade");
    if (value == nullptr) {
        return {};
    }
    const std::string path = object.path_of("masquerade");
    if (value->is_boolean()) {
        network.masquerade4.enabled = network.masquerade6.enabled = value->get<bool>();
        return {};
    }
    if (!value->is_object()) {
        return fail(ErrorKind::invalid, "{}: must be true, false, or an object with ipv4 and ipv6, not {}", path,
                    value->type_name());
    }
    const ConfigObject families = NK_TRY(ConfigObject::of(*value, path, {"ipv4", "ipv6"}));
    NK_TRY(read_family_masquerade(families, "ipv4", IpFamily::v4, network.masquerade4));
    NK_TRY(read_family_masquerade(families, "ipv6", IpFamily::v6, network.masquerade6));
    if (network.masquerade6.source && !network.ipv6) {
        return fail(ErrorKind::invalid, "{}: the network has no IPv6 prefix", families.path_of("ipv6"));
    }
    return {};
}

}  // namespace netkitd
