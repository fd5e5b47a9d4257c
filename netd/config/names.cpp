#include "config/names.h"

#include <net/if.h>

#include <algorithm>

#include "base/quote.h"
#include "link/resolv_conf.h"

namespace netkitd {
namespace {

constexpr std::size_t kMaxNetworkName = 32;

bool is_name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

bool is_device_character(char c) {
    return c > ' ' && c <= '~' && c != '/' && c != ':' && c != '%';
}

}  // namespace

Result<void> check_network_name(std::string_view name) {
    if (name.empty() || name.size() > kMaxNetworkName || name.front() == '-' ||
        !std::ranges::all_of(name, is_name_character)) {
        return fail(ErrorKind::invalid,
                    "{} is not a network name: 1 to {} lower-case letters, digits and '-', not starting with '-'",
                    quote(name), kMaxNetworkName);
    }
    return {};
}

Result<void> check_interface_name(std::string_view name) {
    if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == ".." ||
        !std::ranges::all_of(name, is_device_character)) {
        return fail(ErrorKind::invalid,
                    "{} is not an interface name: 1 to {} printable characters without space, '/', ':' and '%'",
                    quote(name), IFNAMSIZ - 1);
    }
    // /proc/sys/net/ipv4/conf/{all,default} are not devices.
    if (name == "lo" || name == "all" || name == "default") {
        return fail(ErrorKind::invalid, "{} is a name with a meaning of its own; choose another", quote(name));
    }
    return {};
}

Result<std::vector<IpAddr>> parse_name_servers(const std::vector<std::string>& texts) {
    std::vector<IpAddr> servers;
    for (const std::string& text : texts) {
        const auto address = IpAddr::parse(text);
        if (!address) {
            return fail(ErrorKind::invalid, "{} is not an IP address; give 1 to {} name servers, like 192.0.2.53",
                        quote(text), kMaxNameServers);
        }
        if (const std::string_view reason = link::why_no_name_server(*address); !reason.empty()) {
            return fail(ErrorKind::invalid, "{} {}: no container can ask a name server there", text, reason);
        }
        if (std::ranges::contains(servers, *address)) {
            return fail(ErrorKind::invalid, "{} is given twice", text);
        }
        servers.push_back(*address);
    }
    if (servers.empty() || servers.size() > kMaxNameServers) {
        return fail(ErrorKind::invalid, "{} name servers; 1 to {} are possible", servers.size(), kMaxNameServers);
    }
    return servers;
}

}  // namespace netkitd
