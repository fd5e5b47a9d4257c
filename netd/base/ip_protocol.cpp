#include "base/ip_protocol.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <ranges>
#include <utility>

#include "base/join.h"

namespace netkitd {
namespace {

constexpr std::array<std::pair<std::string_view, std::uint8_t>, 6> kProtocols{{{"tcp", IPPROTO_TCP},
                                                                               {"udp", IPPROTO_UDP},
                                                                               {"udplite", IPPROTO_UDPLITE},
                                                                               {"sctp", IPPROTO_SCTP},
                                                                               {"icmp", IPPROTO_ICMP},
                                                                               {"icmpv6", IPPROTO_ICMPV6}}};

}  // namespace

std::string protocol_name(std::uint8_t protocol) {
    const auto* known = std::ranges::find(kProtocols, protocol, [](const auto& entry) { return entry.second; });
    return known == kProtocols.end() ? std::to_string(protocol) : std::string(known->first);
}

std::optional<std::uint8_t> protocol_from(std::string_view name) {
    const auto* known = std::ranges::find(kProtocols, name, [](const auto& entry) { return entry.first; });
    return known == kProtocols.end() ? std::nullopt : std::optional(known->second);
}

std::string protocol_names() {
    return join(kProtocols | std::views::keys);
}

}  // namespace netkitd
