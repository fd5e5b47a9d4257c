// One rtnetlink request being built: a header, the fixed part of its family (ifinfomsg, rtmsg, …) and attributes.
//
// `what` says in words what the request does ("add route 10.0.0.2/32 dev nk12ab34cd"); it opens every error about it.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_addr.h"

namespace netkitd::link {

class NetlinkRequest {
public:
    // NLM_F_REQUEST and the acknowledgement's flag are added when it is sent.
    NetlinkRequest(std::uint16_t type, std::uint16_t flags, std::string what);

    [[nodiscard]] const std::string& what() const { return what_; }

    // The fixed part of the family; comes before all attributes (or right after start_nest, as in VETH_INFO_PEER).
    template <typename T>
    NetlinkRequest& put_struct(const T& value) {
        append(std::as_bytes(std::span(&value, 1)));
        return *this;
    }
    NetlinkRequest& put_u8(std::uint16_t type, std::uint8_t value);
    NetlinkRequest& put_u32(std::uint16_t type, std::uint32_t value);
    // With its terminating zero.
    NetlinkRequest& put_string(std::uint16_t type, std::string_view value);
    NetlinkRequest& put_address(std::uint16_t type, const IpAddr& address);
    NetlinkRequest& put_bytes(std::uint16_t type, std::span<const std::byte> value);

    // A nested attribute is everything that is put between the two calls.
    using Nest = std::size_t;
    [[nodiscard]] Nest start_nest(std::uint16_t type);
    void end_nest(Nest nest);

    [[nodiscard]] nlmsghdr& message();
    [[nodiscard]] const nlmsghdr& message() const;

private:
    void append(std::span<const std::byte> bytes);

    std::vector<std::byte> buffer_;
    std::string what_;
};

// The fixed part of a link request; `flags` (IFF_*) are set.
[[nodiscard]] ifinfomsg device_message(std::uint32_t ifindex, std::uint32_t flags = 0);

}  // namespace netkitd::link
