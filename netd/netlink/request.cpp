#include "netlink/request.h"

#include <cstring>
#include <utility>

#include "netlink/align.h"

namespace netkitd::link {

NetlinkRequest::NetlinkRequest(std::uint16_t type, std::uint16_t flags, std::string what)
    : buffer_(kMessageHeaderSize), what_(std::move(what)) {
    nlmsghdr* header = mnl_nlmsg_put_header(buffer_.data());
    header->nlmsg_type = type;
    header->nlmsg_flags = flags;
}

NetlinkRequest& NetlinkRequest::put_u8(std::uint16_t type, std::uint8_t value) {
    return put_bytes(type, std::as_bytes(std::span(&value, 1)));
}

NetlinkRequest& NetlinkRequest::put_u32(std::uint16_t type, std::uint32_t value) {
    return put_bytes(type, std::as_bytes(std::span(&value, 1)));
}

NetlinkRequest& NetlinkRequest::put_string(std::uint16_t type, std::string_view value) {
    const std::string terminated(value);
    return put_bytes(type, std::as_bytes(std::span(terminated.c_str(), terminated.size() + 1)));
}

NetlinkRequest& NetlinkRequest::put_address(std::uint16_t type, const IpAddr& address) {
    return put_bytes(type, std::as_bytes(std::span(address.bytes()).first(address.size())));
}

NetlinkRequest& NetlinkRequest::put_bytes(std::uint16_t type, std::span<const std::byte> value) {
    buffer_.resize(message().nlmsg_len + kAttributeHeaderSize + netlink_align(value.size()));
    mnl_attr_put(&message(), type, value.size(), value.data());
    return *this;
}

NetlinkRequest::Nest NetlinkRequest::start_nest(std::uint16_t type) {
    const Nest nest = message().nlmsg_len;
    buffer_.resize(nest + kAttributeHeaderSize);
    static_cast<void>(mnl_attr_nest_start(&message(), type));
    return nest;
}

void NetlinkRequest::end_nest(Nest nest) {
    mnl_attr_nest_end(&message(), reinterpret_cast<nlattr*>(buffer_.data() + nest));
}

nlmsghdr& NetlinkRequest::message() {
    return *reinterpret_cast<nlmsghdr*>(buffer_.data());
}

const nlmsghdr& NetlinkRequest::message() const {
    return *reinterpret_cast<const nlmsghdr*>(buffer_.data());
}

void NetlinkRequest::append(std::span<const std::byte> bytes) {
    buffer_.resize(message().nlmsg_len + netlink_align(bytes.size()));
    std::memcpy(mnl_nlmsg_put_extra_header(&message(), bytes.size()), bytes.data(), bytes.size());
}

ifinfomsg device_message(std::uint32_t ifindex, std::uint32_t flags) {
    ifinfomsg message{};
    message.ifi_index = static_cast<int>(ifindex);
    message.ifi_flags = flags;
    message.ifi_change = flags;
    return message;
}

}  // namespace netkitd::link
