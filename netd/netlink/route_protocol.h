// By what netkitd's routes are told from others'.
#pragma once

#include <cstdint>

namespace netkitd::link {

// rtm_protocol of every route that is ours (`ip route show proto 120`); free in linux/rtnetlink.h and iproute2.
inline constexpr std::uint8_t kRouteProtocol = 120;

}  // namespace netkitd::link
