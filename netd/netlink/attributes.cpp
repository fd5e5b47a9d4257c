#include "netlink/attributes.h"

#include <algorithm>
#include <cstring>

#include "netlink/align.h"

namespace netkitd::link {
namespace {

template <typename T>
std::optional<T> number(std::optional<std::span<const std::byte>> payload) {
    if (!payload || payload->size() < sizeof(T)) {
        return std::nullopt;
    }
    T value{};
    std::memcpy(&value, payload->data(), sizeof(T));
    return value;
}

}  // namespace

NetlinkAttributes::NetlinkAttributes(const nlmsghdr& message, std::size_t fixed_size) {
    const std::size_t payload = mnl_nlmsg_get_payload_len(&message);
    const std::size_t skipped = netlink_align(fixed_size);
    if (payload > skipped) {
        attributes_ = std::span(static_cast<const std::byte*>(mnl_nlmsg_get_payload(&message)), payload);
        attributes_ = attributes_.subspan(skipped);
    }
}

void NetlinkAttributes::for_each(
    const std::function<bool(std::uint16_t type, std::span<const std::byte> payload)>& visit) const {
    std::span<const std::byte> rest = attributes_;
    while (rest.size() >= kAttributeHeaderSize) {
        const auto* attribute = reinterpret_cast<const nlattr*>(rest.data());
        if (!mnl_attr_ok(attribute, static_cast<int>(rest.size())) ||
            !visit(mnl_attr_get_type(attribute),
                   rest.subspan(kAttributeHeaderSize, mnl_attr_get_payload_len(attribute)))) {
            return;
        }
        rest = rest.subspan(std::min<std::size_t>(rest.size(), netlink_align(mnl_attr_get_len(attribute))));
    }
}

std::optional<std::span<const std::byte>> NetlinkAttributes::bytes(std::uint16_t type) const {
    std::optional<std::span<const std::byte>> found;
    for_each([&](std::uint16_t of, std::span<const std::byte> payload) {
        if (of == type) {
            found = payload;
        }
        return !found;
    });
    return found;
}

std::vector<NetlinkAttributes> NetlinkAttributes::list(std::uint16_t type) const {
    std::vector<NetlinkAttributes> elements;
    nested(type).for_each([&](std::uint16_t, std::span<const std::byte> payload) {
        elements.emplace_back(payload);
        return true;
    });
    return elements;
}

std::optional<std::uint8_t> NetlinkAttributes::u8(std::uint16_t type) const {
    return number<std::uint8_t>(bytes(type));
}

std::optional<std::uint16_t> NetlinkAttributes::u16(std::uint16_t type) const {
    return number<std::uint16_t>(bytes(type));
}

std::optional<std::uint32_t> NetlinkAttributes::u32(std::uint16_t type) const {
    return number<std::uint32_t>(bytes(type));
}

std::optional<std::string> NetlinkAttributes::string(std::uint16_t type) const {
    const auto payload = bytes(type);
    if (!payload) {
        return std::nullopt;
    }
    const auto* text = reinterpret_cast<const char*>(payload->data());
    return std::string(text, ::strnlen(text, payload->size()));
}

std::optional<IpAddr> NetlinkAttributes::address(std::uint16_t type) const {
    const auto payload = bytes(type);
    if (payload && payload->size() == sizeof(in_addr)) {
        return number<in_addr>(payload).transform(IpAddr::v4);
    }
    if (payload && payload->size() == sizeof(in6_addr)) {
        return number<in6_addr>(payload).transform(IpAddr::v6);
    }
    return std::nullopt;
}

NetlinkAttributes NetlinkAttributes::nested(std::uint16_t type) const {
    return NetlinkAttributes(bytes(type).value_or(std::span<const std::byte>()));
}

}  // namespace netkitd::link
