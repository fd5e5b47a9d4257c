#include "node/container_names.h"

#include <algorithm>
#include <functional>
#include <iterator>

#include "base/format.h"
#include "base/join.h"

namespace netkitd {
namespace {

constexpr std::string_view kWayOut =
    "name servers that containers reach by `dns` of their network in netkitd.json or by the annotation io.netkitd.dns";

std::string line(std::string_view keyword, const std::vector<std::string>& words) {
    return words.empty() ? "" : formatted("{} {}\n", keyword, join(words, {}, " "));
}

}  // namespace

std::string why_no_names(const link::ResolverSettings& host) {
    if (!host.servers.empty()) {
        return "";
    }
    if (host.unreachable.empty()) {
        return formatted("this host's /etc/resolv.conf names no server: give {}", kWayOut);
    }
    return formatted("no server of this host's {} is one for containers ({}): give {}", host.file,
                     join(host.unreachable), kWayOut);
}

ContainerNames container_names(const link::ResolverSettings& host, const std::vector<IpAddr>& chosen, bool ipv6) {
    ContainerNames names;
    std::ranges::copy_if(chosen.empty() ? host.servers : chosen, std::back_inserter(names.servers),
                         [&](const IpAddr& server) { return ipv6 || server.is_v4(); });
    if (names.servers.empty()) {
        names.obstacle = chosen.empty() && host.servers.empty()
                             ? why_no_names(host)
                             : "all name servers have IPv6 addresses, and the container has none: give one that has an "
                               "IPv4 address (io.netkitd.dns)";
        names.resolv_conf = formatted("# Of netkitd: {}\n", names.obstacle);
        return names;
    }
    names.resolv_conf = chosen.empty() ? formatted("# Of netkitd, from {} of the host\n", host.file)
                                       : "# Of netkitd, with the servers that were asked for\n";
    names.resolv_conf += line("search", host.search);
    for (const IpAddr& server : names.servers) {
        names.resolv_conf += formatted("nameserver {}\n", server.to_string());
    }
    names.resolv_conf += line("options", host.options);
    return names;
}

}  // namespace netkitd
