// Reading the attributes of a netlink message or of a nest. An attribute that is absent, or shorter than what is asked
// of it, reads as nullopt. The reader borrows the message.
#pragma once

#include <libmnl/libmnl.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ip_addr.h"

namespace netkitd::link {

class NetlinkAttributes {
public:
    NetlinkAttributes() = default;
    explicit NetlinkAttributes(std::span<const std::byte> attributes) : attributes_(attributes) {}
    // Those behind the fixed part (ifinfomsg, rtmsg, …) of that size.
    NetlinkAttributes(const nlmsghdr& message, std::size_t fixed_size);

    [[nodiscard]] std::optional<std::span<const std::byte>> bytes(std::uint16_t type) const;
    [[nodiscard]] std::optional<std::uint8_t> u8(std::uint16_t type) const;
    [[nodiscard]] std::optional<std::uint16_t> u16(std::uint16_t type) const;
    [[nodiscard]] std::optional<std::uint32_t> u32(std::uint16_t type) const;
    [[nodiscard]] std::optional<std::string> string(std::uint16_t type) const;
    // 4 or 16 bytes.
    [[nodiscard]] std::optional<IpAddr> address(std::uint16_t type) const;
    // Empty where the attribute is absent.
    [[nodiscard]] NetlinkAttributes nested(std::uint16_t type) const;
    // The elements of a list, which have attributes themselves.
    [[nodiscard]] std::vector<NetlinkAttributes> list(std::uint16_t type) const;

private:
    // Until it returns false.
    void for_each(const std::function<bool(std::uint16_t type, std::span<const std::byte> payload)>& visit) const;

    std::span<const std::byte> attributes_;
};

// The fixed part of a message; nullopt if the message is too short to hold one.
template <typename T>
[[nodiscard]] std::optional<T> fixed_part(const nlmsghdr& message) {
    if (mnl_nlmsg_get_payload_len(&message) < sizeof(T)) {
        return std::nullopt;
    }
    return *static_cast<const T*>(mnl_nlmsg_get_payload(&message));
}

}  // namespace netkitd::link
