// The host's name servers, as its containers can use them.
//
// A container has a network namespace of its own: the host's loopback device is not there, and neither are the devices
// that scoped addresses name (fe80::1%eth0). So of /etc/resolv.conf the servers at such addresses are left out. Where a
// local resolver is the only one, its upstreams count instead, which the resolvers that hosts usually have write down:
//   systemd-resolved  /run/systemd/resolve/resolv.conf (systemd-resolved.service(8), "/etc/resolv.conf")
//   NetworkManager    /run/NetworkManager/no-stub-resolv.conf (NetworkManager.conf(5), "rc-manager")
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_addr.h"

namespace netkitd::link {

// A file's text; nothing when it cannot be read.
using ReadFile = std::function<std::optional<std::string>(const std::string& path)>;
// Of this host, at most 64 KiB.
[[nodiscard]] std::optional<std::string> read_host_file(const std::string& path);

// Empty, or why no container has a name server at this address: "listens on …".
[[nodiscard]] std::string_view why_no_name_server(const IpAddr& address);

struct ResolverSettings {
    std::vector<IpAddr> servers;
    std::vector<std::string> search;   // domains, resolv.conf(5)
    std::vector<std::string> options;  // "ndots:2"
    std::string file;                  // that they are from; empty when there is none
    // Servers of that file that a container cannot reach, with the reason.
    std::vector<std::string> unreachable;
    bool operator==(const ResolverSettings&) const = default;
};

// Of one file. What resolv.conf(5) does not know, and servers that are no addresses, are passed over, as libc does.
[[nodiscard]] ResolverSettings parse_resolv_conf(std::string_view text, const std::string& file);
[[nodiscard]] ResolverSettings find_resolver_settings(const ReadFile& read);

}  // namespace netkitd::link
