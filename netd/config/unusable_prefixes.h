// Prefixes that a configuration may not mean by mistake: what is in them is nobody's own address.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "base/ip_addr.h"

namespace netkitd {

// RFC 6890, table by table: never the address of a container.
inline constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kUnusablePrefixes{{
    {"0.0.0.0/8", "this network"},
    {"127.0.0.0/8", "loopback"},
    {"169.254.0.0/16", "link-local"},
    {"224.0.0.0/4", "multicast"},
    {"240.0.0.0/4", "reserved"},
    {"::/8", "unspecified, loopback, IPv4-mapped and translated addresses"},
    {"fe80::/10", "link-local"},
    {"ff00::/8", "multicast"},
}};

// The unusable prefix that holds all of `prefix`, and its name; nothing if there is none.
[[nodiscard]] std::string why_unusable(const IpPrefix& prefix);

}  // namespace netkitd
