#include "base/published_port.h"

#include <algorithm>
#include <array>
#include <ranges>
#include <set>
#include <span>

#include "base/format.h"
#include "base/ip_protocol.h"
#include "base/join.h"
#include "base/parse_number.h"
#include "base/quote.h"

namespace netkitd {
namespace {

struct Range {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
    [[nodiscard]] int size() const { return last - first + 1; }
};

// A list's item as it was written, for messages.
Error wrong(std::string_view item, std::string_view why) {
    return {ErrorKind::invalid, formatted("{}: {}", quote(item), why)};
}

std::optional<Range> parse_range(std::string_view text) {
    const auto dash = text.find('-');
    const auto first = parse_number<std::uint16_t>(text.substr(0, dash), 1);
    const auto last = dash == std::string_view::npos ? first : parse_number<std::uint16_t>(text.substr(dash + 1), 1);
    return first && last && *first <= *last ? std::optional(Range{.first = *first, .last = *last}) : std::nullopt;
}

Result<std::uint8_t> parse_protocol(std::string_view text) {
    const auto protocol = protocol_from(text);
    if (!protocol || (*protocol != IPPROTO_TCP && *protocol != IPPROTO_UDP && *protocol != IPPROTO_SCTP)) {
        return fail(ErrorKind::invalid, "the protocol is tcp, udp or sctp, not {}", quote(text));
    }
    return *protocol;
}

// What is on no wire, or each link has its own; IPv4 is not written as IPv6 either.
constexpr std::array<std::string_view, 6> kNobodys{"0.0.0.0/8",     "224.0.0.0/3", "::/128",
                                                   "::ffff:0:0/96", "fe80::/10",   "ff00::/8"};
constexpr std::array<std::string_view, 2> kLoopback{"127.0.0.0/8", "::1/128"};

bool lies_in(const IpPrefix& prefix, std::span<const std::string_view> others) {
    return std::ranges::any_of(others, [&](std::string_view text) {
        const auto other = IpPrefix::parse(text);
        return other && other->holds(prefix);
    });
}

// Takes "ADDRESS:" or "[ADDRESS]:" off the beginning, if it is there.
Result<std::optional<IpAddr>> take_address(std::string_view& text) {
    std::string_view address;
    if (text.starts_with('[')) {
        const auto end = text.find("]:");
        if (end == std::string_view::npos) {
            return fail(ErrorKind::invalid, "an IPv6 address is written in brackets, [2001:db8::7]:443:8443");
        }
        address = text.substr(1, end - 1);
        text.remove_prefix(end + 2);
    } else if (std::ranges::count(text, ':') == 2) {
        address = text.substr(0, text.find(':'));
        text.remove_prefix(address.size() + 1);
    } else {
        return std::nullopt;
    }
    const auto parsed = IpAddr::parse(address);
    if (!parsed) {
        return fail(ErrorKind::invalid, "{} is no address", quote(address));
    }
    if (!may_have_ports(IpPrefix::single(*parsed))) {
        return fail(ErrorKind::invalid, "no port is published at {}: leave the address out for all that the host has",
                    parsed->to_string());
    }
    return *parsed;
}

Result<std::vector<IpPrefix>> parse_sources(std::string_view text) {
    std::set<IpPrefix> sources;
    for (const auto part : std::views::split(text, '+')) {
        const IpPrefix source = NK_TRY(IpPrefix::parse_or_address(std::string_view(part)));
        if (lies_in(source, kNobodys) || lies_in(source, kLoopback)) {
            return fail(ErrorKind::invalid, "`allow`: nobody comes from {} (this host itself always may)",
                        source.to_string());
        }
        sources.insert(source);
    }
    if (sources.empty()) {
        return fail(ErrorKind::invalid, "`allow` is followed by addresses or prefixes, 198.51.100.0/24+2001:db8::7");
    }
    return std::vector(sources.begin(), sources.end());
}

// What stands behind `;`.
struct Options {
    std::vector<IpPrefix> allowed;
    std::chrono::seconds hold{};
};

Result<std::chrono::seconds> parse_hold(std::string_view text) {
    const auto seconds = parse_number<std::uint16_t>(text, 1);
    if (!seconds || std::chrono::seconds(*seconds) > kMaxHold) {
        return fail(ErrorKind::invalid, "`hold` is followed by seconds, 1 to {}, not by {}", kMaxHold.count(),
                    quote(text));
    }
    return std::chrono::seconds(*seconds);
}

Result<void> take_option(std::string_view option, Options& options) {
    constexpr std::string_view kAllow = "allow=";
    constexpr std::string_view kHold = "hold=";
    if (option.starts_with(kAllow) && options.allowed.empty()) {
        options.allowed = NK_TRY(parse_sources(option.substr(kAllow.size())));
        return {};
    }
    if (option.starts_with(kHold) && options.hold == std::chrono::seconds::zero()) {
        options.hold = NK_TRY(parse_hold(option.substr(kHold.size())));
        return {};
    }
    return fail(ErrorKind::invalid,
                "behind `;` stands allow=198.51.100.0/24+2001:db8::7 or hold=10, each once at most, not {}",
                quote(option));
}

// Takes ";allow=…;hold=…" off the end, if it is there.
Result<Options> take_options(std::string_view& text) {
    Options options;
    const std::string_view all = text;
    text = all.substr(0, all.find(';'));
    for (const auto option : std::views::split(all, ';') | std::views::drop(1)) {
        NK_TRY(take_option(std::string_view(option), options));
    }
    return options;
}

// An `allow` that lets nobody come who does not come anyway.
Result<void> check_allowed(const std::optional<IpAddr>& address, const std::vector<IpPrefix>& allowed) {
    if (!address || allowed.empty()) {
        return {};
    }
    if (address->is_loopback()) {
        return fail(ErrorKind::invalid,
                    "`allow`: nobody but this host comes to {}, and it always may: leave `allow` out",
                    address->to_string());
    }
    const auto is_alike = [&](const IpPrefix& prefix) { return prefix.address().family() == address->family(); };
    if (std::ranges::none_of(allowed, is_alike)) {
        return fail(ErrorKind::invalid, "`allow` names no {} address, so nobody could come to {}",
                    address->is_v4() ? "IPv4" : "IPv6", address->to_string());
    }
    return {};
}

std::string why_no_ports(std::string_view item) {
    if (item.empty()) {
        return "nothing stands there, or behind a comma";
    }
    if (item.contains(' ')) {
        return "no space belongs between commas";
    }
    return "it is not like 8080:80/tcp, 203.0.113.7:80:80, [2001:db8::7]:80:80 or 9000-9003:9000-9003 (ports are 1 to "
           "65535, the lower one first)";
}

Result<void> add_item(std::string_view item, std::vector<PublishedPort>& ports) {
    const auto prefix = IpPrefix::parse_or_address(item);
    if (prefix && (prefix->address().is_v4() || item.contains('/'))) {
        return std::unexpected(
            wrong(item, "it has no ports; if `allow` is to have it, '+' stands before it and no comma"));
    }
    std::string_view rest = item;
    const Options options = NK_TRY_CONTEXT(quote(item), take_options(rest));
    std::uint8_t protocol = IPPROTO_TCP;
    if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
        protocol = NK_TRY_CONTEXT(quote(item), parse_protocol(rest.substr(slash + 1)));
        rest = rest.substr(0, slash);
    }
    const auto address = NK_TRY_CONTEXT(quote(item), take_address(rest));
    NK_TRY_CONTEXT(quote(item), check_allowed(address, options.allowed));
    const auto colon = rest.find(':');
    const auto host = parse_range(rest.substr(0, colon));
    const auto container = colon == std::string_view::npos ? std::nullopt : parse_range(rest.substr(colon + 1));
    if (!host || !container) {
        return std::unexpected(wrong(item, why_no_ports(item)));
    }
    if (host->size() != container->size()) {
        return std::unexpected(wrong(item, formatted("{} ports of the host's can't lead to {} of the container's",
                                                     host->size(), container->size())));
    }
    if (protocol == IPPROTO_SCTP && host->first != container->first) {
        return std::unexpected(
            wrong(item, "SCTP keeps its port (its checksum is over the ports as well): publish it by the same one"));
    }
    if (protocol != IPPROTO_TCP && options.hold != std::chrono::seconds::zero()) {
        return std::unexpected(wrong(item, "`hold` is for tcp, whose clients ask again"));
    }
    for (int i = 0; i < host->size(); ++i) {
        if (ports.size() == kMaxPublishedPorts) {
            return std::unexpected(wrong(
                item, formatted("a container may publish {} ports, with this there are more", kMaxPublishedPorts)));
        }
        ports.push_back({.address = address,
                         .port = static_cast<std::uint16_t>(host->first + i),
                         .container_port = static_cast<std::uint16_t>(container->first + i),
                         .protocol = protocol,
                         .allowed = options.allowed,
                         .hold = options.hold});
    }
    return {};
}

// By port, so that those that clash are side by side but for their addresses.
Result<void> refuse_clashes(const std::vector<PublishedPort>& ports) {
    for (std::size_t i = 0; i < ports.size(); ++i) {
        for (std::size_t j = i + 1; j < ports.size(); ++j) {
            if (ports[i].clashes_with(ports[j])) {
                return fail(ErrorKind::invalid, "{} and {} are one port of the host's", ports[i].to_string(),
                            ports[j].to_string());
            }
        }
    }
    return {};
}

Result<void> refuse_many_sources(const std::vector<PublishedPort>& ports) {
    std::set<IpPrefix> sources;
    std::size_t listed = 0;
    for (const PublishedPort& port : ports) {
        sources.insert(port.allowed.begin(), port.allowed.end());
        listed += port.allowed.size();
    }
    if (sources.size() > kMaxAllowedSources) {
        return fail(ErrorKind::invalid, "{} addresses and prefixes are allowed to come: a container may name {}",
                    sources.size(), kMaxAllowedSources);
    }
    if (listed > kMaxListedSources) {
        return fail(ErrorKind::invalid,
                    "the ports' `allow` lists have {} addresses and prefixes together: a container's may have {}, so "
                    "allow wider prefixes, or publish fewer ports",
                    listed, kMaxListedSources);
    }
    return {};
}

}  // namespace

std::string PublishedPort::to_string() const {
    std::string ports = formatted("{}:{}/{}", port, container_port, protocol_name(protocol));
    if (!address) {
        return ports;
    }
    return address->is_v4() ? formatted("{}:{}", address->to_string(), ports)
                            : formatted("[{}]:{}", address->to_string(), ports);
}

std::string PublishedPort::to_full_string() const {
    std::string text = to_string();
    if (!allowed.empty()) {
        text += formatted(";allow={}", join(allowed, &IpPrefix::to_string, "+"));
    }
    if (hold != std::chrono::seconds::zero()) {
        text += formatted(";hold={}", hold.count());
    }
    return text;
}

bool may_have_ports(const IpPrefix& prefix) {
    return !lies_in(prefix, kNobodys);
}

bool PublishedPort::clashes_with(const PublishedPort& other) const {
    return port == other.port && protocol == other.protocol &&
           (!address || !other.address || *address == *other.address);
}

Result<std::vector<PublishedPort>> parse_published_ports(std::string_view text) {
    std::vector<PublishedPort> ports;
    std::vector<std::string_view> items(1, text);  // also of an empty text
    while (items.back().contains(',')) {
        const std::string_view rest = items.back();
        items.back() = rest.substr(0, rest.find(','));
        items.push_back(rest.substr(rest.find(',') + 1));
    }
    for (const std::string_view item : items) {
        NK_TRY(add_item(item, ports));
    }
    NK_TRY(refuse_clashes(ports));
    NK_TRY(refuse_many_sources(ports));
    std::ranges::sort(ports);
    return ports;
}

std::string to_string(const std::vector<PublishedPort>& ports) {
    return join(ports, &PublishedPort::to_full_string, ",");
}

}  // namespace netkitd
