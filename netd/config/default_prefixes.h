// The prefixes that the network `default` may have where the configuration gives it none: the first that the host has
// no use for (node/settle_prefixes.h).
#pragma once

#include <array>
#include <string_view>

namespace netkitd {

// Parts of RFC 1918's blocks that few defaults claim (Docker has 172.17/16 to 172.28/14 and 192.168.0/20 to
// 192.168.240/20 one after the other, Podman 10.88/16, Kubernetes often 10.96/12 and 10.244/16), of each block one, as
// a company's route may be to all of another.
inline constexpr std::array<std::string_view, 4> kDefaultPrefixes4{"10.77.0.0/16", "10.177.0.0/16", "172.30.0.0/16",
                                                                   "192.168.208.0/20"};
// Unique local prefixes (RFC 4193), "n", "k", "d" in ASCII. Fixed rather than random, so that documentation and tests
// can name addresses and a node that lost its state has the same ones: nobody else sees them, as masquerade is on. Who
// turns masquerade off and routes the prefix gives the network one of their own.
inline constexpr std::array<std::string_view, 4> kDefaultPrefixes6{"fd6e:6b64::/64", "fd6e:6b64:0:1::/64",
                                                                   "fd6e:6b64:0:2::/64", "fd6e:6b64:0:3::/64"};

}  // namespace netkitd
