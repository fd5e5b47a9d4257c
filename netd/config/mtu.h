// The MTUs that may be asked for, by the configuration and by annotation.
#pragma once

#include <cstdint>

namespace netkitd {

inline constexpr std::uint32_t kMinMtu = 1280;   // RFC 8200, section 5: the least that IPv6 works with
inline constexpr std::uint32_t kMaxMtu = 65535;  // the largest IPv4 packet: RFC 791, section 3.1, Total Length

}  // namespace netkitd
