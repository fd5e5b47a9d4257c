#include "node/port_pool.h"

#include <algorithm>
#include <iterator>
#include <ranges>
#include <utility>

#include "base/format.h"
#include "base/join.h"
#include "base/parse_number.h"
#include "base/quote.h"

namespace netkitd {
namespace {

// As for a pool that is configured (config/read_masquerade.cpp).
constexpr unsigned kFewestPoolPorts = 1024;

unsigned count(const PortRange& ports) {
    return ports.last < ports.first ? 0 : ports.last - ports.first + 1U;
}

bool holds(const PortRange& ports, unsigned port) {
    return port >= ports.first && port <= ports.last;
}

// A port that the host's own connections can get, if masquerade does not.
bool is_hosts(const HostPorts& host, unsigned port) {
    return holds(host.ephemeral, port) &&
           std::ranges::none_of(host.reserved, [&](const PortRange& reserved) { return holds(reserved, port); });
}

unsigned count_hosts(const HostPorts& host, const PortRange& within) {
    unsigned free = 0;
    for (unsigned port = within.first; port <= within.last; ++port) {
        free += is_hosts(host, port) ? 1U : 0U;
    }
    return free;
}

// The pool without as many ports from its one end as it takes for `missing` more of the host's.
PortRange without_first(PortRange pool, const HostPorts& host, unsigned missing) {
    while (missing > 0 && pool.first < pool.last) {
        missing -= is_hosts(host, pool.first) ? 1U : 0U;
        ++pool.first;
    }
    return pool;
}

PortRange without_last(PortRange pool, const HostPorts& host, unsigned missing) {
    while (missing > 0 && pool.first < pool.last) {
        missing -= is_hosts(host, pool.last) ? 1U : 0U;
        --pool.last;
    }
    return pool;
}

Result<PortRange> parse_port_range(std::string_view text) {
    const auto dash = text.find('-');
    const auto first = parse_number<std::uint16_t>(text.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_number<std::uint16_t>(text.substr(dash + 1));
    if (!first || !last || *last < *first) {
        return fail(ErrorKind::invalid, "{} is not a port, nor a range of ports", quote(text));
    }
    return PortRange{.first = *first, .last = *last};
}

// As few as there can be.
PortRanges merged(PortRanges all) {
    std::ranges::sort(all, {}, &PortRange::first);
    PortRanges ranges;
    for (const PortRange& next : all) {
        if (!ranges.empty() && next.first <= ranges.back().last + 1U) {
            ranges.back().last = std::max(ranges.back().last, next.last);
        } else {
            ranges.push_back(next);
        }
    }
    return ranges;
}

}  // namespace

Result<PortRanges> parse_port_ranges(std::string_view text) {
    PortRanges parsed;
    for (const auto part : std::views::split(text, ',')) {
        if (!part.empty()) {
            parsed.push_back(NK_TRY(parse_port_range(std::string_view(part))));
        }
    }
    return merged(std::move(parsed));
}

std::string port_ranges_text(const std::set<std::uint16_t>& ports, const PortRange& more) {
    PortRanges all{more};
    std::ranges::transform(ports, std::back_inserter(all),
                           [](std::uint16_t port) { return PortRange{.first = port, .last = port}; });
    const auto text_of = [](const PortRange& range) {
        return range.first == range.last ? formatted("{}", range.first) : formatted("{}-{}", range.first, range.last);
    };
    return join(merged(std::move(all)), text_of, ",");
}

Result<void> check_published_ports(const std::set<std::uint16_t>& published, const PortRange& pool,
                                   const HostPorts& host) {
    const unsigned before = count_hosts(host, host.ephemeral) - count_hosts(host, pool);
    const auto taken = std::ranges::count_if(
        published, [&](std::uint16_t port) { return is_hosts(host, port) && !holds(pool, port); });
    const unsigned needed = std::min(before, kFewestBesidePublished);
    if (static_cast<unsigned>(taken) + needed <= before) {
        return {};
    }
    return fail(ErrorKind::refused,
                "published ports would leave this host {} ports for its own connections (net.ipv4.ip_local_port_range "
                "is {}-{}), and it keeps {}: publish by ports below those",
                before - static_cast<unsigned>(taken), host.ephemeral.first, host.ephemeral.last, needed);
}

Result<PortRange> settle_port_pool(const PortRange& wanted, bool by_default, const HostPorts& host) {
    const unsigned hosts = count_hosts(host, host.ephemeral);
    const unsigned shared = count_hosts(host, wanted);
    const unsigned needed = std::min(hosts, kFewestHostPorts);
    if (hosts - shared >= needed) {
        return wanted;
    }
    const unsigned missing = needed - (hosts - shared);
    const std::string trouble = formatted(
        "masquerade.ports {}-{} would leave this host {} ports for its own connections (net.ipv4.ip_local_port_range "
        "is "
        "{}-{}), and it keeps {}",
        wanted.first, wanted.last, hosts - shared, host.ephemeral.first, host.ephemeral.last, needed);
    if (!by_default) {
        return fail(ErrorKind::refused, "{}: choose other ports, or give the host another range", trouble);
    }
    const PortRange upper = without_first(wanted, host, missing);
    const PortRange lower = without_last(wanted, host, missing);
    const PortRange settled = count(upper) >= count(lower) ? upper : lower;
    if (count(settled) < kFewestPoolPorts) {
        return fail(ErrorKind::refused, "{}, and less of them is too little: give masquerade other `ports`", trouble);
    }
    return settled;
}

}  // namespace netkitd
