// Netlink messages are built and read without a kernel.
#include <gmock/gmock.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <cstring>

#include "netlink/attributes.h"
#include "netlink/request.h"

namespace netkitd::link {
namespace {

NetlinkRequest link_request() {
    NetlinkRequest request(RTM_NEWLINK, 0, "create eth0");
    request.put_struct(device_message(7));
    return request;
}

NetlinkAttributes attributes_of(const NetlinkRequest& request) {
    return {request.message(), sizeof(ifinfomsg)};
}

TEST(NetlinkMessage, WhatWasPutIsRead) {
    NetlinkRequest request = link_request();
    request.put_string(IFLA_IFNAME, "eth0").put_u32(IFLA_MTU, 1500).put_u8(IFLA_CARRIER, 1);
    EXPECT_EQ(fixed_part<ifinfomsg>(request.message())->ifi_index, 7);
    const NetlinkAttributes attributes = attributes_of(request);
    EXPECT_EQ(attributes.string(IFLA_IFNAME), "eth0");
    EXPECT_EQ(attributes.u32(IFLA_MTU), 1500U);
    EXPECT_EQ(attributes.u8(IFLA_CARRIER), 1);
    EXPECT_EQ(attributes.u32(IFLA_LINK), std::nullopt);
}

TEST(NetlinkMessage, AddressesOfBothFamiliesAreRead) {
    NetlinkRequest request = link_request();
    request.put_address(RTA_DST, IpAddr::parse("10.0.0.1").value())
        .put_address(RTA_GATEWAY, IpAddr::parse("fd00::1").value());
    EXPECT_EQ(attributes_of(request).address(RTA_DST), IpAddr::parse("10.0.0.1").value());
    EXPECT_EQ(attributes_of(request).address(RTA_GATEWAY), IpAddr::parse("fd00::1").value());
}

TEST(NetlinkMessage, NestsHoldWhatIsPutInside) {
    NetlinkRequest request = link_request();
    const auto outer = request.start_nest(IFLA_LINKINFO);
    request.put_string(IFLA_INFO_KIND, "netkit");
    const auto inner = request.start_nest(IFLA_INFO_DATA);
    request.put_u32(IFLA_NETKIT_MODE, NETKIT_L3);
    request.end_nest(inner);
    request.end_nest(outer);
    request.put_u32(IFLA_MTU, 1400);

    const NetlinkAttributes attributes = attributes_of(request);
    const NetlinkAttributes info = attributes.nested(IFLA_LINKINFO);
    EXPECT_EQ(info.string(IFLA_INFO_KIND), "netkit");
    EXPECT_EQ(info.nested(IFLA_INFO_DATA).u32(IFLA_NETKIT_MODE), static_cast<std::uint32_t>(NETKIT_L3));
    EXPECT_EQ(attributes.u32(IFLA_MTU), 1400U);
    EXPECT_EQ(attributes.nested(IFLA_AF_SPEC).u32(1), std::nullopt);
}

TEST(NetlinkMessage, AnAttributeThatIsTooShortForItsUseReadsAsAbsent) {
    NetlinkRequest request = link_request();
    request.put_u8(IFLA_MTU, 5);
    EXPECT_EQ(attributes_of(request).u32(IFLA_MTU), std::nullopt);
    EXPECT_EQ(attributes_of(request).address(IFLA_MTU), std::nullopt);
}

TEST(NetlinkMessage, AStringNeedsNoTerminatingZero) {
    NetlinkRequest request = link_request();
    request.put_bytes(IFLA_IFALIAS, std::as_bytes(std::span("abcd", 3)));
    EXPECT_EQ(attributes_of(request).string(IFLA_IFALIAS), "abc");
}

TEST(NetlinkMessage, AMessageCutAnywhereIsReadWithoutReachingBeyondIt) {
    NetlinkRequest request = link_request();
    request.put_string(IFLA_IFNAME, "eth0").put_u32(IFLA_MTU, 1500);
    for (std::uint32_t size = sizeof(nlmsghdr); size < request.message().nlmsg_len; ++size) {
        // A copy of exactly that size, so that a sanitizer sees the first byte too many.
        std::vector<std::byte> cut(size);
        std::memcpy(cut.data(), &request.message(), size);
        auto& message = *reinterpret_cast<nlmsghdr*>(cut.data());
        message.nlmsg_len = size;
        EXPECT_EQ(fixed_part<ifinfomsg>(message).has_value(), size >= sizeof(nlmsghdr) + sizeof(ifinfomsg));
        EXPECT_EQ(NetlinkAttributes(message, sizeof(ifinfomsg)).u32(IFLA_MTU), std::nullopt) << size;
    }
}

TEST(NetlinkMessage, AnAttributeThatClaimsMoreThanThereIsEndsTheReading) {
    NetlinkRequest request = link_request();
    request.put_u32(IFLA_MTU, 1500).put_u32(IFLA_LINK, 3);
    auto* bytes = reinterpret_cast<std::byte*>(&request.message());
    auto* mtu = reinterpret_cast<nlattr*>(bytes + sizeof(nlmsghdr) + sizeof(ifinfomsg));
    for (const std::uint16_t length : {std::uint16_t{0}, std::uint16_t{3}, std::uint16_t{60000}}) {
        mtu->nla_len = length;
        EXPECT_EQ(attributes_of(request).u32(IFLA_MTU), std::nullopt);
        EXPECT_EQ(attributes_of(request).u32(IFLA_LINK), std::nullopt);
    }
}

}  // namespace
}  // namespace netkitd::link
