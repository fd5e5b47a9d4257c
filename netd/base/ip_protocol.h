// The names of the transport protocols that users meet (IANA, "Protocol Numbers").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace netkitd {

// "tcp", "icmpv6", …; a number in decimal where there is no name.
[[nodiscard]] std::string protocol_name(std::uint8_t protocol);
// The inverse, of names only.
[[nodiscard]] std::optional<std::uint8_t> protocol_from(std::string_view name);
// "tcp, udp, …", for messages.
[[nodiscard]] std::string protocol_names();

}  // namespace netkitd
