// A network of containers, as the node's administrator wants it: its prefixes, and how its packets leave the node.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip_addr.h"

namespace netkitd {

// The first address of a network's prefix; the host owns it.
[[nodiscard]] IpAddr gateway_of(const IpPrefix& prefix);

// How a network's packets of one family leave the node.
struct Masquerade {
    bool enabled = true;                          // false: routed, with the containers' own addresses
    std::optional<IpAddr> source = std::nullopt;  // an address of the host; default: the one that the route chooses
    bool operator==(const Masquerade&) const = default;
};

struct NetworkConfig {
    std::string name;
    IpPrefix ipv4;
    std::optional<IpPrefix> ipv6 = std::nullopt;
    std::optional<std::uint32_t> mtu = std::nullopt;  // kMinMtu … kMaxMtu; default: the smallest MTU of the uplinks
    bool isolated = false;  // reaches the host and the outside, but no other network, nor is it reached from one
    bool accept_forwarded = false;  // what the host's stack forwards to its containers gets in, whoever sent it
    // The prefix is one of config/default_prefixes.h, and may be another of them: nobody asked for this one.
    bool any_ipv4 = false;
    bool any_ipv6 = false;
    Masquerade masquerade4 = {};
    Masquerade masquerade6 = {};
    std::vector<IpAddr> dns = {};  // name servers of its containers; empty: the host's

    [[nodiscard]] const Masquerade& masquerade(IpFamily family) const {
        return family == IpFamily::v4 ? masquerade4 : masquerade6;
    }
    [[nodiscard]] IpAddr gateway4() const;
    [[nodiscard]] std::optional<IpAddr> gateway6() const;
    // Those that it has, IPv4 first.
    [[nodiscard]] std::vector<IpPrefix> prefixes() const;
    bool operator==(const NetworkConfig&) const = default;
};

}  // namespace netkitd
