// Sizes in netlink messages, as libmnl's macros give them but without their signed arithmetic.
#pragma once

#include <linux/netlink.h>

#include <cstddef>

namespace netkitd::link {

// Messages and attributes start at multiples of this (NLMSG_ALIGNTO, NLA_ALIGNTO).
inline constexpr std::size_t kNetlinkAlignment = 4;

constexpr std::size_t netlink_align(std::size_t size) {
    return (size + kNetlinkAlignment - 1) / kNetlinkAlignment * kNetlinkAlignment;
}

inline constexpr std::size_t kMessageHeaderSize = netlink_align(sizeof(nlmsghdr));
inline constexpr std::size_t kAttributeHeaderSize = netlink_align(sizeof(nlattr));

}  // namespace netkitd::link
