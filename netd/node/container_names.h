// What a container's /etc/resolv.conf says. Whoever starts the container puts it there (hook/oci/container_files.h).
#pragma once

#include <string>
#include <vector>

#include "base/ip_addr.h"
#include "link/resolv_conf.h"

namespace netkitd {

struct ContainerNames {
    std::vector<IpAddr> servers;
    std::string resolv_conf;  // its text; without servers, a comment that says why and what to do
    std::string obstacle;     // empty, or why there are no servers
};

// The servers are `chosen` (of the annotation or the network), else the host's; domains and options are the host's.
// Without `ipv6`, IPv6 servers are left out: the container cannot reach them.
[[nodiscard]] ContainerNames container_names(const link::ResolverSettings& host, const std::vector<IpAddr>& chosen,
                                             bool ipv6);

// Empty, or why the host's settings have no server for containers, and what to do.
[[nodiscard]] std::string why_no_names(const link::ResolverSettings& host);

}  // namespace netkitd
