#include "config/names.h"

#include <net/if.h>

#include <algorithm>

#include "base/quote.h"

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

}  // namespace netkitd
