// How large the packets are that a device takes before it cuts them into segments (GSO), and that it joins from what it
// receives (GRO): ip-link(8). More than 64 KiB is BIG TCP, which the kernel does for TCP alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "netlink/socket.h"

namespace netkitd::link {

// What every device begins with (GSO_LEGACY_MAX_SIZE, linux/netdevice.h): the largest IP packet without BIG TCP.
inline constexpr std::uint32_t kLegacySegmentSize = 65536;

struct SegmentSizes {
    std::uint32_t gso = kLegacySegmentSize;
    std::uint32_t gro = kLegacySegmentSize;
    std::uint32_t gso_ipv4 = kLegacySegmentSize;
    std::uint32_t gro_ipv4 = kLegacySegmentSize;

    [[nodiscard]] static SegmentSizes all(std::uint32_t size) { return {size, size, size, size}; }
    // "gso_max_size 65536 gro_max_size 65536 gso_ipv4_max_size 65536 gro_ipv4_max_size 65536"
    [[nodiscard]] std::string to_string() const;
    [[nodiscard]] static Result<SegmentSizes> parse(const std::string& text);
    bool operator==(const SegmentSizes&) const = default;
};

class NetlinkAttributes;
class NetlinkRequest;
// Of a link message.
[[nodiscard]] SegmentSizes read_segment_sizes(const NetlinkAttributes& attributes);
// The kernel takes all of a request or nothing, in an order that is right: to set the size of IPv6 to 64 KiB or less
// also sets that of IPv4, which comes after it (do_setlink and rtnl_create_link in net/core/rtnetlink.c).
void put_segment_sizes(NetlinkRequest& request, const SegmentSizes& sizes);
[[nodiscard]] Result<void> set_segment_sizes(Netlink& netlink, std::uint32_t ifindex, const SegmentSizes& sizes);

// The other end of a pair, in whatever netns that is; it is not held by knowing this.
struct PeerEnd {
    std::uint32_t ifindex = 0;
    SegmentSizes sizes;
};
// Empty when either end is gone.
[[nodiscard]] Result<std::optional<PeerEnd>> look_at_peer(Netlink& host, std::uint32_t host_ifindex);

}  // namespace netkitd::link
