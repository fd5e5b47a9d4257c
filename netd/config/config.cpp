#include "config/config.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>

#include "abi.h"
#include "base/parse_number.h"
#include "base/quote.h"
#include "config/config_json.h"
#include "config/mtu.h"
#include "config/names.h"

namespace netkitd {
namespace {

constexpr std::string_view kDefaultNetwork = "default";
// A part of RFC 1918's 10/8 that nobody's defaults claim (Podman has 10.88/16, Kubernetes often 10.96/12
// and 10.244/16).
constexpr std::string_view kDefaultPrefix4 = "10.77.0.0/16";
// A unique local prefix (RFC 4193), "n", "k", "d" in ASCII. Fixed rather than random, so that documentation and tests
// can name addresses and a node that lost its state has the same ones: nobody else sees them, as masquerade is on. Who
// turns masquerade off and routes the prefix gives the network one of their own.
constexpr std::string_view kDefaultPrefix6 = "fd6e:6b64::/64";
constexpr std::size_t kMaxConfigBytes = 1024UL * 1024;

// The widest private block is a /8 (RFC 1918, section 3). A /29 has five addresses beside the gateway; anything
// narrower is a typo more likely than a network.
constexpr std::uint8_t kShortestPrefix4 = 8;
constexpr std::uint8_t kLongestPrefix4 = 29;
// The widest that one site has (RFC 4193, section 3.1: a 40-bit global id), and as few addresses as a /29.
constexpr std::uint8_t kShortestPrefix6 = 48;
constexpr std::uint8_t kLongestPrefix6 = 125;

// Below are the well-known ports, which the host's services listen on (RFC 6335, section 6).
constexpr std::uint16_t kLowestMasqueradePort = 1024;
// As many flows at once as all containers together can have to one remote address and port. With fewer, a handful of
// busy containers exhausts the pool, and finding a free port in it becomes a search.
constexpr unsigned kFewestMasqueradePorts = 1024;

// RFC 6890, table by table: never the address of a container.
constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kUnusablePrefixes{{
    {"0.0.0.0/8", "this network"},
    {"127.0.0.0/8", "loopback"},
    {"169.254.0.0/16", "link-local"},
    {"224.0.0.0/4", "multicast"},
    {"240.0.0.0/4", "reserved"},
    {"::/8", "unspecified, loopback, IPv4-mapped and translated addresses"},
    {"fe80::/10", "link-local"},
    {"ff00::/8", "multicast"},
}};

NetworkConfig default_network(bool masquerade) {
    return {.name = std::string(kDefaultNetwork),
            .ipv4 = *IpPrefix::parse(kDefaultPrefix4),
            .ipv6 = *IpPrefix::parse(kDefaultPrefix6),
            .masquerade4 = {.enabled = masquerade},
            .masquerade6 = {.enabled = masquerade}};
}

std::unexpected<Error> unsupported(std::string_view path) {
    return fail(ErrorKind::invalid, "{}: not supported by this version yet; remove it", path);
}

Result<void> refuse_if_present(const ConfigObject& object, std::string_view key) {
    if (object.find(key) != nullptr) {
        return unsupported(object.path_of(key));
    }
    return {};
}

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
        prefix = kDefaultPrefix6;
    }
    if (!prefix) {
        return std::nullopt;
    }
    return NK_TRY_CONTEXT(object.path_of("ipv6"), parse_network_prefix(*prefix, IpFamily::v6));
}

// The unusable prefix that holds all of `prefix`, and its name; nothing if there is none.
std::string why_unusable(const IpPrefix& prefix) {
    for (const auto& [unusable, name] : kUnusablePrefixes) {
        const auto whole = IpPrefix::parse(unusable);
        if (whole && whole->length() <= prefix.length() && whole->contains(prefix.address())) {
            return std::format("{}, {}", unusable, name);
        }
    }
    return "";
}

Result<IpAddr> parse_masquerade_source(std::string_view text, IpFamily family) {
    const char* const wanted = family == IpFamily::v4 ? "IPv4" : "IPv6";
    const auto address = IpAddr::parse(text);
    if (!address || address->family() != family) {
        return fail(ErrorKind::invalid, "{} is not an {} address", quote(text), wanted);
    }
    const IpPrefix only(*address, static_cast<std::uint8_t>(address->size() * 8));
    if (const std::string reason = why_unusable(only); !reason.empty()) {
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

Result<NetworkConfig> read_network(const std::string& name, const ConfigJson& value, const std::string& path,
                                   bool masquerade) {
    NK_TRY_CONTEXT("networks", check_network_name(name));
    const ConfigObject object =
        NK_TRY(ConfigObject::of(value, path, {"ipv4", "ipv6", "mtu", "isolated", "masquerade"}));
    std::optional<std::string> prefix = NK_TRY(object.string("ipv4"));
    if (!prefix && name == kDefaultNetwork) {
        prefix = kDefaultPrefix4;
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
                          .masquerade4 = {.enabled = masquerade},
                          .masquerade6 = {.enabled = masquerade}};
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

Result<std::vector<NetworkConfig>> read_networks(const ConfigObject& top, bool masquerade) {
    std::vector<NetworkConfig> networks;
    if (const ConfigJson* const value = top.find("networks"); value != nullptr) {
        if (!value->is_object()) {
            return fail(ErrorKind::invalid, "networks: must be an object of networks by name, not {}",
                        value->type_name());
        }
        for (const auto& item : value->items()) {
            networks.push_back(
                NK_TRY(read_network(item.key(), item.value(), std::format("networks.{}", item.key()), masquerade)));
        }
    }
    if (!std::ranges::contains(networks, kDefaultNetwork, &NetworkConfig::name)) {
        networks.push_back(default_network(masquerade));
    }
    NK_TRY(check_networks(networks));
    NK_TRY(check_sources(networks));
    return networks;
}

Result<std::vector<std::string>> read_uplinks(const ConfigObject& top) {
    std::vector<std::string> uplinks = NK_TRY(top.strings("uplinks"));
    if (uplinks.size() > NK_MAX_UPLINKS) {
        return fail(ErrorKind::invalid, "uplinks: {} devices; at most {} are possible", uplinks.size(), NK_MAX_UPLINKS);
    }
    for (auto name = uplinks.begin(); name != uplinks.end(); ++name) {
        NK_TRY_CONTEXT(std::format("uplinks[{}]", name - uplinks.begin()), check_interface_name(*name));
        if (std::find(uplinks.begin(), name, *name) != name) {
            return fail(ErrorKind::invalid, "uplinks: {} is there twice", *name);
        }
    }
    return uplinks;
}

Result<std::optional<link::DeviceMode>> read_device_mode(const ConfigObject& top) {
    const std::string text = NK_TRY(top.string("device_mode")).value_or("auto");
    if (text == "auto") {
        return std::nullopt;
    }
    const auto mode = link::parse_device_mode(text);
    if (!mode) {
        return fail(mode.error().kind(), "device_mode: {}, nor auto", mode.error().message());
    }
    return *mode;
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
        const std::string path = std::format("{}[{}]", object.path_of(kKey), result.size());
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

// Idle times are noticed a few seconds late (abi.h, nk_flow.last_seen_ns): nothing shorter is meant seriously.
constexpr std::uint32_t kShortestLife = 10;
constexpr std::uint32_t kLongestLife = 7 * 24 * 3600;

Result<FlowLifetimes> read_lifetimes(const ConfigObject& masquerade) {
    FlowLifetimes result;
    const ConfigJson* const value = masquerade.find("lifetimes");
    if (value == nullptr) {
        return result;
    }
    const ConfigObject object =
        NK_TRY(ConfigObject::of(*value, masquerade.path_of("lifetimes"),
                                {"new_seconds", "tcp_established_seconds", "tcp_half_closed_seconds",
                                 "tcp_closed_seconds", "udp_seconds", "icmp_seconds", "sctp_seconds"}));
    const auto read = [&](std::string_view key, std::chrono::seconds& life) -> Result<void> {
        if (const auto seconds = NK_TRY(object.number(key, kShortestLife, kLongestLife))) {
            life = std::chrono::seconds(*seconds);
        }
        return {};
    };
    NK_TRY(read("new_seconds", result.fresh));
    NK_TRY(read("tcp_established_seconds", result.tcp_established));
    NK_TRY(read("tcp_half_closed_seconds", result.tcp_half_closed));
    NK_TRY(read("tcp_closed_seconds", result.tcp_closed));
    NK_TRY(read("udp_seconds", result.udp));
    NK_TRY(read("icmp_seconds", result.icmp));
    NK_TRY(read("sctp_seconds", result.sctp));
    return result;
}

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
    }
    return {};
}

Result<std::string> read_store(const ConfigObject& top, std::string default_path) {
    std::string path = NK_TRY(top.string("store")).value_or(std::move(default_path));
    if (!path.starts_with('/') || path.ends_with('/') || path.contains('\0')) {
        return fail(ErrorKind::invalid, "store: {} is not the absolute path of a file", quote(path));
    }
    return path;
}

Result<Config> read_config(std::string_view text) {
    if (text.size() > kMaxConfigBytes) {
        return fail(ErrorKind::invalid, "larger than {} bytes", kMaxConfigBytes);
    }
    const ConfigJson json = NK_TRY(parse_config_json(text));
    const ConfigObject top = NK_TRY(ConfigObject::of(
        json, "", {"networks", "uplinks", "device_mode", "masquerade", "services", "big_tcp", "store"}));
    NK_TRY(refuse_if_present(top, "services"));
    Config config;
    NK_TRY(read_masquerade(top, config));
    config.networks = NK_TRY(read_networks(top, config.masquerade));
    config.uplinks = NK_TRY(read_uplinks(top));
    config.device_mode = NK_TRY(read_device_mode(top));
    config.big_tcp = NK_TRY(top.boolean("big_tcp")).value_or(config.big_tcp);
    config.store = NK_TRY(read_store(top, config.store));
    return config;
}

}  // namespace

IpAddr gateway_of(const IpPrefix& prefix) {
    return prefix.address().next();
}

IpAddr NetworkConfig::gateway4() const {
    return gateway_of(ipv4);
}

std::optional<IpAddr> NetworkConfig::gateway6() const {
    return ipv6.transform(gateway_of);
}

std::vector<IpPrefix> NetworkConfig::prefixes() const {
    return ipv6 ? std::vector{ipv4, *ipv6} : std::vector{ipv4};
}

std::vector<IpPrefix> Config::prefixes() const {
    std::vector<IpPrefix> result;
    for (const NetworkConfig& network : networks) {
        std::ranges::copy(network.prefixes(), std::back_inserter(result));
    }
    return result;
}

const NetworkConfig* Config::find_network(std::string_view name) const {
    const auto found = std::ranges::find(networks, name, &NetworkConfig::name);
    return found == networks.end() ? nullptr : &*found;
}

Config default_config() {
    Config config;
    config.networks.push_back(default_network(config.masquerade));
    return config;
}

Result<Config> parse_config(std::string_view text, const std::string& path) {
    return with_context(read_config(text), path);
}

Result<Config> load_config(const std::string& path) {
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        const int error = errno;
        if (error == ENOENT) {
            return fail(ErrorKind::not_found, "{}: there is no such file", path);
        }
        return fail_errno(error, "open {}", path);
    }
    // One byte more than allowed is enough to be refused.
    std::string text(kMaxConfigBytes + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (file.bad()) {
        return fail_errno(errno, "read {}", path);
    }
    text.resize(static_cast<std::size_t>(file.gcount()));
    return parse_config(text, path);
}

}  // namespace netkitd
